//! What install and uninstall say: each step as it is done, or would be; then what is worth knowing.

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::step::Step;
use crate::cli::exit::Failure;
use crate::cli::{output, runtime};

pub(super) struct Report {
    runtime: Runtime,
    json: bool,
    is_dry: bool,
    steps: Vec<Value>,
    warnings: Vec<String>,
}

impl Report {
    pub(super) fn new(json: bool, is_dry: bool) -> Result<Report, Failure> {
        Ok(Report {
            runtime: runtime()?,
            json,
            is_dry,
            steps: Vec::new(),
            warnings: Vec::new(),
        })
    }

    /// Carries the steps out, unless this is a dry run, and tells of each.
    pub(super) fn go_through(&mut self, steps: &[Step]) -> Result<(), Failure> {
        for step in steps {
            if !self.is_dry && !step.carry_out()? {
                continue;
            }
            let told = step.told(self.is_dry);
            let mut json = told.json;
            json["did"] = told.word.into();
            let details = if self.is_dry { step.details() } else { String::new() };
            if let (true, Step::Write { text, .. }) = (self.is_dry, step) {
                json["text"] = text.as_str().into();
            }
            self.steps.push(json);
            self.line(told.word, &told.what)?;
            if !details.is_empty() {
                self.print(details.trim_end())?;
            }
        }
        Ok(())
    }

    pub(super) fn line(&self, word: &str, what: &str) -> Result<(), Failure> {
        let width = if self.is_dry { 14 } else { 11 };
        self.print(format!("{word:width$}{what}").trim_end())
    }

    pub(super) fn warn(&mut self, what: String) -> Result<(), Failure> {
        self.line("warning", &what)?;
        self.warnings.push(what);
        Ok(())
    }

    fn print(&self, text: &str) -> Result<(), Failure> {
        match self.json {
            true => Ok(()),
            false => self.runtime.block_on(output::line(text)),
        }
    }

    /// The whole of it as an object, for programs.
    pub(super) fn finish(self, mut about: Value) -> Result<(), Failure> {
        if self.json {
            about["dry_run"] = self.is_dry.into();
            about["steps"] = self.steps.into();
            about["warnings"] = json!(self.warnings);
            self.runtime.block_on(output::line(about.to_string()))?;
        }
        Ok(())
    }
}

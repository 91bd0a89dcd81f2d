//! `methods`: what the controller can be asked, from its OpenRPC document.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};

use baskd_client::Client;
use clap::Args;
use serde_json::Value;

use super::Target;
use super::exit::Failure;
use super::harmless::harmless_lines;
use super::output;
use super::start::MayStart;

/// List the controller's methods, or describe one
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  baskd methods
  baskd methods increment
  baskd methods --json | jq -r '.methods[].name'")]
pub(crate) struct Methods {
    /// Describe this one
    method: Option<String>,
    #[command(flatten)]
    pub(crate) may_start: MayStart,
    #[command(flatten)]
    pub(crate) target: Target,
}

impl Methods {
    pub(crate) async fn run(&self, client: &Client) -> Result<(), Failure> {
        let document = client.methods().await?;
        let methods = document["methods"].as_array().map(Vec::as_slice).unwrap_or_default();
        let text = match &self.method {
            None if self.target.json => document.to_string(),
            None => table(methods),
            Some(name) => {
                let method = find(methods, name)?;
                if self.target.json {
                    method.to_string()
                } else {
                    page(method)
                }
            }
        };
        // Names and docstrings are the controller's.
        let is_terminal = io::stdout().is_terminal();
        let text = if is_terminal {
            harmless_lines(&text).into_owned()
        } else {
            text
        };
        output::line(text).await
    }
}

fn find<'a>(methods: &'a [Value], name: &str) -> Result<&'a Value, Failure> {
    if let Some(method) = methods.iter().find(|method| method["name"] == name) {
        return Ok(method);
    }
    let names = methods.iter().filter_map(|method| method["name"].as_str());
    let nearest = baskd::backend::nearest(name, names).into_iter().next();
    Err(Failure::Usage(match nearest {
        Some(nearest) => format!("there is no method {name}; did you mean {nearest}?"),
        None => format!("there is no method {name}; `baskd methods` lists those there are"),
    }))
}

/// A line a method: its signature, and the first line of its docstring.
fn table(methods: &[Value]) -> String {
    const WIDEST: usize = 40;
    let signatures: Vec<String> = methods.iter().map(signature).collect();
    let width = signatures
        .iter()
        .map(|signature| signature.chars().count())
        .filter(|width| *width <= WIDEST)
        .max()
        .unwrap_or(0);
    let lines = methods
        .iter()
        .zip(&signatures)
        .map(|(method, signature)| match method["summary"].as_str() {
            Some(summary) => format!("{signature:width$}  {summary}"),
            None => signature.clone(),
        });
    lines.collect::<Vec<_>>().join("\n")
}

/// All there is to know of one method.
fn page(method: &Value) -> String {
    let mut page = signature(method);
    let returned = &method["result"]["schema"];
    if returned.as_object().is_some_and(|schema| !schema.is_empty()) {
        let _ = write!(page, " -> {}", kind(returned));
    }
    if let Some(text) = method["description"].as_str().or_else(|| method["summary"].as_str()) {
        for line in text.trim_end().lines() {
            page.push('\n');
            if !line.is_empty() {
                let _ = write!(page, "  {line}");
            }
        }
    }
    for note in notes(method) {
        let _ = write!(page, "\n  ({note})");
    }
    for param in method["params"].as_array().into_iter().flatten() {
        let name = param["name"].as_str().unwrap_or("?");
        let schema = &param["schema"];
        let need = match (param["required"] == true, schema.get("default")) {
            (true, _) => "required".to_owned(),
            (false, Some(default)) => format!("default {default}"),
            (false, None) => "optional".to_owned(),
        };
        let _ = write!(page, "\n    {name}  {}, {need}", kind(schema));
        if let Some(text) = schema["description"].as_str().or_else(|| param["description"].as_str()) {
            let _ = write!(page, ": {text}");
        }
    }
    page
}

fn notes(method: &Value) -> Vec<&'static str> {
    let mut notes = Vec::new();
    if method["x-kind"].as_str().is_some_and(|kind| kind.contains("generator")) {
        notes.push("yields partial results: see them with --stream");
    }
    if method["x-extra-params"] == true {
        notes.push("takes any named parameters");
    }
    if method["x-concurrent"] == true {
        notes.push("runs in a thread beside other calls");
    }
    if method["x-idempotent"] == true {
        notes.push("may run again after a crash");
    }
    notes
}

/// `increment(by: integer = 1)`, as Python would write it.
fn signature(method: &Value) -> String {
    let mut params: Vec<String> = Vec::new();
    for param in method["params"].as_array().into_iter().flatten() {
        let schema = &param["schema"];
        let mut text = param["name"].as_str().unwrap_or("?").to_owned();
        if schema
            .as_object()
            .is_some_and(|schema| schema.keys().any(|key| key != "default"))
        {
            let _ = write!(text, ": {}", kind(schema));
        }
        match schema.get("default") {
            Some(default) => {
                let _ = write!(text, " = {default}");
            }
            None if param["required"] != true => text.push('?'),
            None => {}
        }
        params.push(text);
    }
    if method["x-extra-params"] == true {
        params.push("…".to_owned());
    }
    format!("{}({})", method["name"].as_str().unwrap_or("?"), params.join(", "))
}

/// A JSON schema in a word or a few.
fn kind(schema: &Value) -> String {
    let alternatives = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array());
    match (&schema["type"], alternatives, schema["enum"].as_array()) {
        (_, _, Some(values)) => values.iter().map(Value::to_string).collect::<Vec<_>>().join(" | "),
        (_, Some(schemas), _) => schemas.iter().map(kind).collect::<Vec<_>>().join(" | "),
        (Value::Array(kinds), ..) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" | "),
        (Value::String(kind), ..) if kind == "array" && schema["items"].is_object() => {
            format!("array of {}", self::kind(&schema["items"]))
        }
        (Value::String(kind), ..) => kind.clone(),
        _ => "any".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn methods() -> Vec<Value> {
        vec![
            json!({
                "name": "increment", "summary": "Adds to the counter.", "description": "Adds to the counter.\n\nAnd says what it is.",
                "params": [{ "name": "by", "required": false, "schema": { "type": "integer", "default": 1 } }],
                "result": { "name": "result", "schema": { "type": "object" } }, "x-kind": "plain",
            }),
            json!({
                "name": "count", "params": [{ "name": "to", "required": true, "schema": {} }, { "name": "by", "required": false, "schema": { "type": ["integer", "null"] } }],
                "result": { "name": "result", "schema": {} }, "x-kind": "async generator",
            }),
            json!({ "name": "old", "params": [], "x-extra-params": true }),
        ]
    }

    #[test]
    fn a_line_each() {
        let expected =
            "increment(by: integer = 1)           Adds to the counter.\ncount(to, by: integer | null?)\nold(…)";
        let table = table(&methods());
        let squeezed = |text: &str| {
            text.lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect::<Vec<_>>()
        };
        assert_eq!(squeezed(&table), squeezed(expected));
    }

    #[test]
    fn a_page() {
        assert_eq!(
            page(&methods()[0]),
            "increment(by: integer = 1) -> object\n  Adds to the counter.\n\n  And says what it is.\n    by  integer, default 1"
        );
        assert!(page(&methods()[1]).contains("--stream"));
    }

    #[test]
    fn the_nearest_is_offered() {
        let message = |name| match find(&methods(), name) {
            Err(Failure::Usage(text)) => text,
            other => panic!("{other:?}"),
        };
        assert!(message("incremnt").ends_with("did you mean increment?"));
        assert!(message("xyz").ends_with("lists those there are"));
    }

    #[test]
    fn kinds() {
        assert_eq!(
            kind(&json!({ "type": "array", "items": { "type": "string" } })),
            "array of string"
        );
        assert_eq!(
            kind(&json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] })),
            "string | null"
        );
        assert_eq!(kind(&json!({ "enum": ["a", 1] })), "\"a\" | 1");
        assert_eq!(kind(&json!({})), "any");
    }
}

//! `get` and `set`: the controller's properties.

use baskd_client::Client;
use clap::Args;
use serde_json::value::RawValue;

use super::Target;
use super::exit::Failure;
use super::output;
use super::params;
use super::start::MayStart;

/// Print a property of the controller, as JSON
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  baskd get model
  baskd get limits | jq .tokens

`baskd status` lists the properties that were set.")]
pub(crate) struct Get {
    /// The property
    #[arg(value_name = "PROPERTY")]
    property: String,
    #[command(flatten)]
    pub(crate) may_start: MayStart,
    #[command(flatten)]
    pub(crate) target: Target,
}

impl Get {
    pub(crate) async fn run(&self, client: &Client) -> Result<(), Failure> {
        let value: Box<RawValue> = client.get(&self.property).await?;
        output::line(value.get()).await
    }
}

/// Set a property of the controller, to last across restarts
#[derive(Debug, Args)]
#[command(after_help = "\
The value is a number, true, false, null or \"quoted text\" as JSON has them, else text; @FILE stands for a file's text.
Other JSON is given as PROPERTY:=JSON.

Examples:
  baskd set model mistral-7b
  baskd set temperature 0.2
  baskd set limits:='{\"tokens\":4096}'")]
pub(crate) struct Set {
    /// The property; or PROPERTY:=JSON or PROPERTY=VALUE, with no VALUE after it
    #[arg(value_name = "PROPERTY")]
    property: String,
    /// Its value
    #[arg(allow_hyphen_values = true)]
    value: Option<String>,
    #[command(flatten)]
    pub(crate) may_start: MayStart,
    #[command(flatten)]
    pub(crate) target: Target,
}

impl Set {
    pub(crate) fn property(&self) -> Result<(String, Box<RawValue>), Failure> {
        match &self.value {
            Some(value) => Ok((self.property.clone(), params::text_value(value)?)),
            None if self.property.contains('=') => params::member(&self.property),
            None => Err(Failure::Usage(format!(
                "{0} to what? Write `baskd set {0} VALUE`",
                self.property
            ))),
        }
    }

    pub(crate) async fn run(&self, client: &Client, name: &str, value: Box<RawValue>) -> Result<(), Failure> {
        Ok(client.set(name, value).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Test {
        #[command(flatten)]
        set: Set,
    }

    fn property(arguments: &[&str]) -> Option<(String, String)> {
        let test = Test::try_parse_from(["set"].iter().chain(arguments)).ok()?;
        let (name, value) = test.set.property().ok()?;
        Some((name, value.get().to_owned()))
    }

    #[test]
    fn in_any_of_its_forms() {
        let set = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        assert_eq!(property(&["model", "something"]), set("model", "\"something\""));
        assert_eq!(property(&["tokenizer", "123"]), set("tokenizer", "123"));
        assert_eq!(property(&["offset", "-5"]), set("offset", "-5"));
        assert_eq!(property(&["a", "b=c"]), set("a", "\"b=c\""));
        assert_eq!(property(&["a=5"]), set("a", "5"));
        assert_eq!(property(&["a:=[1]"]), set("a", "[1]"));
        assert_eq!(property(&["a"]), None);
    }
}

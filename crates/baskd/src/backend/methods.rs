//! The methods of the live controller, as its router told them.

use std::collections::HashMap;
use std::rc::Rc;

use baskd_protocol::error::Error;

use super::wire::{Method, Ready};

pub struct Methods {
    pub(crate) ready: Ready,
    index: HashMap<Rc<str>, usize>,
    any_concurrent: bool,
}

impl Methods {
    pub(crate) fn new(ready: Ready) -> Methods {
        let index = ready
            .methods
            .iter()
            .enumerate()
            .map(|(at, method)| (method.name.as_str().into(), at))
            .collect();
        let any_concurrent = ready.methods.iter().any(|method| method.concurrent);
        Methods {
            ready,
            index,
            any_concurrent,
        }
    }

    /// The method's name, to be kept without a copy.
    pub(crate) fn find(&self, name: &str) -> Result<Rc<str>, Error> {
        match self.index.get_key_value(name) {
            Some((name, _)) => Ok(name.clone()),
            None => Err(Error::method_not_found(
                name,
                &nearest(name, self.ready.methods.iter().map(|method| method.name.as_str())),
            )),
        }
    }

    fn get(&self, name: &str) -> Option<&Method> {
        self.index.get(name).map(|at| &self.ready.methods[*at])
    }

    /// Whether the method may be run again after a crash.
    pub(crate) fn is_idempotent(&self, name: &str) -> bool {
        self.get(name).is_some_and(|method| method.idempotent)
    }

    /// Whether the method runs in a thread beside all others.
    pub(crate) fn is_concurrent(&self, name: &str) -> bool {
        self.any_concurrent && self.get(name).is_some_and(|method| method.concurrent)
    }

    /// Whether the method's `send()` keeps a thread waiting for its reader, be it the main one.
    pub(crate) fn waits_in_send(&self, name: &str) -> bool {
        self.get(name).is_some_and(|method| method.kind == "plain")
    }

    /// Whether the method has the main thread from its begin to its end.
    pub(crate) fn is_plain(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|method| method.kind == "plain" && !method.concurrent)
    }
}

/// Nobody means a method by a longer name, and to compare it would take long.
const LONGEST_SLIP: usize = 200;

/// Up to three names that somebody who wrote `name` may have meant, nearest first.
pub(crate) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    if name.len() > LONGEST_SLIP {
        return Vec::new();
    }
    let wanted = name.to_lowercase();
    let mut near: Vec<_> = names
        .map(|candidate| (strsim::jaro_winkler(&wanted, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    near.into_iter()
        .take(3)
        .map(|(_, candidate)| candidate.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_come_first() {
        let names = [
            "increment",
            "reset",
            "getModelPath",
            "getTokenizer",
            "setProperty",
            "getProperty",
        ];
        let near = |name| nearest(name, names.into_iter());
        assert_eq!(near("incremnt")[0], "increment");
        assert_eq!(near("getmodelpath")[0], "getModelPath");
        assert_eq!(near("get_property")[0], "getProperty");
        assert!(near("xyzzy").is_empty());
        assert!(near(&"increment".repeat(1000)).is_empty());
    }
}

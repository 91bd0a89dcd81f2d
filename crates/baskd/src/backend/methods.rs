//! The methods of the live controller, as its router told them.

use std::cell::{Cell, OnceCell};
use std::collections::HashMap;
use std::rc::Rc;

use baskd_protocol::error::Error;

use super::metrics::{Counted, MethodMetrics};
use super::wire::{Method, Ready};

pub struct Methods {
    pub(crate) ready: Ready,
    index: HashMap<String, Rc<Known>>,
    /// What `rpc.discover` answers, made when it is first asked for.
    pub(crate) document: OnceCell<String>,
}

/// What a call has to know of its method.
pub struct Known {
    pub(crate) name: String,
    is_plain: bool,
    pub(crate) is_concurrent: bool,
    /// Whether it may be run again after a crash.
    pub(crate) is_idempotent: bool,
    result_bytes: Cell<usize>,
    /// Where its calls are counted, once one was taken in.
    metrics: OnceCell<Rc<MethodMetrics>>,
}

impl Methods {
    pub(crate) fn new(ready: Ready) -> Methods {
        let index = ready
            .methods
            .iter()
            .map(|method| (method.name.clone(), Rc::new(Known::new(method))))
            .collect();
        Methods {
            ready,
            index,
            document: OnceCell::new(),
        }
    }

    pub(crate) fn find(&self, name: &str) -> Result<Rc<Known>, Error> {
        self.index.get(name).cloned().ok_or_else(|| {
            let names = self.ready.methods.iter().map(|method| method.name.as_str());
            Error::method_not_found(name, &nearest(name, names))
        })
    }
}

impl Methods {
    /// For the log: how its methods differ from those of the version before.
    pub(crate) fn news_since(&self, before: &Methods) -> String {
        let missing = |from: &Methods, in_this: &Methods| -> Vec<String> {
            let names = from.ready.methods.iter().map(|method| &method.name);
            names
                .filter(|name| !in_this.index.contains_key(*name))
                .cloned()
                .collect()
        };
        let (new, gone) = (missing(self, before), missing(before, self));
        let told = |what: &str, names: &[String]| match names {
            [] => String::new(),
            names => format!("; {what}: {}", names.join(", ")),
        };
        format!("{}{}", told("new", &new), told("gone", &gone))
    }

    /// What to say of the methods that the config names, and that are not there.
    pub(crate) fn unknown<'a>(&self, configured: impl Iterator<Item = &'a String>) -> Vec<String> {
        let mut missing: Vec<_> = configured.filter(|name| !self.index.contains_key(*name)).collect();
        missing.sort();
        let warning = |name: &String| {
            let near = nearest(name, self.index.keys().map(String::as_str));
            let hint = near
                .first()
                .map_or_else(String::new, |near| format!(": did you mean `{near}`?"));
            format!("the config has a timeout for `{name}`, which is no method of the controller{hint}")
        };
        missing.into_iter().map(warning).collect()
    }
}

impl Known {
    fn new(method: &Method) -> Known {
        Known {
            name: method.name.clone(),
            is_plain: method.kind == "plain",
            is_concurrent: method.concurrent,
            is_idempotent: method.idempotent,
            result_bytes: Cell::new(FIRST_RESULT),
            metrics: OnceCell::new(),
        }
    }

    /// A method that is called before any controller has told of its own.
    pub(crate) fn not_yet(name: &str) -> Known {
        Known {
            name: name.to_owned(),
            is_plain: true,
            is_concurrent: false,
            is_idempotent: false,
            result_bytes: Cell::new(FIRST_RESULT),
            metrics: OnceCell::new(),
        }
    }

    /// A call of it is taken in, and will be counted.
    pub(crate) fn count_in(&self, counted: &mut Counted) {
        self.metrics.get_or_init(|| counted.of(&self.name));
    }

    /// Where its calls are counted, if any was taken in.
    pub(crate) fn metrics(&self) -> Option<&MethodMetrics> {
        self.metrics.get().map(|metrics| &**metrics)
    }

    /// Whether it has the main thread from its begin to its end.
    pub(crate) fn has_main_thread(&self) -> bool {
        self.is_plain && !self.is_concurrent
    }

    /// Whether its `send()` keeps a thread waiting for its reader, be it the main one.
    pub(crate) fn waits_in_send(&self) -> bool {
        self.is_plain
    }

    /// How large its next result may be, going by those before.
    pub(crate) fn expected_bytes(&self) -> usize {
        self.result_bytes.get()
    }

    /// It has given a result of so many bytes.
    pub(crate) fn gave(&self, bytes: usize) {
        self.result_bytes.set(bytes.max(self.result_bytes.get() / 2));
    }
}

/// What is expected of a method that has not given a result yet.
const FIRST_RESULT: usize = 1 << 20;

/// Nobody means a method by a longer name, and to compare it would take long.
const LONGEST_SLIP: usize = 200;

/// Up to three names that somebody who wrote `name` may have meant, nearest first.
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    if name.len() > LONGEST_SLIP {
        return Vec::new();
    }
    let wanted = name.to_lowercase();
    let mut near: Vec<_> = names
        .filter(|candidate| candidate.len() <= LONGEST_SLIP)
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
    fn what_is_expected_of_a_method_follows_its_results() {
        let known = Known::not_yet("f");
        for _ in 0..30 {
            known.gave(10);
        }
        assert_eq!(known.expected_bytes(), 10);
        known.gave(5 << 20);
        known.gave(10);
        assert_eq!(known.expected_bytes(), 5 << 19);
    }

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
        assert!(nearest("increment", ["increment".repeat(1000).as_str()].into_iter()).is_empty());
    }
}

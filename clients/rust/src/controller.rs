//! The controller that a client wants served.

use std::path::{Path, PathBuf};

use crate::status::Controller;

#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// As on a command line, a path in it absolute.
    pub(crate) spec: String,
    /// None: a module.
    file: Option<PathBuf>,
    class: String,
}

impl Wanted {
    /// `path/to/controller.py`, `path.py:Class` or `package.module:Class`.
    pub(crate) fn new(spec: &str) -> Wanted {
        let (place, class) = spec.rsplit_once(':').unwrap_or((spec, "Controller"));
        let class = class.to_owned();
        if !place.ends_with(".py") && !place.contains('/') {
            return Wanted {
                spec: format!("{place}:{class}"),
                file: None,
                class,
            };
        }
        // Given now, it means the same when the daemon is started, whatever the program does meanwhile.
        let file = std::path::absolute(place).unwrap_or_else(|_| place.into());
        Wanted {
            spec: format!("{}:{class}", file.display()),
            file: Some(file),
            class,
        }
    }

    /// Whether it is what a daemon says it serves.
    pub(crate) fn is(&self, served: &Controller) -> bool {
        match &self.file {
            None => served.spec == self.spec,
            Some(file) => {
                let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
                served.class == self.class
                    && served
                        .file
                        .as_ref()
                        .is_some_and(|served| real(file) == real(served.as_ref()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_told_apart() {
        let served = |spec: &str, file: Option<&str>, class: &str| {
            serde_json::from_value::<Controller>(serde_json::json!({ "spec": spec, "file": file, "class": class }))
                .unwrap()
        };
        let here = std::env::current_dir().unwrap();
        let file = here.join("a/c.py");
        let a = served("…", file.to_str(), "Controller");
        assert!(Wanted::new("a/c.py").is(&a));
        assert!(Wanted::new("a/c.py:Controller").is(&a));
        assert!(!Wanted::new("a/c.py:Other").is(&a));
        assert!(!Wanted::new("b/c.py").is(&a));
        assert!(!Wanted::new("a.c:Controller").is(&a));
        assert!(Wanted::new("a.c:Chat").is(&served("a.c:Chat", None, "Chat")));
        assert!(!Wanted::new("a.c").is(&served("a.c:Chat", None, "Chat")));
    }
}

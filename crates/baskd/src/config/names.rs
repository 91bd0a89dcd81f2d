//! Which setting somebody meant who wrote a name that is none.

use super::settings::SETTINGS;
use crate::backend::nearest;

/// What the same is called elsewhere, and would not be found by its letters.
const ELSEWHERE: &[(&str, &str)] = &[
    ("interpreter", "python"),
    ("venv", "python"),
    ("virtualenv", "python"),
    ("class", "controller"),
    ("module", "controller"),
    ("processes", "workers"),
    ("threads", "workers"),
    ("concurrency", "workers"),
    ("reload", "watch"),
    ("autoreload", "watch"),
    ("loglevel", "log"),
    ("log_level", "log"),
    ("verbosity", "log"),
    ("shutdown_timeout", "grace"),
    ("stop_timeout", "grace"),
    ("idle_timeout", "idle_exit"),
    ("max_requests", "max_calls"),
    ("max_memory", "max_rss"),
    ("memory_limit", "max_rss"),
    ("max_body", "max_request"),
    ("secrets", "volatile"),
    ("sticky", "affinity"),
];

/// The setting that was meant by `name`: `max-queue`, `maxQueue`, `MAX_QUEUE` and `BASKD_MAX_QUEUE` are all written for
/// `max_queue`; else what another program calls so; else the one that looks most like it.
pub(super) fn meant(name: &str) -> Option<&'static str> {
    let plain = plain(name);
    let names = || SETTINGS.iter().map(|setting| setting.name);
    if let Some(same) = names().find(|name| *name == plain) {
        return Some(same);
    }
    if let Some((_, here)) = ELSEWHERE.iter().find(|(there, _)| *there == plain) {
        return Some(here);
    }
    let near = nearest(&plain, names()).into_iter().next()?;
    names().find(|name| *name == near)
}

/// The variable that was meant by one that is none: only where one letter or two are wrong, since others may have
/// variables of that kind for purposes of their own.
pub(super) fn meant_variable(name: &str) -> Option<String> {
    let variables = SETTINGS.iter().map(super::settings::Setting::variable);
    let near = variables.map(|known| (strsim::damerau_levenshtein(&known, &name.to_uppercase()), known));
    let (distance, near) = near.min()?;
    (distance <= 2).then_some(near)
}

/// In the letters and underscores of a setting.
fn plain(name: &str) -> String {
    let mut plain = String::new();
    let mut last_is_small = false;
    for letter in name.chars() {
        if letter.is_uppercase() && last_is_small {
            plain.push('_');
        }
        last_is_small = letter.is_lowercase();
        match letter {
            '-' | '.' | ' ' => plain.push('_'),
            letter => plain.extend(letter.to_lowercase()),
        }
    }
    match plain.strip_prefix("baskd_") {
        Some(rest) => rest.to_owned(),
        None => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::Setting;
    use super::*;

    #[test]
    fn slips_of_every_kind() {
        for (written, wanted) in [
            ("max_queu", "max_queue"),
            ("maxqueue", "max_queue"),
            ("max-queue", "max_queue"),
            ("maxQueue", "max_queue"),
            ("MAX_QUEUE", "max_queue"),
            ("BASKD_MAX_QUEUE", "max_queue"),
            ("max_call", "max_calls"),
            ("max_callls", "max_calls"),
            ("max_queued", "max_queue"),
            ("max_inflight", "max_in_flight"),
            ("Workers", "workers"),
            ("worker", "workers"),
            ("pyton", "python"),
            ("drainTimeout", "drain_timeout"),
            ("log-level", "log"),
            ("venv", "python"),
        ] {
            assert_eq!(meant(written), Some(wanted), "{written}");
        }
        assert_eq!(meant("xyzzy"), None);
    }

    #[test]
    fn what_is_called_so_elsewhere_is_a_setting_here() {
        for (there, here) in ELSEWHERE {
            assert!(
                Setting::named(there).is_none() && Setting::named(here).is_some(),
                "{there}"
            );
        }
    }

    #[test]
    fn a_variable_of_somebody_else_is_left_alone() {
        assert_eq!(meant_variable("BASKD_MAX_QUEU").as_deref(), Some("BASKD_MAX_QUEUE"));
        assert_eq!(meant_variable("BASKD_WROKERS").as_deref(), Some("BASKD_WORKERS"));
        for other in [
            "BASKD_TEST_MARK",
            "BASKD_TEST_RUN",
            "BASKD_PYTHONS_OF_MINE",
            "BASKD_MINE",
        ] {
            assert_eq!(meant_variable(other), None, "{other}");
        }
    }
}

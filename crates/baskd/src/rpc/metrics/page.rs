//! Lines of Prometheus' text format, version 0.0.4.

use std::fmt::Write;

use crate::backend::Buckets;
use crate::backend::metrics::BOUNDS;

#[derive(Default)]
pub(super) struct Page {
    pub(super) text: String,
    name: &'static str,
}

impl Page {
    /// What is said once of all samples that follow.
    pub(super) fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.name = name;
        // A String takes all that is written to it.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub(super) fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let _ = write!(self.text, "{}{suffix}", self.name);
        for (place, (name, value)) in labels.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.text, "{before}{name}=\"{value}\"");
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
    /// All samples of a histogram of seconds, of these labels and no other.
    pub(super) fn histogram(&mut self, labels: &[(&str, &str)], of: &Buckets) {
        let mut count = 0;
        let bounds = BOUNDS.iter().map(|bound| bound.as_secs_f64().to_string());
        for (bound, up_to) in bounds.chain(["+Inf".to_owned()]).zip(of.cumulative()) {
            let with_bound: Vec<_> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            self.sample("_bucket", &with_bound, up_to);
            count = up_to;
        }
        self.sample("_sum", labels, of.sum().as_secs_f64());
        self.sample("_count", labels, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_escaped() {
        let mut page = Page::default();
        page.family("a_total", "counter", "What it is.");
        page.sample("", &[("x", "q\"b\\n\n")], 1);
        page.sample("_sum", &[], 0.5);
        assert_eq!(
            page.text,
            "# HELP a_total What it is.\n# TYPE a_total counter\na_total{x=\"q\\\"b\\\\n\\n\"} 1\na_total_sum 0.5\n"
        );
    }
}

//! The progress of a stream, on stderr while that is a terminal: how many items, how fast, for how long; and a bar,
//! where the items themselves say how far they are. Or that of other long work: what it is, and for how long.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;
use tokio::time::{Instant, Interval, interval_at};

/// What is over sooner shows nothing, rather than a flicker.
const SHOW_AFTER: Duration = Duration::from_millis(400);
const REDRAW: Duration = Duration::from_millis(100);

/// Items longer than this are results rather than news of how far they are.
const NEWS: usize = 4096;

pub(crate) struct Progress(Option<Display>);

struct Display {
    bar: ProgressBar,
    ticks: Interval,
    shown: bool,
    /// What is done, where no items come of it.
    work: Option<&'static str>,
    items: u64,
    /// Whether a `progress` above 1 was seen, so that it is in percent.
    percent: bool,
}

/// How far an item says that the work is.
#[derive(Debug, Deserialize)]
struct News {
    #[serde(alias = "step")]
    done: Option<f64>,
    #[serde(alias = "of")]
    total: Option<f64>,
    progress: Option<f64>,
}

impl Progress {
    pub(crate) fn none() -> Progress {
        Progress(None)
    }

    pub(crate) fn on_stderr() -> Progress {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        bar.set_style(style("{spinner} {msg}, {elapsed}"));
        Progress(Some(Display {
            bar,
            ticks: interval_at(Instant::now() + SHOW_AFTER, REDRAW),
            shown: false,
            work: None,
            items: 0,
            percent: false,
        }))
    }

    /// Of work that gives no items, if anybody watches.
    pub(crate) fn of(work: &'static str) -> Progress {
        if !io::stderr().is_terminal() {
            return Progress::none();
        }
        let mut progress = Progress::on_stderr();
        if let Some(display) = &mut progress.0 {
            display.work = Some(work);
        }
        progress
    }

    pub(crate) fn is_shown(&self) -> bool {
        self.0.is_some()
    }

    /// Keeps the display moving until `future` is done.
    pub(crate) async fn until<T>(&mut self, future: impl Future<Output = T>) -> T {
        let Some(display) = &mut self.0 else {
            return future.await;
        };
        tokio::pin!(future);
        loop {
            tokio::select! {
                biased;
                result = &mut future => return result,
                _ = display.ticks.tick() => display.draw(),
            }
        }
    }

    pub(crate) fn item(&mut self, item: &str) {
        if let Some(display) = &mut self.0 {
            display.item(item);
        }
    }

    /// Does `work` while the display is off the screen.
    pub(crate) fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(display) => display.bar.suspend(work),
            None => work(),
        }
    }
}

impl Display {
    fn draw(&mut self) {
        if !self.shown {
            self.shown = true;
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        if let Some(work) = self.work {
            self.bar.set_message(work);
            return self.bar.tick();
        }
        let seconds = self.bar.elapsed().as_secs_f64();
        let items = match self.items {
            1 => "1 item".to_owned(),
            items => format!("{items} items"),
        };
        // A rate is worth saying once it is more than a guess.
        let rate = if self.items > 1 && seconds > 1.0 {
            format!(", {} a second", rate(self.items as f64 / seconds))
        } else {
            String::new()
        };
        self.bar.set_message(items + &rate);
        self.bar.tick();
    }

    fn item(&mut self, item: &str) {
        self.items += 1;
        let Some((done, total)) = how_far(item, &mut self.percent) else {
            return;
        };
        if self.bar.length().is_none() {
            self.bar
                .set_style(style("{spinner} [{bar:30}] {percent}%  {msg}, {elapsed}").progress_chars("=> "));
        }
        self.bar.set_length(total);
        self.bar.set_position(done);
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The parts done and those there are; a fraction counts in thousandths.
fn how_far(item: &str, percent: &mut bool) -> Option<(u64, u64)> {
    const WHOLE: f64 = 1000.0;
    if item.len() > NEWS || !item.starts_with('{') {
        return None;
    }
    let news: News = serde_json::from_str(item).ok()?;
    let fraction = match (news.done, news.total, news.progress) {
        (Some(done), Some(total), _) if total > 0.0 => done / total,
        (_, _, Some(progress)) => {
            *percent |= progress > 1.0;
            if *percent { progress / 100.0 } else { progress }
        }
        _ => return None,
    };
    Some(((fraction.clamp(0.0, 1.0) * WHOLE) as u64, WHOLE as u64))
}

fn rate(per_second: f64) -> String {
    match per_second {
        slow if slow < 10.0 => format!("{slow:.1}"),
        fast if fast < 10_000.0 => format!("{fast:.0}"),
        very_fast => format!("{:.0}k", very_fast / 1000.0),
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are all in this file, and a test makes each.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_may_say_how_far_they_are() {
        let far = |item| how_far(item, &mut false);
        assert_eq!(far(r#"{"done":1,"total":4}"#), Some((250, 1000)));
        assert_eq!(far(r#"{"step":1,"of":2}"#), Some((500, 1000)));
        assert_eq!(far(r#"{"done":9,"total":4}"#), Some((1000, 1000)));
        assert_eq!(far(r#"{"progress":0.5,"text":"x"}"#), Some((500, 1000)));
        assert_eq!(far(r#"{"progress":50}"#), Some((500, 1000)));
        for other in [
            r#"{"done":1}"#,
            r#"{"done":1,"total":0}"#,
            r#"{"progress":"half"}"#,
            "5",
            "[1]",
            r#""text""#,
        ] {
            assert_eq!(far(other), None, "{other}");
        }
    }

    #[test]
    fn percent_stay_percent() {
        let mut percent = false;
        assert_eq!(how_far(r#"{"progress":50}"#, &mut percent), Some((500, 1000)));
        assert_eq!(how_far(r#"{"progress":1}"#, &mut percent), Some((10, 1000)));
    }

    #[test]
    fn rates_are_short() {
        assert_eq!(
            (rate(0.25).as_str(), rate(123.4).as_str(), rate(123_456.0).as_str()),
            ("0.2", "123", "123k")
        );
    }

    #[test]
    fn templates_are_sound() {
        for template in [
            "{spinner} {msg}, {elapsed}",
            "{spinner} [{bar:30}] {percent}%  {msg}, {elapsed}",
        ] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}

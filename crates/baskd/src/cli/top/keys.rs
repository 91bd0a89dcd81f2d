//! What each key does. One table of them is what the key line and the help show.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::model::{Deed, Link, Mode, Model, Order};
use super::text::clean;

/// How many lines of the log a page key turns.
const PAGE: usize = 10;
/// Nobody looks for more.
const LONGEST_FILTER: usize = 100;

/// A key, as it was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    code: KeyCode,
    control: bool,
}

/// A row of the help: the keys, in a word for the key line (if they are in it) and in a sentence.
pub(crate) struct Row {
    pub(crate) keys: &'static str,
    pub(crate) word: &'static str,
    pub(crate) sentence: &'static str,
}

/// Most important first: a narrow key line leaves out the last.
#[rustfmt::skip]
pub(crate) const ROWS: [Row; 11] = [
    row("q", "quit", "quit; so does Ctrl-C"),
    row("?", "help", "this page"),
    row("↑↓", "call", "select a call under way; so do k and j; Esc selects none"),
    row("c", "cancel", "cancel the selected call: its client gets the error Cancelled"),
    row("r", "reload", "load the controller anew, beside the old one (asks first)"),
    row("R", "restart", "replace Python by a new one (asks first)"),
    row("space", "freeze", "let the picture stand still, and go on"),
    row("/", "filter", "show only the log lines that have a text, or a call: #18"),
    row("f", "follow", "let the log stand still, and follow it again"),
    row("PgUp PgDn", "", "older and newer lines of the log; Home and End for the ends"),
    row("Ctrl-L", "", "draw everything anew; Ctrl-Z: to the shell, and back by fg"),
];

const fn row(keys: &'static str, word: &'static str, sentence: &'static str) -> Row {
    Row { keys, word, sentence }
}

impl Key {
    /// None for a key's release, which terminals with an extended keyboard tell of.
    pub(crate) fn of(event: KeyEvent) -> Option<Key> {
        let control = event.modifiers.contains(KeyModifiers::CONTROL);
        // Alt and the like make another key of it, for which there is no use here.
        let is_plain = !event
            .modifiers
            .intersects(KeyModifiers::ALT | KeyModifiers::SUPER | KeyModifiers::META);
        (event.kind != KeyEventKind::Release && is_plain).then_some(Key {
            code: event.code,
            control,
        })
    }

    #[cfg(test)]
    pub(crate) fn plain(code: KeyCode) -> Key {
        Key { code, control: false }
    }

    #[cfg(test)]
    pub(crate) fn control(letter: char) -> Key {
        Key {
            code: KeyCode::Char(letter),
            control: true,
        }
    }
}

impl Model {
    pub(crate) fn press(&mut self, key: Key) -> Option<Order> {
        if key.control {
            return match key.code {
                KeyCode::Char('c') => Some(Order::Quit),
                KeyCode::Char('l') => Some(Order::Redraw),
                KeyCode::Char('z') => Some(Order::Suspend),
                _ => None,
            };
        }
        match &self.mode {
            Mode::Watch => self.press_watching(key.code),
            Mode::Help => {
                self.mode = Mode::Watch;
                // Whoever reads how to quit, and does so, means it.
                (key.code == KeyCode::Char('q')).then_some(Order::Quit)
            }
            Mode::Confirm(deed) => {
                let deed = deed.clone();
                self.mode = Mode::Watch;
                if matches!(key.code, KeyCode::Char('y' | 'Y')) {
                    return self.begin(deed);
                }
                self.say(format!("no {}", deed.named()));
                None
            }
            Mode::Filter { before } => {
                let before = before.clone();
                self.press_filtering(key.code, before);
                None
            }
        }
    }

    fn press_watching(&mut self, code: KeyCode) -> Option<Order> {
        match code {
            KeyCode::Char('q') => return Some(Order::Quit),
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.mode = Mode::Help,
            KeyCode::Up | KeyCode::Char('k') => self.select(true),
            KeyCode::Down | KeyCode::Char('j') => self.select(false),
            KeyCode::Char('c') => return self.cancel(),
            KeyCode::Char('r') => self.ask(Deed::Reload),
            KeyCode::Char('R') => self.ask(Deed::Restart),
            KeyCode::Char(' ') => self.freeze(),
            KeyCode::Char('/') => {
                let before = self.look.filter.clone();
                self.mode = Mode::Filter { before };
            }
            KeyCode::Char('f') => {
                let last = self.shown().tail.end().checked_sub(1);
                self.look.until = self.look.until.map_or(last, |_| None);
                // It is to look as it does now.
                self.look.fills = false;
            }
            KeyCode::PageUp => self.scroll(true, PAGE),
            KeyCode::PageDown => self.scroll(false, PAGE),
            KeyCode::Home => self.scroll(true, usize::MAX),
            KeyCode::End => self.look.until = None,
            KeyCode::Esc => self.escape(),
            _ => {}
        }
        None
    }

    /// What was typed last, or still stands, goes first.
    fn escape(&mut self) {
        if self.message().is_some() {
            self.forget_message();
        } else if self.selected.is_some() {
            self.selected = None;
        } else if !self.look.filter.is_empty() {
            self.look.filter.clear();
        } else {
            self.look.until = None;
        }
    }

    fn press_filtering(&mut self, code: KeyCode, before: String) {
        match code {
            KeyCode::Enter => self.mode = Mode::Watch,
            KeyCode::Esc => {
                self.look.filter = before;
                self.mode = Mode::Watch;
            }
            KeyCode::Backspace => _ = self.look.filter.pop(),
            KeyCode::Char(character) => self.type_in(character),
            _ => {}
        }
    }

    pub(crate) fn paste(&mut self, text: &str) {
        if let Mode::Filter { .. } = self.mode {
            let text = clean(text.lines().next().unwrap_or_default());
            text.chars().for_each(|character| self.type_in(character));
        }
    }

    fn type_in(&mut self, character: char) {
        if !character.is_control() && self.look.filter.chars().count() < LONGEST_FILTER {
            self.look.filter.push(character);
        }
    }

    fn select(&mut self, up: bool) {
        let calls = self.calls();
        let Some(last) = calls.len().checked_sub(1) else {
            self.say("there is no call to select: none is under way");
            return;
        };
        let at = calls.iter().position(|call| Some(call.number) == self.selected);
        let to = match (at, up) {
            (None, true) => last,
            (None, false) => 0,
            (Some(at), true) => at.saturating_sub(1),
            (Some(at), false) => (at + 1).min(last),
        };
        self.selected = Some(calls[to].number);
    }

    /// Asks for nothing: whoever has selected a call, which is two keys, means that call, and the selection stays with
    /// it whatever comes and goes.
    fn cancel(&mut self) -> Option<Order> {
        let calls = self.calls();
        let Some(call) = calls.iter().find(|call| Some(call.number) == self.selected) else {
            self.say("select a call first, with ↑ or ↓");
            return None;
        };
        if !self.is_reached() {
            return None;
        }
        self.begin(Deed::Cancel {
            call: call.number,
            method: call.method.clone(),
        })
    }

    fn ask(&mut self, deed: Deed) {
        if self.is_reached() {
            self.mode = Mode::Confirm(deed);
        }
    }

    fn is_reached(&mut self) -> bool {
        let is_lost = matches!(self.link, Link::Lost { .. });
        if is_lost {
            self.say("there is no daemon to ask");
        }
        !is_lost
    }

    fn scroll(&mut self, back: bool, by: usize) {
        let mut look = self.look.clone();
        self.shown().tail.scroll(&mut look, back, by);
        self.look = look;
    }
}

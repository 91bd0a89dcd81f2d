//! How things look. Only the terminal's own sixteen colours, never a background, and none that a light or a dark one
//! swallows (white, yellow, blue); and no colour says what a word doesn't.

use ratatui::style::{Color, Modifier, Style};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Theme {
    has_colours: bool,
}

impl Theme {
    /// `$NO_COLOR`, if it is not empty, has none.
    pub(crate) fn of_environment() -> Theme {
        Theme {
            has_colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }

    #[cfg(test)]
    pub(crate) fn with_colours(has_colours: bool) -> Theme {
        Theme { has_colours }
    }

    fn colour(self, colour: Color) -> Style {
        if self.has_colours {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    pub(crate) fn plain(self) -> Style {
        Style::new()
    }

    pub(crate) fn heading(self) -> Style {
        self.colour(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    pub(crate) fn rule(self) -> Style {
        self.colour(Color::Cyan).add_modifier(Modifier::DIM)
    }

    pub(crate) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(crate) fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(crate) fn good(self) -> Style {
        self.colour(Color::Green).add_modifier(Modifier::BOLD)
    }

    pub(crate) fn busy(self) -> Style {
        self.colour(Color::Magenta).add_modifier(Modifier::BOLD)
    }

    pub(crate) fn bad(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub(crate) fn bar(self) -> Style {
        self.colour(Color::Green)
    }

    pub(crate) fn error_bar(self) -> Style {
        self.colour(Color::Red)
    }

    pub(crate) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// Of an instance, or of a worker.
    pub(crate) fn state(self, state: &str) -> Style {
        match state {
            "ready" | "standby" | "serving" => self.good(),
            "unavailable" | "backing off" | "no daemon" | "no answer" => self.bad(),
            _ => self.busy(),
        }
    }
}

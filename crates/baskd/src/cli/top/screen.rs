//! The terminal: taken over, drawn on, and given back whatever happens.
//!
//! A frame is drawn into memory, and a thread writes it, one at a time: a terminal that takes nothing holds up a write,
//! and never the loop, which so still hears that it is to end. What gives the terminal back is written straight to the
//! descriptor, for a panic may come while anything else is locked.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::panic;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::crossterm::{Command, QueueableCommand};
use rustix::process::{Signal, kill_current_process_group};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::model::Model;
use super::view::{self, theme::Theme};
use crate::cli::exit::Failure;

/// How long a terminal gets to take the last that is written to it.
const FAREWELL: Duration = Duration::from_secs(1);

/// Whether the terminal is this program's own.
static TAKEN: AtomicBool = AtomicBool::new(false);

pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<Sheet>>,
    sheet: Sheet,
    output: Arc<File>,
    writing: Option<JoinHandle<io::Result<()>>>,
    theme: Theme,
}

/// What a frame is drawn into.
#[derive(Clone, Default)]
struct Sheet(Rc<RefCell<Vec<u8>>>);

impl Write for Sheet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Refuses what can't be drawn on, and says what to use there.
pub(crate) fn check() -> Result<(), Failure> {
    let is_missing = |what| {
        Failure::Usage(format!(
            "`baskd top` is for a terminal, and {what}: `baskd status` prints the same once"
        ))
    };
    if !io::stdout().is_terminal() {
        return Err(is_missing("stdout is none"));
    }
    if !io::stdin().is_terminal() {
        return Err(is_missing("stdin is none"));
    }
    if std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        return Err(is_missing("$TERM says that this one is dumb"));
    }
    Ok(())
}

impl Screen {
    /// Takes the terminal over.
    pub(crate) fn take() -> Result<Screen, Failure> {
        let failed = |error: io::Error| Failure::Failed(format!("can't draw on this terminal: {error}"));
        give_back_on_panic();
        let output = io::stdout().as_fd().try_clone_to_owned().map_err(failed)?;
        let sheet = Sheet::default();
        let terminal = Terminal::new(CrosstermBackend::new(sheet.clone())).map_err(failed)?;
        let mut screen = Screen {
            terminal,
            sheet,
            output: Arc::new(output.into()),
            writing: None,
            theme: Theme::of_environment(),
        };
        screen.enter().map_err(failed)?;
        Ok(screen)
    }

    fn enter(&mut self) -> io::Result<()> {
        TAKEN.store(true, Ordering::SeqCst);
        enable_raw_mode()?;
        self.sheet
            .queue(EnterAlternateScreen)?
            .queue(EnableBracketedPaste)?
            .queue(Hide)?;
        self.redraw()
    }

    /// Draws, unless the last frame is still being written.
    pub(crate) fn draw(&mut self, model: &Model) -> io::Result<()> {
        if self.is_writing() {
            return Ok(());
        }
        let theme = self.theme;
        self.terminal.draw(|frame| {
            let area = frame.area();
            view::draw(model, theme, area, frame.buffer_mut());
        })?;
        let bytes = std::mem::take(&mut *self.sheet.0.borrow_mut());
        let output = self.output.clone();
        self.writing = Some(spawn_blocking(move || (&*output).write_all(&bytes)));
        Ok(())
    }

    pub(crate) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Returns when the frame is written; never, if none is.
    pub(crate) async fn written(&mut self) -> io::Result<()> {
        let Some(writing) = &mut self.writing else {
            return std::future::pending().await;
        };
        let written = writing.await;
        self.writing = None;
        written.unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
    }

    /// The next frame is drawn on nothing. (`clear` would ask the terminal where its cursor is, and the answer would be
    /// read as keys.)
    pub(crate) fn redraw(&mut self) -> io::Result<()> {
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }

    /// Gives the terminal to the shell, as Ctrl-Z does, and takes it again when this program is told to go on. Where there
    /// is no shell that could tell it, the kernel does not stop it.
    pub(crate) async fn suspend(&mut self) -> io::Result<()> {
        self.finish().await;
        give_back();
        // All of a pipeline, or of a script, as the terminal would.
        kill_current_process_group(Signal::TSTP)?;
        self.enter()
    }

    /// Whoever stopped this program may have changed the terminal: it is taken as if for the first time.
    pub(crate) fn resume(&mut self) -> io::Result<()> {
        give_back();
        self.enter()
    }

    /// Gives the terminal back for good.
    pub(crate) async fn leave(mut self) {
        self.finish().await;
        let _ = timeout(FAREWELL, spawn_blocking(give_back)).await;
    }

    async fn finish(&mut self) {
        if self.is_writing() {
            let _ = timeout(FAREWELL, self.written()).await;
        }
    }
}

fn give_back_on_panic() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        give_back();
        before(panic);
    }));
}

/// Gives the terminal back, if it was taken. Its settings come first: they need nobody who reads.
fn give_back() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    let _ = disable_raw_mode();
    let mut text = String::new();
    // A reset of colours, for a frame may be half written.
    text.push_str("\x1b[0m");
    let _ = DisableBracketedPaste.write_ansi(&mut text);
    let _ = LeaveAlternateScreen.write_ansi(&mut text);
    let _ = Show.write_ansi(&mut text);
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match rustix::io::write(rustix::stdio::stdout(), rest) {
            Ok(written) if written > 0 => rest = &rest[written..],
            Err(rustix::io::Errno::INTR) => {}
            // The terminal is gone.
            _ => return,
        }
    }
}

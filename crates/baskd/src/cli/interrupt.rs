//! Being told to stop, by Ctrl-C or by a TERM.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::Failure;

pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// From here on neither signal ends the process by itself.
    pub(crate) fn new() -> Result<Interrupts, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::Failed(format!("can't listen for signals: {error}")));
        Ok(Interrupts {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

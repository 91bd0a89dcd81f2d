//! Finding a daemon's socket and connecting to it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use baskd_protocol::socket::{DEFAULT_NAME, SocketError, instance_name, valid_name};
use baskd_protocol::socket::{check_folder_for_client, folder_of, socket_path};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};

use crate::Error;

/// The path of the socket that `name` and `socket`, both given explicitly or not at all, mean.
///
/// `socket` wins over `name`, and either over `$BASKD_SOCKET` and `$BASKD_NAME`; without any of them it is the instance
/// `default` in `$XDG_RUNTIME_DIR/baskd`. Nothing is looked at on disk.
///
/// # Errors
/// [`Error::Socket`] if the name can't be an instance's, or the path is longer than a Unix socket's can be (107 bytes).
pub fn resolve(name: Option<&str>, socket: Option<&Path>) -> Result<PathBuf, Error> {
    Ok(socket_path(name, socket)?)
}

/// How long to wait for a daemon that has more connections waiting for it than there is room for: it may have stopped.
const BUSY: Duration = Duration::from_secs(10);

/// Connects, and while nobody answers tries again until `patience` is over.
pub(crate) async fn dial(path: &Path, patience: Duration) -> Result<UnixStream, Error> {
    let started = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        match attempt(path).await {
            Err(Error::NoDaemon { source, .. })
                if started.elapsed() + pause < if is_busy(&source) { patience.max(BUSY) } else { patience } =>
            {
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(100));
            }
            result => return result,
        }
    }
}

/// Whether there is one, after all.
fn is_busy(refusal: &io::Error) -> bool {
    refusal.kind() == io::ErrorKind::WouldBlock
}

async fn attempt(path: &Path) -> Result<UnixStream, Error> {
    let no_daemon = |source: io::Error| Error::NoDaemon {
        path: path.to_owned(),
        source,
    };
    match check_folder_for_client(folder_of(path)) {
        Ok(()) => UnixStream::connect(path).await.map_err(no_daemon),
        // A folder that is not there yet is only the most thorough way of not being served.
        Err(SocketError::FolderMissing(_)) => Err(no_daemon(io::ErrorKind::NotFound.into())),
        Err(error) => Err(error.into()),
    }
}

//! Standard output: what was asked for, and nothing else.

use std::io;

use tokio::io::{AsyncWriteExt, stdout};

use super::exit::Failure;

/// Prints a line. It is waited for without blocking, so that Ctrl-C is heard while a pager doesn't read.
pub(crate) async fn line(text: impl Into<String>) -> Result<(), Failure> {
    let mut text = text.into();
    text.push('\n');
    bytes(text.as_bytes()).await
}

pub(crate) async fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = stdout();
    let written = match stdout.write_all(bytes).await {
        Ok(()) => stdout.flush().await,
        Err(error) => Err(error),
    };
    written.map_err(failure)
}

pub(crate) fn failure(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::ReaderGone,
        _ => Failure::Failed(format!("can't write to stdout: {error}")),
    }
}

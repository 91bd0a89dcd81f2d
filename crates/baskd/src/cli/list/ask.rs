//! One question to a daemon that runs, on a connection of its own: nothing is asked again, and nothing is started.

use std::io;
use std::path::Path;
use std::time::Duration;

use baskd_client::Status;
use baskd_protocol::socket::{check_folder_for_client, folder_of};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long a daemon may take: it answers whatever its Python does, so that only one that is stopped takes longer.
const PATIENCE: Duration = Duration::from_millis(1500);
/// More than any status has.
const LONGEST: u64 = 16 << 20;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Silence {
    /// Its socket is not there yet, or no longer.
    NoSocket,
    /// It said nothing in time, or something else: what, if anything.
    NoAnswer(Option<String>),
}

#[derive(Deserialize)]
struct Reply {
    result: Option<Status>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

pub(super) async fn status(socket: &Path) -> Result<Status, Silence> {
    if let Err(error) = check_folder_for_client(folder_of(socket)) {
        return Err(Silence::NoAnswer(Some(error.to_string())));
    }
    let asked = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream
            .write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"daemon.status\"}\n")
            .await?;
        let mut line = String::new();
        BufReader::new(stream.take(LONGEST)).read_line(&mut line).await?;
        Ok::<_, io::Error>(line)
    };
    let line = match timeout(PATIENCE, asked).await {
        Ok(Ok(line)) => line,
        Ok(Err(error)) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Err(Silence::NoSocket);
        }
        Ok(Err(error)) => return Err(Silence::NoAnswer(Some(error.to_string()))),
        Err(_) => return Err(Silence::NoAnswer(None)),
    };
    match serde_json::from_str(&line) {
        Ok(Reply {
            result: Some(status), ..
        }) => Ok(status),
        Ok(Reply {
            error: Some(refusal), ..
        }) => Err(Silence::NoAnswer(Some(refusal.message))),
        Ok(_) | Err(_) => Err(Silence::NoAnswer(Some(
            "it closed the connection, or is another version's".to_owned(),
        ))),
    }
}

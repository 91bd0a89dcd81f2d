//! How a call is written and where its answer ends: JSON-RPC in lines, or HTTP/1.1 with keep-alive.

use anyhow::{Result, bail};
use memchr::{memchr, memmem};

pub(crate) trait Dialect {
    /// Appends one more call.
    fn push_call(&mut self, out: &mut Vec<u8>);

    /// The length of the first whole answer in `bytes`, if there is one. An error where it is not a result.
    fn answer(&self, bytes: &[u8]) -> Result<Option<usize>>;
}

/// One JSON-RPC object a line.
pub(crate) struct JsonRpc {
    /// Between the id and the end of a call: `,"method":…}\n`.
    rest: Vec<u8>,
    next_id: u64,
}

impl JsonRpc {
    pub(crate) fn new(method: &str, params: &str) -> JsonRpc {
        let rest = format!(",\"method\":\"{method}\",\"params\":{params}}}\n").into_bytes();
        JsonRpc { rest, next_id: 1 }
    }
}

impl Dialect for JsonRpc {
    fn push_call(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
        out.extend_from_slice(self.next_id.to_string().as_bytes());
        self.next_id += 1;
        out.extend_from_slice(&self.rest);
    }

    fn answer(&self, bytes: &[u8]) -> Result<Option<usize>> {
        let Some(end) = memchr(b'\n', bytes) else {
            return Ok(None);
        };
        // The envelope comes first, so a long result need not be searched.
        if memmem::find(&bytes[..end.min(64)], b"\"result\":").is_none() {
            bail!("not a result: {}", String::from_utf8_lossy(&bytes[..end.min(500)]));
        }
        Ok(Some(end + 1))
    }
}

/// POST, with all that a server needs and nothing else.
pub(crate) struct Http {
    call: Vec<u8>,
}

impl Http {
    pub(crate) fn new(path: &str, body: &str) -> Http {
        let length = body.len();
        let call = format!(
            "POST {path} HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        Http {
            call: call.into_bytes(),
        }
    }
}

impl Dialect for Http {
    fn push_call(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.call);
    }

    fn answer(&self, bytes: &[u8]) -> Result<Option<usize>> {
        let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = &bytes[..end];
        if !head.starts_with(b"HTTP/1.1 200") {
            bail!(
                "not a result: {}",
                String::from_utf8_lossy(&bytes[..bytes.len().min(500)])
            );
        }
        let Some(length) = content_length(head) else {
            bail!("an answer without Content-Length: {}", String::from_utf8_lossy(head));
        };
        let whole = end + 4 + length;
        Ok((bytes.len() >= whole).then_some(whole))
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    for line in head.split(|byte| *byte == b'\n') {
        if line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME) {
            return std::str::from_utf8(&line[NAME.len()..]).ok()?.trim().parse().ok();
        }
    }
    None
}

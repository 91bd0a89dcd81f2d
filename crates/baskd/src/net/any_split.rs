//! What a connection answers does not depend on how its bytes are split, in any framing; and no bytes do harm. For the
//! fuzz target in tests/fuzz and the tests below.
//!
//! There is no Python, and the supervisor never gets its turn: calls wait until their connection is gone.

use std::rc::Rc;

use baskd_protocol::error::Error;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use super::content_length::ContentLength;
use super::framing::{Framing, Then};
use super::json_values::JsonValues;
use super::websocket::WebSocket;
use crate::backend::python::Interpreter;
use crate::backend::{self, Affinity, Backend, Controller, Journal, ReloadMode, Snapshots};
use crate::limits::Limits;
use crate::logs::Logs;
use crate::rpc::metrics::Kind;
use crate::rpc::peer::Peer;
use crate::rpc::{About, OnDisconnect, Service};

/// What the first byte of an input says of the connection.
#[derive(Clone, Copy)]
struct Shape {
    framing: Kind,
    is_refused: bool,
    /// Limits so small that each of them is met.
    is_narrow: bool,
}

/// Has bytes come in on a connection, whole and in several splits.
pub fn connection(data: &[u8]) {
    let Some((first, data)) = data.split_first() else {
        return;
    };
    let shape = Shape {
        framing: [Kind::Json, Kind::ContentLength, Kind::WebSocket, Kind::Json][usize::from(first & 3)],
        is_refused: first & 4 != 0,
        is_narrow: first & 8 != 0,
    };
    let whole = answers(shape, data, &[]);
    let step = 2 + usize::from(first >> 4);
    for cuts in [
        (1..data.len()).collect::<Vec<_>>(),
        (1..data.len()).step_by(step).collect(),
        vec![data.len() / 2],
    ] {
        let split = answers(shape, data, &cuts);
        // Where something is too large, how much of it had come is told by its id.
        if !shape.is_narrow {
            assert_eq!(split, whole, "split at {:?}…", &cuts[..cuts.len().min(8)]);
        }
    }
}

thread_local! {
    static PLACE: (Runtime, tempfile::TempDir) = (
        Builder::new_current_thread().build().expect("there is a runtime"),
        tempfile::tempdir().expect("there is a folder"),
    );
}

/// The lines that a connection is sent, and what its framing adds of its own.
fn answers(shape: Shape, data: &[u8], cuts: &[usize]) -> (Vec<String>, Vec<u8>) {
    PLACE.with(|(runtime, folder)| {
        let _runtime = runtime.enter();
        let tasks = LocalSet::new();
        let _tasks = tasks.enter();
        let limits = limits(shape.is_narrow);
        let logs = Rc::new(Logs::default());
        let options = backend::Options {
            controller: Controller::Embedded,
            python: Interpreter {
                path: "python3".into(),
                found: String::new(),
            },
            state_dir: folder.path().to_owned(),
            workers: 1,
            affinity: Affinity::None,
            standby: false,
            reload_mode: ReloadMode::Beside,
            watch: false,
            limits: limits.clone(),
        };
        let journal = Journal::open(folder.path(), Vec::new(), &logs).expect("there is a folder");
        let snapshots = Snapshots::open(folder.path(), &journal, &logs).expect("there is a folder");
        let backend = Backend::start(options, journal, snapshots, logs.clone());
        let about = About {
            name: "fuzzed".to_owned(),
            listening: "own",
            socket: String::new(),
            started: std::time::Instant::now(),
        };
        let (on_disconnect, stop) = (OnDisconnect::Cancel, CancellationToken::new());
        let service = Service::new(backend, limits, on_disconnect, logs, about, stop);
        let answers = Fed::new(shape, &service).feed(data, cuts);
        service.backend.end_all();
        assert_eq!(service.pending.get(), 0, "bytes of half messages are counted on");
        assert_eq!(service.unread.get(), 0, "bytes that nobody reads are counted on");
        assert_eq!(service.connections.get(), 0);
        answers
    })
}

fn limits(is_narrow: bool) -> Limits {
    let limits = Limits::default();
    if !is_narrow {
        return limits;
    }
    Limits {
        max_request: 64,
        max_id: 16,
        max_nesting: 8,
        max_calls: 4,
        max_in_flight: 3,
        max_batch: 3,
        max_batch_response: 200,
        max_subscriptions: 2,
        max_lossy: 1,
        max_own: 1,
        ..limits
    }
}

/// A connection without a socket.
struct Fed {
    peer: Rc<Peer>,
    framing: Framing,
    lines: Vec<String>,
    /// Pongs, and what closes.
    beside: Vec<u8>,
    has_ended: bool,
}

impl Fed {
    fn new(shape: Shape, service: &Rc<Service>) -> Fed {
        let refusal = shape.is_refused.then(|| Error::too_many_connections(1));
        let peer = Peer::new(service, shape.is_refused);
        let framing = match shape.framing {
            Kind::ContentLength => Framing::ContentLength(ContentLength::new(&peer, Vec::new(), refusal)),
            Kind::WebSocket => Framing::WebSocket(Box::new(WebSocket::new(&peer, Vec::new()))),
            _ => Framing::Json(JsonValues::new(&peer, refusal)),
        };
        Fed {
            peer,
            framing,
            lines: Vec::new(),
            beside: Vec::new(),
            has_ended: false,
        }
    }

    fn feed(mut self, data: &[u8], cuts: &[usize]) -> (Vec<String>, Vec<u8>) {
        let mut start = 0;
        for end in cuts.iter().copied().chain([data.len()]) {
            self.come(&data[start..end]);
            start = end;
        }
        if !self.has_ended {
            self.framing.end(Some(&self.peer));
        }
        self.take();
        self.framing.say_goodbye(false);
        self.take();
        self.peer.gone();
        (self.lines, self.beside)
    }

    /// As the connection does with what it has read.
    fn come(&mut self, bytes: &[u8]) {
        if self.has_ended {
            return;
        }
        self.framing.buf().extend_from_slice(bytes);
        loop {
            let then = self.framing.handle(&self.peer);
            self.take();
            match then {
                Then::GoOn if self.framing.has_more() => {}
                Then::GoOn => return,
                Then::Another(Kind::ContentLength) => {
                    let Framing::Json(values) = &mut self.framing else {
                        return;
                    };
                    let (read, refusal) = values.give_up();
                    self.framing = Framing::ContentLength(ContentLength::new(&self.peer, read, refusal));
                }
                Then::Close => {
                    self.framing.end(Some(&self.peer));
                    self.has_ended = true;
                    return;
                }
                // HTTP is hyper's.
                Then::Another(_) | Then::Gone => {
                    self.has_ended = true;
                    return;
                }
            }
        }
    }

    /// Writes what there is to a peer that reads at once.
    fn take(&mut self) {
        let mut out = Vec::new();
        self.peer.outbox.take(&mut out);
        self.peer.outbox.set_unwritten(0);
        for line in out.split_inclusive(|byte| *byte == b'\n') {
            let told: serde_json::Value = serde_json::from_slice(line).unwrap_or_else(|error| {
                panic!("{}: {error}", String::from_utf8_lossy(line));
            });
            assert!(told.is_array() || told["jsonrpc"] == "2.0", "{told}");
            let line = String::from_utf8_lossy(line);
            // What tells the time is another each time.
            self.lines.push(if line.contains("uptime_ms") {
                "a status".to_owned()
            } else {
                line.into_owned()
            });
        }
        let mut beside = Vec::new();
        self.framing.take(&self.peer.outbox, &mut beside);
        self.peer.outbox.set_unwritten(0);
        self.beside.append(&mut beside);
        self.peer.written();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay;
    use proptest::prelude::*;

    #[test]
    fn the_corpus() {
        replay::corpus("framings", connection);
    }

    const PIECES: &[&str] = &[
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"f\"}",
        "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"rpc.cancel\",\"params\":[1]}",
        "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"messages.subscribe\",\"params\":[\"own\"]}",
        "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"stream.call\",\"params\":{\"method\":\"g\",\"window\":1}}",
        "{\"jsonrpc\":\"2.0\",\"method\":\"stream.more\",\"params\":[3,1]}",
        "[{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"daemon.status\"},1]",
        "Content-Length: 46\r\n\r\n",
        "Content-Length: 3\r\n\r\n",
        "content-type: x\n",
        "\r\n\r\n",
        "GET / HTTP/1.1\r\n",
        "\u{81}\u{80}",
        "{",
        "[",
        "]",
        "}",
        "\"",
        "1",
        "nul",
        " ",
        "\n",
        "\"id\":5,",
    ];

    /// A client's frame; `first` is its first byte.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match u8::try_from(payload.len()) {
            Ok(length) if length < 126 => frame.push(0x80 | length),
            _ => {
                frame.push(0x80 | 126);
                frame.extend((payload.len() as u16).to_be_bytes());
            }
        }
        // A mask of zeros changes nothing.
        frame.extend([0; 4]);
        frame.extend(payload);
        frame
    }

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let text = || prop::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec());
        let first =
            prop_oneof![4 => Just(0x81u8), 1 => prop::sample::select(&[0x82u8, 0x01, 0x80, 0x89, 0x8a, 0x88][..])];
        let framed = (first, text()).prop_map(|(first, payload)| frame(first, &payload));
        let headed =
            text().prop_map(|text| [format!("Content-Length: {}\r\n\r\n", text.len()).as_bytes(), &text].concat());
        prop_oneof![
            6 => text(),
            2 => framed,
            2 => headed,
            1 => any::<u8>().prop_map(|byte| vec![byte]),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

        #[test]
        fn any_bytes(data in prop::collection::vec(any::<u8>(), 0..80)) {
            connection(&data);
        }

        #[test]
        fn pieces_of_messages(first: u8, pieces in prop::collection::vec(piece(), 0..12)) {
            connection(&[vec![first], pieces.concat()].concat());
        }
    }
}

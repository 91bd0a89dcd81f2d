//! What the kernel takes to carry a small message there and back: to another process over a Unix socket (one hop), and
//! on to a third over pipes, as with a daemon in the middle (two hops). Blocking reads and writes, and no work at all.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::report::Latencies;

/// As long as a call of `increment`.
const MESSAGE: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":100000,\"method\":\"increment\",\"params\":{\"by\":1}}\n";
/// The two take turns, so that whatever else the machine does hits both.
const TURN: Duration = Duration::from_millis(50);
/// Round trips at the start of a turn that do not count.
const WARM_UP: usize = 50;

pub(crate) fn measure(seconds: f64) -> Result<Value> {
    let mut one = Chain::start("mirror")?;
    let mut two = Chain::start("pass-on")?;
    let mut times = [Latencies::default(), Latencies::default()];
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < end {
        for (chain, times) in [&mut one, &mut two].into_iter().zip(&mut times) {
            chain.take_turn(times)?;
        }
    }
    one.end()?;
    two.end()?;
    let [one, two] = times;
    Ok(json!({ "one_hop": one.report(), "two_hops": two.report() }))
}

struct Chain {
    client: UnixStream,
    server: Child,
}

impl Chain {
    fn start(role: &str) -> Result<Chain> {
        let (client, server) = UnixStream::pair()?;
        let server = Command::new(std::env::current_exe()?)
            .arg(role)
            .stdin(OwnedFd::from(server.try_clone()?))
            .stdout(OwnedFd::from(server))
            .spawn()?;
        Ok(Chain { client, server })
    }

    fn take_turn(&mut self, times: &mut Latencies) -> Result<()> {
        let end = Instant::now() + TURN;
        let mut buffer = [0; 4096];
        for round in 0.. {
            let before = Instant::now();
            self.client.write_all(MESSAGE)?;
            if self.client.read(&mut buffer)? != MESSAGE.len() {
                bail!("the mirror did not give back what it was given");
            }
            let now = Instant::now();
            if round >= WARM_UP {
                times.push(now - before);
            }
            if now >= end {
                break;
            }
        }
        Ok(())
    }

    fn end(mut self) -> Result<()> {
        drop(self.client);
        self.server.wait()?;
        Ok(())
    }
}

/// Writes to stdout what comes on stdin, until that ends.
pub(crate) fn mirror() -> Result<()> {
    // Not std's own handles, which have buffers.
    let mut input = file(&std::io::stdin())?;
    let mut output = file(&std::io::stdout())?;
    let mut buffer = [0; 4096];
    loop {
        match input.read(&mut buffer)? {
            0 => return Ok(()),
            length => output.write_all(&buffer[..length])?,
        }
    }
}

/// As `mirror`, but it asks another one, over pipes.
pub(crate) fn pass_on() -> Result<()> {
    let mut far = Command::new(std::env::current_exe()?)
        .arg("mirror")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (Some(mut to_far), Some(mut from_far)) = (far.stdin.take(), far.stdout.take()) else {
        bail!("a child without pipes");
    };
    let mut input = file(&std::io::stdin())?;
    let mut output = file(&std::io::stdout())?;
    let mut buffer = [0; 4096];
    loop {
        match input.read(&mut buffer)? {
            0 => break,
            length => to_far.write_all(&buffer[..length])?,
        }
        let length = from_far.read(&mut buffer)?;
        output.write_all(&buffer[..length])?;
    }
    drop(to_far);
    far.wait()?;
    Ok(())
}

fn file(standard: &impl AsFd) -> Result<File> {
    Ok(File::from(standard.as_fd().try_clone_to_owned()?))
}

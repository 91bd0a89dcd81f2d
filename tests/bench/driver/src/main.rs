//! The client side of tests/bench. Prints one JSON object; tests/bench/run makes tables of many.

mod connection;
mod dialect;
mod grpc;
mod hops;
mod load;
mod relay;
mod report;
mod sharing;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand, ValueEnum};

use connection::Address;
use dialect::{Dialect, Http, JsonRpc};
use report::Span;

#[derive(Parser)]
#[command(about, version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One workload on one server.
    Load(Load),
    /// Kernel ping-pong: one hop, and two with a relay, in microseconds.
    Hops {
        #[arg(long, default_value_t = 1.0)]
        seconds: f64,
    },
    /// What a flood does to another connection's calls, and two floods to each other.
    Fairness(Place),
    /// A call's time and the daemon's memory, with one connection and with many, one call and many.
    Scale {
        #[command(flatten)]
        place: Place,
        /// Whose memory is looked at.
        #[arg(long)]
        pid: u32,
        #[arg(long, default_value_t = 1000)]
        connections: usize,
        #[arg(long, default_value_t = 10_000)]
        calls: usize,
    },
    /// Answers what comes on stdin, on stdout, with itself.
    #[command(hide = true)]
    Mirror,
    /// As `mirror`, with another process in between.
    #[command(hide = true)]
    PassOn,
    /// Carries lines between a socket and a command's stdin and stdout, and does nothing to them.
    Relay {
        #[arg(long)]
        listen: PathBuf,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

/// Where, and for how long.
#[derive(clap::Args)]
struct Place {
    /// `unix:PATH` or `tcp:HOST:PORT`.
    #[arg(long)]
    to: Address,
    /// How long each of its parts is measured.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    #[arg(long, default_value_t = 0.1)]
    warm_up: f64,
}

impl Place {
    fn span(&self) -> Span {
        Span::of(self.seconds, self.warm_up)
    }
}

#[derive(clap::Args)]
struct Load {
    workload: Workload,
    #[command(flatten)]
    place: Place,
    #[arg(long, value_enum, default_value = "jsonrpc")]
    dialect: Spoken,
    /// The method; for HTTP the path.
    #[arg(long, default_value = "increment")]
    method: String,
    #[arg(long, default_value = "{\"by\":1}")]
    params: String,
    /// Calls in flight, or connections, or bytes, or items: what the workload has.
    #[arg(long)]
    size: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Workload {
    Sequential,
    #[value(name = "inflight")]
    InFlight,
    Clients,
    Stream,
    Echo,
    Ticks,
}

#[derive(Clone, Copy, ValueEnum)]
enum Spoken {
    Jsonrpc,
    Http,
    Grpc,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Load(load) => println!("{}", run(&load)?),
        Command::Hops { seconds } => println!("{}", hops::measure(seconds)?),
        Command::Fairness(place) => println!("{}", sharing::fairness(&place.to, place.span())?),
        Command::Scale {
            place,
            pid,
            connections,
            calls,
        } => {
            println!("{}", sharing::scale(&place.to, pid, connections, calls, place.span())?);
        }
        Command::Mirror => hops::mirror()?,
        Command::PassOn => hops::pass_on()?,
        Command::Relay { listen, command } => relay::run(&listen, &command)?,
    }
    Ok(())
}

fn run(load: &Load) -> Result<serde_json::Value> {
    let (to, span) = (&load.place.to, load.place.span());
    let size = |usual| load.size.unwrap_or(usual);
    let mut dialect: Box<dyn Dialect> = match load.dialect {
        Spoken::Jsonrpc => Box::new(JsonRpc::new(&load.method, &load.params)),
        Spoken::Http => Box::new(Http::new(&load.method, &load.params)),
        Spoken::Grpc => {
            return match load.workload {
                Workload::Sequential => grpc::load(to, 1, 1, span),
                Workload::InFlight => grpc::load(to, 1, size(64), span),
                Workload::Clients => grpc::load(to, size(8), 1, span),
                _ => bail!("gRPC has the small call only"),
            };
        }
    };
    match (load.workload, load.dialect) {
        (Workload::Sequential, _) => load::sequential(to, &mut *dialect, span),
        (Workload::InFlight, _) => load::in_flight(to, &mut *dialect, size(64), span),
        (Workload::Clients, _) => load::clients(to, &mut *dialect, size(8), span),
        (Workload::Stream, Spoken::Jsonrpc) => load::stream(to, "items", size(100_000) as u64),
        (Workload::Echo, Spoken::Jsonrpc) => load::echo(to, size(1 << 20), span),
        (Workload::Ticks, Spoken::Jsonrpc) => load::ticks(to, size(500) as u64),
        _ => bail!("this workload speaks JSON-RPC only"),
    }
}

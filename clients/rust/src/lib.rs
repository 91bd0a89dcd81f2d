//! The Rust client of [baskd](https://github.com/baskd/baskd), the daemon that keeps one Python warm and shares it.
//!
//! ```no_run
//! use baskd_client::{Client, Event, StreamOptions, socket};
//! # async fn example() -> Result<(), baskd_client::Error> {
//! let client = Client::connect(socket::resolve(None, None)?).await?;
//!
//! client.set("model", "something").await?;
//! let count: serde_json::Value = client.call("increment", serde_json::json!({ "by": 5 })).await?;
//! println!("{}", count["counter"]);
//!
//! let mut stream = client.stream("testStream", (), StreamOptions::default()).await?;
//! while let Some(event) = stream.next().await {
//!     match event? {
//!         Event::Item(item) => println!("{item}"),
//!         Event::End(value) => println!("returned {value}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A [`Client`] is cheap to clone and can be used from many tasks at once; all share one connection. It needs a tokio
//! runtime. Dropping the future of a call, or a [`Stream`], cancels it in the daemon.
//!
//! A client outlives its daemon. The next call connects again, and starts a daemon where none answers and there is
//! something to start ([`Builder::start`]). A call that was under way when the connection was lost fails with
//! [`Error::Disconnected`], unless nothing of it had left, or it is idempotent ([`CallOptions`]): then it is sent again; and so is
//! one that the daemon has not begun, since it stops. A stream that has begun ends with that error. [`Messages`] and [`Logs`] go on, and tell of the gap. Once all clones, streams and
//! subscriptions are dropped, nothing connects any more.

mod builder;
mod client;
mod connection;
mod controller;
mod error;
mod feed;
mod inbox;
mod line;
mod link;
mod logs;
mod messages;
mod request;
mod retry;
mod session;
pub mod socket;
mod start;
mod status;
mod stream;
mod subscription;
mod transport;

pub use baskd_protocol::{Error as RpcError, ErrorCode};
pub use builder::Builder;
pub use client::{CallOptions, Client};
pub use error::Error;
pub use logs::{Log, LogLine, Logs};
pub use messages::{Message, Messages, Scope};
pub use status::{
    Bucket, Controller, Down, Exit, LastError, LastExit, Latency, Method, Python, Rate, Rates, RestartsBy, Running,
    Snapshot, Status, UnderWay, Worker,
};
pub use stream::{Event, Stream, StreamOptions};

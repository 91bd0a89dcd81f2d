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
//! runtime. Dropping the future of a call, or a [`Stream`], cancels it in the daemon. A client outlives its daemon:
//! calls under way when the connection is lost fail with [`Error::Disconnected`], unless they may run twice, and the next
//! one connects again. Where no daemon answers, one is started: see [`Builder::controller`].

mod client;
mod connection;
mod error;
mod link;
mod session;
pub mod socket;
mod start;
mod status;
mod stream;
mod subscription;
mod transport;

pub use baskd_protocol::{Error as RpcError, ErrorCode};
pub use client::{Builder, CallOptions, Client};
pub use error::Error;
pub use status::{Controller, Exit, LastExit, Python, Running, Status, Worker};
pub use stream::{Event, Message, Messages, Scope, Stream, StreamOptions};

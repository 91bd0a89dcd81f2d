//! Sockets: [`listen`] makes the path safely, or serves the socket that was [`given`];
//! [`accept`] is the door; [`connection`] moves bytes, a [`framing`] finds the messages in them:
//! [`json_values`], [`content_length`], [`websocket`]; [`http`] and its [`pages`] have hyper's loop. Knows nothing of
//! Python.

pub(crate) mod accept;
#[cfg(any(test, fuzzing))]
pub mod any_split;
pub mod connection;
mod content_length;
mod framing;
pub mod given;
mod hangup;
mod http;
pub mod json_values;
pub mod listen;
mod message;
mod pages;
mod socket;
mod websocket;

//! Sockets: [`listen`] makes the path safely, [`held`] tells whether somebody has, [`connection`] moves bytes, a [`framing`] finds the messages in them:
//! [`json_values`], [`content_length`], [`websocket`]; [`http`] and its [`pages`] have hyper's loop. Knows nothing of
//! Python.

#[cfg(any(test, fuzzing))]
pub mod any_split;
pub mod connection;
mod content_length;
mod framing;
mod hangup;
pub mod held;
mod http;
pub mod json_values;
pub mod listen;
mod message;
mod pages;
mod socket;
mod websocket;

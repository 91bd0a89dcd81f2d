//! Sockets: [`listen`] makes the path safely, [`connection`] moves bytes, [`json_values`] finds the messages in them.
//! Knows nothing of Python.

pub mod connection;
mod hangup;
pub mod json_values;
pub mod listen;

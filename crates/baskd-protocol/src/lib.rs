//! The wire that the daemon and its clients share, so that they can't drift.
//!
//! - [`scan`] finds where a JSON value ends, and checks its grammar, in one resumable pass.
//! - [`request`] reads a JSON-RPC envelope without decoding what is only carried.
//! - [`reply`] writes answers and notifications.
//! - [`error`] is the table of error codes.
//! - [`socket`] says where an instance's socket is, and [`presence`] who has it.
//! - [`trace`] says what a trace context is.

pub mod error;
pub mod presence;
#[cfg(any(test, fuzzing))]
pub mod properties;
pub mod reply;
pub mod request;
pub mod scan;
pub mod socket;
pub mod trace;

pub use error::{Error, ErrorCode};

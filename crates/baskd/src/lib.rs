//! The daemon of baskd. A request meets the modules in this order: [`net`] → [`rpc`] → [`backend`]; [`serve`] puts them
//! together.

pub mod backend;
mod bell;
mod busy_poll;
mod clock;
pub mod config;
pub mod limits;
pub mod logs;
pub mod net;
#[cfg(test)]
mod replay;
pub mod rpc;
pub mod serve;
pub mod service;

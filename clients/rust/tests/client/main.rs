//! The client against a daemon that says what a test tells it to: what goes over the wire, and what comes of it.

mod calls;
mod fake;
mod lost;
mod start;
mod stopping;
mod streams;

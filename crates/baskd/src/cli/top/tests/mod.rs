//! The model and the view together: what is to be seen on screens of several sizes, against committed pictures.
//!
//! `BASKD_PICTURES=write cargo test -p baskd pictures` draws them anew; look at what has changed before you commit it.

mod doing;
mod pictures;
pub(super) mod stage;

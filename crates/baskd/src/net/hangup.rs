//! Did the peer only stop writing, or is it gone? A read can't tell: both end it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A second registration of a connection's socket, for the time after its last read: the first one's readiness can't be
/// cleared without losing writes. It is for writing, since tokio never clears that a socket was closed for reading.
pub(crate) struct Hangup {
    fd: AsyncFd<OwnedFd>,
}

impl Hangup {
    pub(crate) fn of(socket: &impl AsFd) -> io::Result<Hangup> {
        let fd = socket.as_fd().try_clone_to_owned()?;
        // SAFETY: an owned descriptor, closed by nobody but this AsyncFd.
        Ok(Hangup {
            fd: unsafe { AsyncFd::register_with_interest(fd, Interest::WRITABLE) }?,
        })
    }

    /// Returns when the peer has closed both directions.
    pub(crate) async fn wait(self) {
        while let Ok(mut guard) = self.fd.writable().await {
            let mut fds = [PollFd::new(self.fd.get_ref(), PollFlags::empty())];
            match poll(&mut fds, Some(&Default::default())) {
                Ok(_) if fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) => return,
                _ => guard.clear_ready(),
            }
        }
    }
}

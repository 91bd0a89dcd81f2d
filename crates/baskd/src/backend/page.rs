//! The page shared with one Python process: which calls have begun, and which are cancelled.
//!
//! The router marks a call as begun with one store, about 40 ns and no system call; the mark outlives the process. A
//! cancelled call's mark is what the router's signal handler looks at: no message has to be read for it. The marks are
//! counted, so that the router need not look for one before each call. A page serves one process, so nothing that an old
//! process left behind can speak for a new one.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// How many calls can be with Python at once. A call's id is `number << SLOT_BITS | slot`.
pub(crate) const SLOTS: usize = 1 << SLOT_BITS;
/// So many of them are for clients' calls. The others are for what the daemon itself asks of its workers: properties.
pub(crate) const CLIENTS_SLOTS: usize = SLOTS - 2048;
pub(crate) const SLOT_BITS: u32 = 15;

/// The place of the word that counts the marks of cancelled calls, behind both arrays.
const MARKS: usize = 2 * SLOTS;
/// A whole number of the kernel's pages.
const BYTES: usize = MARKS * size_of::<u64>() + 4096;

pub(crate) struct Page {
    fd: OwnedFd,
    words: NonNull<AtomicU64>,
}

impl Page {
    pub(crate) fn new() -> io::Result<Page> {
        let fd = memfd_create(c"baskd-page", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&fd, BYTES as u64)?;
        // A process that shrank the file would have the daemon killed by SIGBUS at its next look.
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        // SAFETY: a new mapping of a file that is BYTES long and can't shrink; it is unmapped in `drop` only.
        let words = unsafe {
            mmap(
                ptr::null_mut(),
                BYTES,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &fd,
                0,
            )?
        };
        let words = NonNull::new(words.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Page { fd, words })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index <= MARKS);
        // SAFETY: within the mapping, aligned, and only ever accessed as atomics here; Python's stores are single aligned 8-byte ones.
        unsafe { self.words.add(index).as_ref() }
    }

    /// Whether Python has begun this call.
    pub(crate) fn has_begun(&self, id: u64) -> bool {
        self.word(slot_of(id)).load(Ordering::Acquire) == id
    }

    pub(crate) fn mark_cancelled(&self, id: u64) {
        self.word(SLOTS + slot_of(id)).store(id, Ordering::Release);
        self.word(MARKS).fetch_add(1, Ordering::Release);
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, to which no reference is left.
        let _ = unsafe { munmap(self.words.as_ptr().cast(), BYTES) };
    }
}

pub(crate) fn slot_of(id: u64) -> usize {
    id as usize & (SLOTS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_where_the_protocol_says() {
        let page = Page::new().unwrap();
        let id = (77 << SLOT_BITS) | 5;
        assert!(!page.has_begun(id));
        rustix::io::pwrite(page.fd(), &id.to_le_bytes(), 5 * 8).unwrap();
        assert!(page.has_begun(id));
        assert!(!page.has_begun((78 << SLOT_BITS) | 5));

        page.mark_cancelled(id);
        let mut word = [0; 8];
        rustix::io::pread(page.fd(), &mut word, (32_768 + 5) * 8).unwrap();
        assert_eq!(u64::from_le_bytes(word), id);
        rustix::io::pread(page.fd(), &mut word, 2 * 32_768 * 8).unwrap();
        assert_eq!(u64::from_le_bytes(word), 1);
    }

    #[test]
    fn a_hostile_child_cannot_shrink_it() {
        let page = Page::new().unwrap();
        assert!(ftruncate(page.fd(), 0).is_err());
    }
}

//! Reads on threads that must not wait for a device.
//!
//! A thread that polls a future runs its reads in [`without_waiting`]. There, bytes that are in
//! memory are read, and the first read that would wait is refused. The caller drops the unfinished
//! answer and repeats the work on an I/O thread ([`io_threads`](crate::read)).
//!
//! Invariants:
//! - After a refused read, [`without_waiting`] returns `None`, whatever the code between made of
//!   the refusal.
//! - Reads of the index and of records go through the functions here, never to the disk directly.
//!
//! Not here: which bytes are in memory, which each [`Disk`] knows.

use std::{cell::Cell, io};

use bytes::Bytes;

use super::{Cache, Disk};

/// Maximum size of one read from memory on a thread that must not wait, in bytes. Copying more
/// takes longer than the hand-over to another thread.
const READ_BYTES_MAX: usize = 1 << 20;

/// The rule for reads on a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadRule {
    MayWait,
    MemoryOnly,
    /// As [`MemoryOnly`](Self::MemoryOnly), and a read was refused.
    Refused,
}

crate::sync::thread_local! {
    static RULE: Cell<ReadRule> = const { Cell::new(ReadRule::MayWait) };
}

/// Restores the rule of the thread, also after a panic.
struct Restore(ReadRule);

impl Drop for Restore {
    fn drop(&mut self) {
        RULE.with(|rule| rule.set(self.0));
    }
}

/// Runs work that reads from memory only. Returns `None` if a read was refused: the work then has
/// to be repeated where it may wait, and what it changed has to be undone.
pub(crate) fn without_waiting<T>(work: impl FnOnce() -> T) -> Option<T> {
    let restore = Restore(RULE.with(|rule| rule.replace(ReadRule::MemoryOnly)));
    let result = work();
    let complete = RULE.with(Cell::get) == ReadRule::MemoryOnly;
    drop(restore);
    complete.then_some(result)
}

/// Returns whether this thread may wait for a device.
pub(crate) fn may_wait() -> bool {
    RULE.with(Cell::get) == ReadRule::MayWait
}

/// Returns whether this thread may make any call to a disk.
fn may_call(disk: &dyn Disk) -> bool {
    may_wait() || disk.never_waits()
}

/// Notes that the work needs something that would wait, and returns the error for it.
pub(crate) fn refuse() -> io::Error {
    debug_assert!(!may_wait(), "only work that must not wait is refused anything");
    RULE.with(|rule| rule.set(ReadRule::Refused));
    io::ErrorKind::WouldBlock.into()
}

/// Reads into a buffer, as [`Disk::read_into`].
pub(crate) fn read_into(
    disk: &dyn Disk,
    file: &str,
    offset: u64,
    buffer: &mut [u8],
) -> io::Result<usize> {
    if may_call(disk) {
        return disk.read_into(file, offset, buffer);
    }
    disk.read_cached(file, offset, buffer)?.ok_or_else(refuse)
}

/// Reads up to `length` bytes, as [`Disk::read`] does with [`Cache::Use`].
pub(crate) fn read(disk: &dyn Disk, file: &str, offset: u64, length: usize) -> io::Result<Bytes> {
    if may_call(disk) {
        return disk.read(file, offset, length, Cache::Use);
    }
    // The length may come from a damaged file: only small reads allocate before they look.
    if length > READ_BYTES_MAX {
        return Err(refuse());
    }
    let mut buffer = vec![0; length];
    let read = disk.read_cached(file, offset, &mut buffer)?.ok_or_else(refuse)?;
    buffer.truncate(read);
    Ok(buffer.into())
}

/// Returns a file's length, as [`Disk::length`]. Refused where nothing may wait.
pub(crate) fn length(disk: &dyn Disk, file: &str) -> io::Result<u64> {
    if may_call(disk) { disk.length(file) } else { Err(refuse()) }
}

/// Checks the owner, as [`Disk::check_owner`]. Refused where nothing may wait.
pub(crate) fn check_owner(disk: &dyn Disk) -> io::Result<()> {
    if may_call(disk) { disk.check_owner() } else { Err(refuse()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_that_the_work_hides_still_ends_in_none() {
        assert_eq!(without_waiting(|| refuse().kind() == io::ErrorKind::WouldBlock), None);
        assert_eq!(without_waiting(|| 1), Some(1));
        assert!(may_wait());
    }

    #[test]
    fn the_rule_is_restored_after_a_panic() {
        let panicked = std::panic::catch_unwind(|| without_waiting(|| panic!("on purpose")));
        assert!(panicked.is_err());
        assert!(may_wait());
    }
}

//! Spare file descriptors, and system calls that are retried.
//!
//! Keeps descriptors of `/dev/null` and closes them when the process or the system has no other
//! left. An append can then still open what it needs (a new segment, a file of the index), although
//! connections have taken all other descriptors. They are refilled when a file is created later.

use std::{
    fs::File,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Number of spare descriptors: a new segment with two handles, a new file of the index, and a file
/// to read.
const SPARE_HANDLES: usize = 4;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct SpareDescriptors {
    handles: Mutex<Vec<File>>,
}

impl SpareDescriptors {
    /// Opens spare descriptors until there are enough, as far as the system allows.
    pub(super) fn fill(&self) {
        let mut handles = self.handles();
        while handles.len() < SPARE_HANDLES {
            let Ok(handle) = File::open("/dev/null") else { return };
            handles.push(handle);
        }
    }

    /// Closes one spare descriptor. Returns false if there is none.
    pub(super) fn close_one(&self) -> bool {
        self.handles().pop().is_some()
    }

    fn handles(&self) -> MutexGuard<'_, Vec<File>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether the process or the system is out of file descriptors.
pub(super) fn is_out_of_descriptors(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    matches!(errno, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
}

/// Returns whether the system lacks a resource that may become available again.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let short = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN, Errno::INTR];
    Errno::from_io_error(error).is_some_and(|errno| short.contains(&errno))
}

/// Repeats a call until it is not interrupted by a signal.
pub(super) fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

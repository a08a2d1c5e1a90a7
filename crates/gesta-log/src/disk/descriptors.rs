//! SpareDescriptors file descriptors, and calls that are made again.
//!
//! Owns descriptors of `/dev/null` that are closed when the process or the system has no other left,
//! so that what an append needs (a new segment, a file of the index that was not open) finds one
//! although connections have taken all others. They are taken again when a file is made later.

use std::{
    fs::File,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Descriptors kept: for a new segment by two handles, a new file of the index, and a file that is read.
const SPARE_HANDLES: usize = 4;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SpareDescriptors {
    handles: Mutex<Vec<File>>,
}

impl SpareDescriptors {
    /// Takes as many descriptors as are wanted and to be had.
    pub(super) fn fill(&self) {
        let mut handles = self.handles();
        while handles.len() < SPARE_HANDLES {
            let Ok(handle) = File::open("/dev/null") else { return };
            handles.push(handle);
        }
    }

    /// Frees one descriptor; says whether there was one.
    pub(super) fn give(&self) -> bool {
        self.handles().pop().is_some()
    }

    fn handles(&self) -> MutexGuard<'_, Vec<File>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the process or the system has no file descriptor left.
pub(super) fn is_out_of_descriptors(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    matches!(errno, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
}

/// Whether the system is short of something that may be had again.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let short = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN, Errno::INTR];
    Errno::from_io_error(error).is_some_and(|errno| short.contains(&errno))
}

/// Makes a call again while a signal interrupts it.
pub(super) fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

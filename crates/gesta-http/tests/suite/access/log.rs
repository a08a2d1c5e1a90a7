//! The log of the whole test run, at every level of every target.

use std::{
    io,
    sync::{Mutex, Once, PoisonError},
};

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static COLLECTED: Once = Once::new();

struct Collector;

impl io::Write for Collector {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Collects the log from now on.
pub(super) fn collect() {
    COLLECTED.call_once(|| {
        let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Collector);
        lines.with_max_level(tracing::Level::TRACE).init();
    });
}

/// The log so far.
pub(super) fn text() -> String {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&lines).into_owned()
}

//! Waiting for other processes, which end and become ready without a signal to this one.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(20);

/// Looks repeatedly until `is_done` returns `true`. Returns `false` once the limit is over.
///
/// Blocks. An error of `is_done` ends the wait.
#[expect(clippy::disallowed_methods, reason = "another process is waited for in real time")]
pub(crate) fn wait_until(
    limit: Duration,
    mut is_done: impl FnMut() -> Result<bool>,
) -> Result<bool> {
    let start = Instant::now();
    loop {
        if is_done()? {
            return Ok(true);
        }
        if start.elapsed() > limit {
            return Ok(false);
        }
        thread::sleep(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn a_wait_ends_with_success_with_the_limit_or_with_an_error() {
        let mut looks = 0;
        let third = || {
            looks += 1;
            Ok(looks == 3)
        };
        assert!(wait_until(Duration::from_secs(60), third).unwrap());
        assert!(!wait_until(Duration::ZERO, || Ok(false)).unwrap());
        assert!(wait_until(Duration::from_secs(60), || bail!("it died")).is_err());
    }
}

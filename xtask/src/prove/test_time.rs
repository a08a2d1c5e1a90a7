//! Promise 1: the README's test command is fast enough for every commit.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::CheckContext;
use crate::{step::Stopwatch, test};

const TEST_TIME_MAX: Duration = Duration::from_mins(10);

pub(super) fn under_ten_minutes(_ground: &CheckContext) -> Result<String> {
    let stopwatch = Stopwatch::start();
    test::run(&[])?;
    let taken = stopwatch.elapsed();
    ensure!(
        taken < TEST_TIME_MAX,
        "{} s, the limit is {} s",
        taken.as_secs(),
        TEST_TIME_MAX.as_secs()
    );
    Ok(format!("{} s", taken.as_secs()))
}

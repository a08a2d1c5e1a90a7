//! The clock that all processes of one machine share: the time since the machine's start.
//!
//! It never goes back and is not set by people. Where the system does not tell the start, the wall
//! clock takes its place: leases then expire late or early after it was set.

use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A time since a start of the machine.
pub(crate) struct MachineTime {
    /// Identity of the start.
    pub(crate) boot: String,
    pub(crate) since_boot: Duration,
}

/// Linux gives the start by an id, and the time since then with the time of sleep.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const UPTIME: &str = "/proc/uptime";

impl MachineTime {
    pub(crate) fn now() -> Self {
        Self::since_boot().unwrap_or_else(|| Self { boot: String::new(), since_boot: wall_clock() })
    }

    fn since_boot() -> Option<Self> {
        let boot = fs::read_to_string(BOOT_ID).ok()?.trim().to_owned();
        let uptime = fs::read_to_string(UPTIME).ok()?;
        Some(Self { boot, since_boot: parsed(&uptime)? })
    }
}

/// Returns the time since 1970. May go back.
#[expect(clippy::disallowed_methods, reason = "this is the clock of leases between processes")]
pub(crate) fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The first number of `/proc/uptime`, in seconds with two decimals.
fn parsed(uptime: &str) -> Option<Duration> {
    let seconds: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_since_the_start_is_read_in_seconds() {
        assert_eq!(parsed("350735.47 234388.90\n"), Some(Duration::from_millis(350_735_470)));
        for wrong in ["", "soon", "-1.00 2.00", "inf"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_clock_does_not_go_back() {
        let (first, second) = (MachineTime::now(), MachineTime::now());
        assert_eq!(first.boot, second.boot);
        assert!(first.since_boot <= second.since_boot);
    }
}

//! Figures of the process, as the operating system has them.

use std::fs;

/// Returns the memory of this process that is resident, in bytes, if the system tells it.
pub(super) fn resident_bytes() -> Option<u64> {
    // Text of the kernel, without a wait for a device.
    resident_of(&fs::read_to_string("/proc/self/status").ok()?)
}

fn resident_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_the_status_of_the_process() {
        let status = "VmPeak:\t   20000 kB\nVmRSS:\t    1234 kB\nThreads:\t2\n";
        assert_eq!(resident_of(status), Some(1234 * 1024));
        assert_eq!(resident_of("VmPeak:\t 1 kB\n"), None);
        assert_eq!(resident_of("VmRSS:\t many kB\n"), None);
    }
}

//! Calls that operating systems have under different names, or not at all.
//!
//! Invariant: durability is the same on each system that compiles. `File::sync_data` and
//! `File::sync_all` of the standard library are `fdatasync` and `fsync` on Linux, and
//! `fcntl(F_FULLFSYNC)` on macOS, where `fsync` alone leaves data in the device's cache.
//! Only hints and shortcuts differ here.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Drops a range of a file from the page cache, so that the next read comes from the device.
#[cfg(target_os = "linux")]
pub(super) fn drop_cached(file: &File, offset: u64, length: usize) -> io::Result<()> {
    use rustix::fs::{Advice, fadvise};
    let length = std::num::NonZeroU64::new(length as u64);
    super::descriptors::retry_interrupted(|| Ok(fadvise(file, offset, length, Advice::DontNeed)?))
}

/// Does nothing: the system cannot drop a range of a file from its cache.
#[cfg(not(target_os = "linux"))]
pub(super) fn drop_cached(_: &File, _: u64, _: usize) -> io::Result<()> {
    Ok(())
}

/// Returns the device number and the inode, as `std::fs::Metadata` has them.
pub(super) fn device_and_inode(stat: &rustix::fs::Stat) -> (u64, u64) {
    #[cfg(target_os = "linux")]
    let device = stat.st_dev;
    #[cfg(not(target_os = "linux"))]
    let device = i64::from(stat.st_dev).cast_unsigned();
    (device, stat.st_ino)
}

/// Opens a file with `O_DIRECT` and `O_DSYNC`.
#[cfg(target_os = "linux")]
pub(super) fn open_direct(path: &Path) -> io::Result<File> {
    use rustix::fs::OFlags;
    OpenOptions::new().write(true).custom_flags(bits(OFlags::DIRECT | OFlags::DSYNC)?).open(path)
}

/// Refuses: the system has no write that bypasses the cache and is durable when it returns.
#[cfg(not(target_os = "linux"))]
pub(super) fn open_direct(_: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Opens a file for reading, and for syncing where that is allowed. Uses `O_NOATIME` where it
/// exists and is permitted: updates of access times are measurable on small reads.
pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
    let open =
        |flags: i32| OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
    match open(no_access_time()?) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open(0).or_else(|_| File::open(path))
        }
        opened => opened.or_else(|_| File::open(path)),
    }
}

#[cfg(target_os = "linux")]
fn no_access_time() -> io::Result<i32> {
    bits(rustix::fs::OFlags::NOATIME)
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "fallible on Linux")]
fn no_access_time() -> io::Result<i32> {
    Ok(0)
}

#[cfg(target_os = "linux")]
fn bits(flags: rustix::fs::OFlags) -> io::Result<i32> {
    i32::try_from(flags.bits()).map_err(io::Error::other)
}

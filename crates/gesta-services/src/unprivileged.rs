//! Programs that refuse to run as root.
//!
//! Containers and CI machines often have no other user. In a user namespace the program sees
//! another user id, while its files stay those of the caller: no account and no change of owners is
//! needed.

use std::{ffi::OsStr, path::Path, process::Command};

use rustix::process::geteuid;

/// The user id that the program sees. Any but 0 will do.
const USER_ID: &str = "1000";

/// Returns a command that runs the program as another user than root.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("unshare");
    // `unshare` becomes the program, so the process id is the program's own.
    command.args(["--user", "--map-user", USER_ID, "--map-group", USER_ID, "--"]).arg(program);
    command
}

/// Mounts a file system of this size in memory, and becomes the program.
const MOUNT: &str = r#"mount -t tmpfs -o size="$1",mode=0777 tmpfs "$2" && shift 2 && exec "$@""#;

/// Returns a command that runs the program as another user than root, with a disk of this size at
/// an empty directory. Only the program sees it, and it is gone when the program ends.
pub(crate) fn command_with_disk(
    program: impl AsRef<OsStr>,
    directory: &Path,
    bytes: u64,
) -> Command {
    // In a name space of its own, so nothing has to be unmounted. Each step becomes the next one.
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "--", "sh", "-c", MOUNT, "sh"]);
    command.arg(bytes.to_string()).arg(directory);
    command.args(["unshare", "--user", "--map-user", USER_ID, "--map-group", USER_ID, "--"]);
    command.arg(program);
    command
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_program_sees_a_user_that_is_not_root() {
        let output = command("id").arg("-u").output().unwrap();
        let user = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(output.status.success() && user != "0", "{user} {output:?}");
    }

    #[test]
    fn the_disk_is_small_and_only_the_program_sees_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = command_with_disk("sh", directory.path(), 65_536);
        let script = "head -c 100000 /dev/zero > \"$0\"/file; wc -c < \"$0\"/file";
        let output = command.args(["-c", script]).arg(directory.path()).output().unwrap();
        let written = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert_eq!(written, "65536", "{output:?}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

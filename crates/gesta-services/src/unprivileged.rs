//! Programs that refuse to run as root.
//!
//! Containers and CI machines often have no other user. In a user namespace the program sees
//! another user id, while its files stay those of the caller: no account and no change of owners is
//! needed.

use std::{ffi::OsStr, process::Command};

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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_program_sees_a_user_that_is_not_root() {
        let output = command("id").arg("-u").output().unwrap();
        let user = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(output.status.success() && user != "0", "{user} {output:?}");
    }
}

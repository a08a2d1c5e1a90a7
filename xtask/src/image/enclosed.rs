//! Programs in a root of their own, as a container runs them.
//!
//! Invariants: mounts are in a namespace of the program and end with it; the environment has only
//! what is given. Not separated: processes, users and the network.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::image::dockerfile::Owner;

const ENTER: &str = include_str!("enter.sh");

/// A root, and what a program finds in it.
pub(super) struct Enclosed {
    pub(super) root: PathBuf,
    /// Directories and files that are mounted, and their places in the root.
    pub(super) mounts: Vec<(PathBuf, String)>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) directory: String,
    pub(super) owner: Owner,
    /// Set if only mounts can be written to.
    pub(super) is_read_only: bool,
}

impl Enclosed {
    /// Returns the command that runs a program, by its path in the root or by the root's `PATH`.
    ///
    /// The process that is started becomes the program, so signals reach it.
    pub(super) fn command<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", ENTER, "sh"]).arg(&self.root);
        command.arg(if self.is_read_only { "ro" } else { "rw" });
        for (from, to) in &self.mounts {
            command.arg(from).arg(to);
        }
        command.args(["--", "env", "--ignore-environment"]);
        command.args(self.environment.iter().map(|(name, value)| format!("{name}={value}")));
        let Owner { user, group } = self.owner;
        command
            .args(["unshare", &format!("--setuid={user}"), &format!("--setgid={group}")])
            .arg(Path::new("--root"))
            .arg(&self.root)
            .args([&format!("--wd={}", self.directory), "--"])
            .args(words);
        command
    }
}

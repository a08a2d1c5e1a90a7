//! The target directory of the running program, where servers and their URLs are.
//!
//! Tests run from below `target/`, at different depths.

use std::{
    env,
    path::{Path, PathBuf},
};

/// Folder below the target directory.
pub(crate) const SERVICES: &str = "services";
/// A file that cargo writes into each target directory.
const MARK: &str = "CACHEDIR.TAG";

/// Returns the target directories around this program, inner ones first. A build with other flags
/// has a target directory inside the usual one.
pub(crate) fn around() -> Vec<PathBuf> {
    let program = env::current_exe().unwrap_or_default();
    let marked = program.ancestors().filter(|folder| folder.join(MARK).exists());
    marked.map(Path::to_owned).collect()
}

/// Returns the folders for services in the target directories around this program, inner ones
/// first.
pub(crate) fn services_around() -> Vec<PathBuf> {
    around().iter().map(|folder| folder.join(SERVICES)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_in_a_target_directory() {
        assert!(services_around().iter().all(|folder| folder.ends_with(SERVICES)));
        assert!(!services_around().is_empty());
    }
}

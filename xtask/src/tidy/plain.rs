//! The crates whose prose and type names are checked.
//!
//! Not here: the checks ([`summaries`](super::summaries), [`width`](super::width),
//! [`unique`](super::unique)).

use crate::workspace::{Package, RustFile, Workspace};

/// Crates rewritten in plain terms. Add a crate once it passes; the list never shrinks.
#[rustfmt::skip]
const CRATES: &[&str] = &[
    "gesta",
    "gesta-bench",
    "gesta-cli",
    "gesta-console",
    "gesta-graphql",
    "gesta-http",
    "gesta-dynamodb",
    "gesta-kafka",
    "gesta-kurrentdb",
    "gesta-mongodb",
    "gesta-search",
    "gesta-redis",
    "gesta-log",
    "gesta-macros",
    "gesta-postgres",
    "gesta-scripts",
    "gesta-server",
    "gesta-services",
    "gesta-settings",
    "gesta-sim",
    "gesta-sqlite",
    "gesta-store",
    "gesta-telemetry",
    "gesta-tls",
    "gesta-tokens",
    "shop",
    "xtask",
];

/// The packages on the list.
pub(super) fn packages(workspace: &Workspace) -> impl Iterator<Item = &Package> {
    workspace.packages.iter().filter(|package| CRATES.contains(&package.name.as_str()))
}

/// The Rust files of the packages on the list, with their tests and examples.
pub(super) fn files(workspace: &Workspace) -> impl Iterator<Item = &RustFile> {
    packages(workspace).flat_map(|package| {
        let folder = format!("{}/", package.folder);
        workspace.rust.iter().filter(move |file| file.path.starts_with(&folder))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_crates_on_the_list_are_checked() {
        let workspace = Workspace::of(&[
            ("crates/gesta-sim/src/lib.rs", "//! One.\n"),
            ("crates/gesta-sim/tests/suite/main.rs", "//! Two.\n"),
            ("crates/gesta-simpler/src/lib.rs", "//! Three.\n"),
        ]);
        let paths: Vec<_> = files(&workspace).map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["crates/gesta-sim/src/lib.rs", "crates/gesta-sim/tests/suite/main.rs"]);
    }
}

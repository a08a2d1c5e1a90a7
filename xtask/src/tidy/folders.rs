//! A crate's folder has the crate's name, and the name says what the crate owns.

use crate::{tidy::Finding, workspace::Workspace};

/// Names without meaning, which attract anything.
const EMPTY_NAMES: [&str; 6] = ["common", "utils", "util", "types", "core", "shared"];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &workspace.packages {
        let folder = package.folder.rsplit('/').next().unwrap_or_default();
        if folder != package.name {
            let what = format!("the folder of {} has a different name", package.name);
            findings.push(Finding::new(&package.folder, what));
        }
        if let Some(name) = folder.split('-').find(|part| EMPTY_NAMES.contains(part)) {
            findings.push(Finding::new(
                &package.folder,
                format!("{name} says nothing about the contents"),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Package;

    fn findings(package: Package) -> usize {
        check(&Workspace { packages: vec![package], ..Workspace::of(&[]) }).len()
    }

    #[test]
    fn a_crate_is_named_for_what_it_owns() {
        assert_eq!(findings(Package::named("gesta-log")), 0);
        assert_eq!(findings(Package::named("gesta-core")), 1);
        assert_eq!(findings(Package::named("utils")), 1);
    }

    #[test]
    fn a_folder_with_another_name_than_its_crate_is_found() {
        let package = Package { folder: "crates/engine".to_owned(), ..Package::named("gesta-log") };
        assert_eq!(findings(package), 1);
    }
}

//! A crate's folder bears the crate's name, and a crate is named for what it owns.

use crate::{house::House, tidy::Finding};

/// Names that say nothing of what is inside, so that anything may end up there.
const EMPTY_NAMES: [&str; 6] = ["common", "utils", "util", "types", "core", "shared"];

pub(super) fn check(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &house.packages {
        let folder = package.folder.rsplit('/').next().unwrap_or_default();
        if folder != package.name {
            let what = format!("the folder of {} bears another name", package.name);
            findings.push(Finding::new(&package.folder, what));
        }
        if let Some(name) = folder.split('-').find(|part| EMPTY_NAMES.contains(part)) {
            findings.push(Finding::new(&package.folder, format!("{name} names nothing")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::house::Package;

    fn findings(package: Package) -> usize {
        check(&House { packages: vec![package], ..House::of(&[]) }).len()
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

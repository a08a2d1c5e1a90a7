//! Type names are unique within a crate, so that a search finds one definition.
//!
//! Not here: types of tests, which may repeat a name.

use std::collections::BTreeMap;

use syn::{Attribute, Ident, Item, Meta};

use crate::{
    tidy::{Finding, plain},
    workspace::{RustFile, Workspace},
};

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in plain::packages(workspace) {
        let mut first: BTreeMap<String, String> = BTreeMap::new();
        // Files come in order of their paths, so the first definition is stable.
        for file in workspace.sources_of(package).filter(|file| !is_test_file(file)) {
            let mut names = Vec::new();
            types(&file.syntax.items, &mut names);
            for name in names {
                let place = format!("{}:{}", file.path, name.span().start().line);
                match first.get(&name.to_string()) {
                    Some(other) => {
                        let what = format!("{name} is also defined in {other}: rename one");
                        findings.push(Finding::new(place, what));
                    }
                    None => drop(first.insert(name.to_string(), place)),
                }
            }
        }
    }
    findings
}

/// Collects the names of types in a list of items, including nested modules without tests.
fn types<'a>(items: &'a [Item], names: &mut Vec<&'a Ident>) {
    for item in items {
        match item {
            Item::Struct(item) => names.push(&item.ident),
            Item::Enum(item) => names.push(&item.ident),
            Item::Union(item) => names.push(&item.ident),
            Item::Trait(item) => names.push(&item.ident),
            Item::Type(item) => names.push(&item.ident),
            Item::Mod(module) if !module.attrs.iter().any(is_cfg_test) => {
                let content = module.content.as_ref();
                types(content.map_or(&[], |(_, items)| items), names);
            }
            _ => {}
        }
    }
}

/// Returns whether a file is the body of a test module.
fn is_test_file(file: &RustFile) -> bool {
    file.path.ends_with("/tests.rs") || file.path.contains("/tests/")
}

fn is_cfg_test(attribute: &Attribute) -> bool {
    let Meta::List(list) = &attribute.meta else { return false };
    list.path.is_ident("cfg") && list.tokens.to_string() == "test"
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIB: &str = "crates/gesta-sim/src/lib.rs";
    const DISK: &str = "crates/gesta-sim/src/disk.rs";

    fn findings(texts: &[(&str, &str)]) -> Vec<String> {
        check(&Workspace::of(texts)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_type_name_defined_twice_in_a_crate_is_found_with_both_places() {
        let found =
            findings(&[(LIB, "struct Group;\n"), (DISK, "\nmod inner {\n    enum Group {}\n}\n")]);
        assert_eq!(found, [format!("{DISK}:3: Group is also defined in {LIB}:1: rename one")]);
    }

    #[test]
    fn every_kind_of_type_counts() {
        for kind in ["struct A;", "enum A {}", "trait A {}", "union A { one: u8 }", "type A = u8;"]
        {
            assert_eq!(findings(&[(LIB, kind), (DISK, "struct A;")]).len(), 1, "{kind}");
        }
    }

    #[test]
    fn tests_and_other_crates_may_repeat_a_name() {
        let in_tests = "#[cfg(test)]\nmod tests {\n    struct Group;\n}\n";
        let other = "crates/another/src/lib.rs";
        let test_file = "crates/gesta-sim/src/disk/tests.rs";
        let group = "struct Group;\n";
        assert_eq!(findings(&[(LIB, group), (DISK, in_tests)]), [""; 0]);
        assert_eq!(findings(&[(LIB, group), (other, group), (test_file, group)]), [""; 0]);
    }
}

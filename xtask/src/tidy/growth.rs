//! Public types of published crates that may grow are `#[non_exhaustive]`.
//!
//! Owns: the list of types that are complete by design, each with its reason. A type that other
//! crates may make from its fields or match by its variants cannot get another one without breaking
//! them. Not here: variants with fields of their own.

use syn::{Attribute, Meta};

use crate::{
    tidy::{
        Finding,
        types::{Openness, PublicType, public_names, public_types},
    },
    workspace::{Package, RustFile, Workspace},
};

/// Crates that users depend on.
const CRATES: [&str; 20] = [
    "gesta-store",
    "gesta-log",
    "gesta-sqlite",
    "gesta-postgres",
    "gesta-dynamodb",
    "gesta-kafka",
    "gesta-kurrentdb",
    "gesta-mongodb",
    "gesta-search",
    "gesta-redis",
    "gesta",
    "gesta-graphql",
    "gesta-http",
    "gesta-console",
    "gesta-scripts",
    "gesta-server",
    "gesta-settings",
    "gesta-telemetry",
    "gesta-tls",
    "gesta-tokens",
];

/// A type that will not grow, and the reason.
struct Complete {
    of: &'static str,
    name: &'static str,
    reason: &'static str,
}

const fn complete(of: &'static str, name: &'static str, reason: &'static str) -> Complete {
    Complete { of, name, reason }
}

const COMPLETE: &[Complete] = &[
    complete("gesta-store", "AppendCondition", "a store that overlooks a part of it is wrong"),
    complete("gesta-store", "LeaseRecord", "a store of leases keeps each field"),
    complete("gesta-store", "PositionRange", "arithmetic: a place, its image and a length"),
    complete("gesta-store", "Head", "a position and its incarnation"),
    complete("gesta-store", "Checkpoint", "a position and its incarnation"),
    complete("gesta-store", "ClauseOutcome", "an adapter's test decides on each"),
    complete("gesta-store", "ExpectedRevision", "a store decides on each"),
    complete("gesta-store", "Direction", "there are two"),
    complete("gesta-store", "RecordedWhen", "there are two"),
    complete("gesta-store", "ReadModelId", "an identity"),
    complete("gesta-store", "CacheScope", "an identity"),
    complete("gesta-store", "CachedAnswer", "a position and bytes"),
    complete("gesta-store", "Stage", "a store of read models decides on each"),
    complete("gesta-store", "Advance", "a compare-and-set: from and to"),
    complete("gesta-store", "DeadLetter", "a store of read models keeps each field"),
    complete("gesta-store", "DeadLetterReason", "a store of read models keeps each"),
    complete("gesta-store", "Row", "a key and a value"),
    complete("gesta-store", "StreamState", "the life of a stream, as the contract has it"),
    complete("gesta-store", "Visibility", "a store decides on each"),
    complete("gesta-scripts", "Selection", "a runner decides on each"),
    complete("gesta-scripts", "Partitions", "a runner decides on each"),
    complete("gesta-scripts", "ScriptEvent", "the fields that the language has"),
    complete("gesta-scripts", "StreamDeletion", "the fields that the language has"),
    complete("gesta-log", "EnginePoll", "whoever drives the engine decides on each"),
    complete("gesta-log", "Operation", "a disk carries out each"),
    complete("gesta-log", "Lane", "a disk decides on each"),
    complete("gesta-log", "Cache", "a disk decides on each"),
    complete("gesta-store", "Scavenged", "a copy keeps each field"),
    complete("gesta", "DeadLetterId", "an identity"),
    complete("gesta", "EffectId", "an identity"),
    complete("gesta", "Existence", "existence, and its absence"),
    complete("gesta", "BoundaryRead", "a stream and a query"),
    complete("gesta", "Reads", "the own stream or a selection"),
    complete("gesta", "Input", "a process decides on each"),
    complete("gesta-graphql", "Introspection", "on or off"),
    complete("gesta-http", "JsonBody", "taken apart in the arguments of a handler"),
    complete("gesta-http", "OptionalJsonBody", "taken apart in the arguments of a handler"),
    complete("gesta-http", "PathOf", "taken apart in the arguments of a handler"),
    complete("gesta-http", "QueryOf", "taken apart in the arguments of a handler"),
    complete("gesta-http", "Time", "one value"),
    complete("gesta-http", "Moment", "one value"),
    complete("gesta-http", "ObjectOnly", "one value"),
];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let packages =
        workspace.packages.iter().filter(|package| CRATES.contains(&package.name.as_str()));
    packages.flat_map(|package| check_package(workspace, package, COMPLETE)).collect()
}

fn check_package(workspace: &Workspace, package: &Package, complete: &[Complete]) -> Vec<Finding> {
    let files: Vec<&RustFile> = workspace.sources_of(package).collect();
    let public = public_names(&files, package);
    let mut complete: Vec<_> = complete.iter().filter(|each| each.of == package.name).collect();
    let mut findings = Vec::new();
    for file in files {
        for PublicType { name, attributes, openness } in public_types(&file.syntax.items) {
            let may_break = openness != Openness::Closed && !is_non_exhaustive(attributes);
            if !may_break || !public.contains(&name) {
                continue;
            }
            // Each entry is used once; unused ones are reported below.
            match complete.iter().position(|each| each.name == name) {
                Some(index) => drop(complete.swap_remove(index)),
                None => {
                    let what = format!(
                        "{name} is not #[non_exhaustive], so it cannot grow; add the attribute and \
                         a way to make it, or list it as complete with the reason"
                    );
                    findings.push(Finding::new(&file.path, what));
                }
            }
        }
    }
    findings.extend(complete.into_iter().map(|Complete { name, reason, .. }| {
        Finding::new(&package.folder, format!("{name} ({reason}) is not open: remove its entry"))
    }));
    findings
}

fn is_non_exhaustive(attributes: &[Attribute]) -> bool {
    attributes.iter().any(
        |attribute| matches!(&attribute.meta, Meta::Path(path) if path.is_ident("non_exhaustive")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "crates/gesta/src/lib.rs";

    fn findings(root: &str, complete: &[Complete]) -> usize {
        let workspace = Workspace::of(&[(ROOT, root)]);
        check_package(&workspace, workspace.packages.first().unwrap(), complete).len()
    }

    #[test]
    fn an_open_type_is_found_unless_it_may_grow() {
        for open in ["pub enum Order { New }", "pub struct Order { pub id: u8 }"] {
            assert_eq!(findings(open, &[]), 1, "{open}");
            assert_eq!(findings(&format!("#[non_exhaustive] {open}"), &[]), 0, "{open}");
            assert_eq!(findings(&format!("mod order {{ {open} }}"), &[]), 0, "{open}");
        }
        assert_eq!(findings("pub struct Order { id: u8 } pub struct Id(u8);", &[]), 0);
    }

    #[test]
    fn a_complete_type_is_listed_while_it_is_open() {
        let list = [complete("gesta", "Order", "two sides")];
        assert_eq!(findings("pub enum Order { New }", &list), 0);
        assert_eq!(findings("#[non_exhaustive] pub enum Order { New }", &list), 1);
        assert_eq!(findings("", &list), 1);
    }
}

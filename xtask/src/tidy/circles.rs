//! Modules of a crate use each other in one direction, and the folders of the engine are layers.
//!
//! Not here: the direction between crates ([`arrows`](super::arrows)).

use crate::{
    tidy::{Finding, modules::ModuleGraph},
    workspace::{Package, Workspace},
};

/// Crates without a circle of modules. Add a crate once it passes; the list never shrinks.
#[rustfmt::skip]
const WITHOUT_CIRCLES: &[&str] = &[
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
    "gesta-scripts",
    "gesta-server",
    "gesta-settings",
    "gesta-sim",
    "gesta-postgres",
    "gesta-sqlite",
    "gesta-store",
    "gesta-telemetry",
    "gesta-tls",
    "gesta-tokens",
    "shop",
    "xtask",
];

/// The layers of a crate's top-level modules, lowest first. A module uses only modules before it.
const LAYERS: &[(&str, &[&str])] = &[
    (
        "gesta-log",
        &[
            "mutations",
            "sync",
            "clock",
            "format",
            "disk",
            "options",
            "segment",
            "index",
            "recovery",
            "published",
            "read",
            "commit",
            "maintenance",
            "store",
        ],
    ),
    (
        "gesta",
        &[
            "panics",
            "error_line",
            "clock",
            "calendar",
            "backoff",
            "log_hint",
            "command_id",
            "tenant_id",
            "rejection",
            "receipt",
            "type_shape",
            "json",
            "event",
            "digest",
            "payload",
            "metadata",
            "recorded",
            "spans",
            "audit",
            "tenancy",
            "derive",
            "domain",
            "event_names",
            "following",
            "leased_task",
            "nodes",
            "role",
            "cache",
            "read",
            "error",
            "snapshot",
            "loaded",
            "metrics",
            "pipeline",
            "projection",
            "open",
            "process",
            "reactor",
            "internal",
            "application",
            "testing",
        ],
    ),
    (
        "gesta-http",
        &[
            "wire", "access", "counters", "state", "requests", "sockets", "commands", "queries",
            "history", "routing", "built_in", "rules", "api", "tenants", "serve",
        ],
    ),
    (
        "gesta-graphql",
        &[
            "names",
            "operations",
            "types",
            "values",
            "failure",
            "caller",
            "fields",
            "links",
            "loader",
            "feed",
            "live",
            "schema",
            "cost",
            "order",
            "edge",
            "socket",
            "page",
            "graphql",
        ],
    ),
    (
        "gesta-server",
        &[
            "proto",
            "wire",
            "clock",
            "incoming",
            "outgoing",
            "large_work",
            "recent_events",
            "access",
            "scavenges",
            "upkeep",
            "spans",
            "call_log",
            "address",
            "labels",
            "node",
            "tenure",
            "members",
            "streams",
            "groups",
            "projections",
            "users",
            "operations",
            "appends",
            "discovery",
            "http",
            "monitoring",
            "native",
            "console",
            "serve",
            "admin",
        ],
    ),
];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &workspace.packages {
        let layers = LAYERS.iter().find(|(name, _)| *name == package.name);
        let listed = WITHOUT_CIRCLES.contains(&package.name.as_str());
        if !listed && layers.is_none() {
            continue;
        }
        let graph = ModuleGraph::of(workspace, package);
        let circles = if listed { graph.circles() } else { Vec::new() };
        for circle in circles {
            let names: Vec<_> = circle.iter().map(|path| named(path)).collect();
            let what = format!("circle of modules: {}", names.join(", "));
            findings.push(Finding::new(&package.folder, what));
        }
        if let Some((_, layers)) = layers {
            findings.extend(arrows_up(package, &graph, layers));
        }
    }
    findings
}

fn arrows_up(package: &Package, graph: &ModuleGraph, layers: &[&str]) -> Vec<Finding> {
    let layer = |path: &[String]| {
        let top = path.first()?;
        layers.iter().position(|layer| layer == top)
    };
    let mut findings = Vec::new();
    for (module, used) in &graph.uses {
        if !module.is_empty() && layer(module).is_none() {
            let what = format!("{} has no place in the table of layers", named(module));
            findings.push(Finding::new(&package.folder, what));
        }
        for other in used {
            if layer(module).zip(layer(other)).is_some_and(|(from, to)| to > from) {
                let what = format!("{} uses {}, which is above it", named(module), named(other));
                findings.push(Finding::new(&package.folder, what));
            }
        }
    }
    findings
}

fn named(path: &[String]) -> String {
    if path.is_empty() { "the crate root".to_owned() } else { path.join("::") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIB: &str = "crates/gesta-macros/src/lib.rs";
    const READ: &str = "crates/gesta-macros/src/read/mod.rs";
    const SCAN: &str = "crates/gesta-macros/src/read/scan.rs";
    const FETCH: &str = "crates/gesta-macros/src/read/fetch.rs";
    const LOG: &str = "crates/gesta-log/src/lib.rs";
    const LOG_DISK: &str = "crates/gesta-log/src/disk.rs";
    const LOG_READ: &str = "crates/gesta-log/src/read/mod.rs";

    fn findings(texts: &[(&str, &str)]) -> Vec<String> {
        let found = check(&Workspace::of(texts));
        found.iter().map(|finding| finding.what.clone()).collect()
    }

    #[test]
    fn two_modules_that_use_each_other_are_found() {
        let found = findings(&[
            (LIB, "mod read;"),
            (READ, "mod fetch;\nmod scan;\n"),
            (FETCH, "use super::scan::Scan;\nstruct Fetch;\n"),
            (SCAN, "struct Scan;\nfn read() { super::fetch::Fetch; }\n"),
        ]);
        assert_eq!(found, ["circle of modules: read::fetch, read::scan"]);
    }

    #[test]
    fn a_circle_through_a_facade_is_found_and_the_facade_itself_is_none() {
        let facade = "mod fetch;\nmod scan;\npub(crate) use scan::Scan;\n";
        let fetch = "use crate::read::Scan;\nstruct Fetch;\n";
        let alone = [(LIB, "mod read;"), (READ, facade), (FETCH, fetch), (SCAN, "struct Scan;")];
        assert_eq!(findings(&alone), [""; 0]);
        let both = [alone[0], alone[1], alone[2], (SCAN, "use super::fetch::Fetch;\nstruct Scan;")];
        assert_eq!(findings(&both), ["circle of modules: read::fetch, read::scan"]);
    }

    #[test]
    fn a_child_that_uses_an_item_of_its_parent_which_uses_the_child_is_a_circle() {
        let parent = "mod scan;\nuse scan::Scan;\npub(crate) struct Reader(Scan);\n";
        let child = "use super::Reader;\npub(crate) struct Scan;\n";
        let found = findings(&[(LIB, "mod read;"), (READ, parent), (SCAN, child)]);
        assert_eq!(found, ["circle of modules: read, read::scan"]);
    }

    #[test]
    fn a_lower_layer_that_uses_a_higher_one_is_found() {
        let found = findings(&[
            (LOG, "mod disk;\nmod read;"),
            (LOG_DISK, "use crate::read::Reader;"),
            (LOG_READ, "struct Reader;"),
        ]);
        assert_eq!(found, ["disk uses read, which is above it"]);
        let down =
            [(LOG, "mod disk;"), (LOG_DISK, "struct Disk;"), (LOG_READ, "use crate::disk::Disk;")];
        assert_eq!(findings(&down), [""; 0]);
    }

    #[test]
    fn a_module_without_a_layer_is_found() {
        let found = findings(&[("crates/gesta-log/src/other.rs", "struct Other;")]);
        assert_eq!(found, ["other has no place in the table of layers"]);
    }

    #[test]
    fn modules_of_tests_may_use_anything() {
        let found = findings(&[
            (LIB, "mod read;"),
            (READ, "#[cfg(test)]\nmod fetch;\nmod scan;"),
            (FETCH, "use super::scan::Scan;\nstruct Fetch;"),
            (SCAN, "struct Scan;\n#[cfg(test)]\nmod tests { use crate::read::fetch::Fetch; }"),
        ]);
        assert_eq!(found, [""; 0]);
    }
}

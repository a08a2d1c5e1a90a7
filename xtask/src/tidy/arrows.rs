//! Allowed dependencies between crates, and on crates of others.
//!
//! Owns: the two tables. A new dependency changes a table in the same commit, which gives the
//! reason. Dependencies of tests and examples are free.

use crate::{
    tidy::Finding,
    workspace::{Package, Workspace},
};

/// Each crate with the crates of the workspace that it may depend on.
const ARROWS: [(&str, &[&str]); 27] = [
    ("gesta-store", &[]),
    ("gesta-macros", &[]),
    // Pure: signatures, for whatever takes tokens.
    ("gesta-tokens", &[]),
    // Certificates of listeners, for whatever listens.
    ("gesta-tls", &[]),
    // The context of spans, for libraries; behind a feature, the export of spans, for programs.
    ("gesta-telemetry", &[]),
    // Unpublished: `cargo xtask services` and tests start real servers by it.
    ("gesta-services", &[]),
    ("xtask", &["gesta-services"]),
    ("gesta-log", &["gesta-store"]),
    ("gesta-sqlite", &["gesta-store"]),
    ("gesta-postgres", &["gesta-store"]),
    ("gesta-dynamodb", &["gesta-store"]),
    ("gesta-kurrentdb", &["gesta-store"]),
    ("gesta-kafka", &["gesta-store"]),
    ("gesta-mongodb", &["gesta-store"]),
    ("gesta-redis", &["gesta-store"]),
    ("gesta-search", &["gesta-store"]),
    // Adapters and the engine are behind features, for `gesta::open` only.
    (
        "gesta",
        &[
            "gesta-store",
            "gesta-macros",
            "gesta-telemetry",
            "gesta-log",
            "gesta-sqlite",
            "gesta-postgres",
            "gesta-kurrentdb",
            "gesta-dynamodb",
            "gesta-kafka",
            "gesta-mongodb",
            "gesta-redis",
            "gesta-search",
        ],
    ),
    // Its derives for requests and responses, and the console's files.
    ("gesta-http", &["gesta", "gesta-macros", "gesta-tokens", "gesta-tls", "gesta-console"]),
    // Settings of programs: it takes the rule of passwords in URLs from the contract.
    ("gesta-settings", &["gesta-store"]),
    // Its schema is made from the route table, and its fields are answered by the routes.
    ("gesta-graphql", &["gesta", "gesta-http"]),
    // Programs open the store that it serves.
    // Pure: the engine of the scripts, which is a heavy dependency.
    ("gesta-scripts", &[]),
    // Files for browsers, apart from the server so that their tests need none.
    ("gesta-console", &[]),
    ("gesta-server", &["gesta-store", "gesta-scripts", "gesta-console", "gesta-tls"]),
    ("gesta-sim", &["gesta-store", "gesta-log"]),
    // Unpublished: nothing may depend on it, except tests and `bench/`.
    ("gesta-bench", &["gesta", "gesta-store", "gesta-log"]),
    (
        "gesta-cli",
        &[
            "gesta-store",
            "gesta-server",
            "gesta-settings",
            "gesta-telemetry",
            "gesta-log",
            "gesta-sqlite",
            "gesta-postgres",
            "gesta-kurrentdb",
            "gesta-dynamodb",
            "gesta-kafka",
            "gesta-redis",
            "gesta-search",
        ],
    ),
    (
        "shop",
        &[
            "gesta",
            "gesta-http",
            "gesta-graphql",
            "gesta-settings",
            "gesta-telemetry",
            "gesta-tokens",
        ],
    ),
];

/// External dependencies of the contract; every implementer pays for them.
const CONTRACT: (&str, &[&str]) =
    ("gesta-store", &["bytes", "uuid", "futures-core", "thiserror", "serde_json", "fancy-regex"]);

/// External crates restricted to some crates of the workspace.
struct Reserved {
    of_others: &'static [&'static str],
    to: &'static [&'static str],
    why: &'static str,
}

const RESERVED: [Reserved; 4] = [
    Reserved {
        of_others: &["rquickjs", "boa_engine"],
        to: &["gesta-scripts"],
        why: "only the scripts know their engine",
    },
    Reserved {
        of_others: &["tonic", "tonic-prost", "tonic-prost-build", "prost", "prost-types", "protox"],
        to: &["gesta-server", "gesta-kurrentdb"],
        why: "only the server and its client know protobuf",
    },
    Reserved {
        of_others: &["axum", "hyper", "tower-http", "utoipa"],
        to: &[
            "gesta-http",
            "gesta-graphql",
            "gesta-server",
            "gesta-kurrentdb",
            "gesta-search",
            "shop",
        ],
        why: "only edges know HTTP",
    },
    Reserved {
        of_others: &["rusqlite", "sqlx", "tokio-postgres", "redb", "rocksdb", "sled", "fjall"],
        to: &["gesta-sqlite", "gesta-postgres"],
        why: "only an adapter knows its database",
    },
];

/// Crates that must not need an async runtime.
const WITHOUT_RUNTIME: [&str; 5] =
    ["gesta-log", "gesta-sim", "gesta-macros", "gesta-scripts", "gesta-console"];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let ours: Vec<&str> = workspace.packages.iter().map(|package| package.name.as_str()).collect();
    workspace.packages.iter().flat_map(|package| check_package(package, &ours)).collect()
}

fn check_package(package: &Package, ours: &[&str]) -> Vec<Finding> {
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package.name) else {
        return vec![Finding::new(
            &package.folder,
            "is missing in the table of allowed dependencies",
        )];
    };
    // Dependencies of tests are free.
    let needed = package.dependencies.iter().filter(|dependency| !dependency.is_for_tests);
    let refused = needed.filter_map(|dependency| {
        let name = dependency.name.as_str();
        let why = match ours.contains(&name) {
            true if allowed.contains(&name) => return None,
            true => "the table of allowed dependencies does not list it".to_owned(),
            // External crates have rules of their own.
            false => refusal_of_other(&package.name, name)?,
        };
        Some(Finding::new(&package.folder, format!("depends on {name}: {why}")))
    });
    refused.collect()
}

fn refusal_of_other(package: &str, other: &str) -> Option<String> {
    let (contract, enough) = CONTRACT;
    if package == contract && !enough.contains(&other) {
        return Some(format!("the contract needs no more than {}", enough.join(", ")));
    }
    if WITHOUT_RUNTIME.contains(&package) && other == "tokio" {
        return Some("this crate needs no async runtime".to_owned());
    }
    let reserved = RESERVED.iter().find(|reserved| reserved.of_others.contains(&other))?;
    (!reserved.to.contains(&package)).then(|| reserved.why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(packages: Vec<Package>) -> Vec<String> {
        let workspace = Workspace { packages, ..Workspace::of(&[]) };
        check(&workspace).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_arrow_of_the_table_is_allowed() {
        let store = Package::named("gesta-store").needing("bytes");
        let log = Package::named("gesta-log").needing("gesta-store").needing("rustix");
        assert_eq!(findings(vec![store, log]), [""; 0]);
    }

    #[test]
    fn an_arrow_that_the_table_lacks_is_found() {
        let sqlite = Package::named("gesta-sqlite").needing("gesta-log");
        assert_eq!(
            findings(vec![sqlite, Package::named("gesta-log")]),
            [
                "crates/gesta-sqlite: depends on gesta-log: the table of allowed dependencies does not list it"
            ],
        );
    }

    #[test]
    fn a_crate_without_a_line_is_found() {
        assert_eq!(
            findings(vec![Package::named("gesta-extras")]),
            ["crates/gesta-extras: is missing in the table of allowed dependencies"],
        );
    }

    #[test]
    fn the_contract_takes_nothing_beyond_its_list() {
        assert_eq!(findings(vec![Package::named("gesta-store").needing("tokio")]).len(), 1);
        assert_eq!(findings(vec![Package::named("gesta-store").needing("serde")]).len(), 1);
    }

    #[test]
    fn runtimes_databases_and_http_stay_where_they_belong() {
        for (package, other) in [
            ("gesta-log", "tokio"),
            ("gesta-log", "rusqlite"),
            ("gesta", "axum"),
            ("gesta-http", "tonic"),
        ] {
            let found = findings(vec![Package::named(package).needing(other)]);
            assert_eq!(found.len(), 1, "{package} on {other}");
        }
    }

    #[test]
    fn tests_may_depend_on_anything() {
        let store = Package::named("gesta-store").tested_with("tokio").tested_with("gesta-log");
        assert_eq!(findings(vec![store, Package::named("gesta-log")]), [""; 0]);
    }
}

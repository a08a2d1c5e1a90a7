//! Public types that users construct or implement show an example with an assertion.
//!
//! Owns: the selection of these types: everything public at the root of the contract and the
//! framework, except errors (which users receive) and a list with reasons. Not here: running the
//! examples (rustdoc's tests).

use syn::{Attribute, Expr, Lit, Meta, Path, Token, punctuated::Punctuated};

use crate::{
    tidy::{
        Finding,
        types::{PublicType, public_names, public_types},
    },
    workspace::{Package, RustFile, Workspace},
};

/// Crates with a public API.
const CRATES: [&str; 2] = ["gesta-store", "gesta"];

/// A type without an example, and the reason.
struct Exempt {
    of: &'static str,
    name: &'static str,
    reason: &'static str,
}

const EXEMPT: &[Exempt] = &[
    Exempt { of: "gesta-store", name: "Durability", reason: "received, in `Capabilities`" },
    Exempt { of: "gesta-store", name: "AppendLookup", reason: "received, in `Capabilities`" },
    Exempt { of: "gesta-store", name: "StreamState", reason: "received, in `StreamDescription`" },
    Exempt { of: "gesta-store", name: "Page", reason: "received, from `Pages`" },
    Exempt { of: "gesta-store", name: "Delivery", reason: "received, from `Subscription`" },
    Exempt { of: "gesta-store", name: "StoreFuture", reason: "an alias for a boxed future" },
    Exempt { of: "gesta", name: "CommandMetrics", reason: "received, in `Metrics`" },
    Exempt { of: "gesta", name: "ComponentLag", reason: "received, in `RunningMetrics`" },
    Exempt { of: "gesta", name: "ComponentMetrics", reason: "received, in `Metrics`" },
    Exempt { of: "gesta", name: "DueTimer", reason: "received, from `Gesta::process_timers`" },
    Exempt {
        of: "gesta",
        name: "OutstandingCommand",
        reason: "received, from `Gesta::process_commands`",
    },
    Exempt {
        of: "gesta",
        name: "Rehearsal",
        reason: "received, from `Gesta::rehearse_dead_letter`",
    },
    Exempt { of: "gesta", name: "HealthCause", reason: "received, in `Health`" },
    Exempt { of: "gesta", name: "InstanceCommand", reason: "received, in `InstanceDetails`" },
    Exempt {
        of: "gesta",
        name: "InstanceCounts",
        reason: "received, from `Gesta::process_counts`",
    },
    Exempt {
        of: "gesta",
        name: "InstanceDetails",
        reason: "received, from `Gesta::process_instance`",
    },
    Exempt {
        of: "gesta",
        name: "InstancePage",
        reason: "received, from `Gesta::process_instances`",
    },
    Exempt { of: "gesta", name: "InstanceSummary", reason: "received, in `InstancePage`" },
    Exempt { of: "gesta", name: "InstanceTimer", reason: "received, in `InstanceDetails`" },
    Exempt { of: "gesta", name: "Latencies", reason: "received, from `LatencyHistogram`" },
    Exempt { of: "gesta", name: "Loaded", reason: "received, from `Gesta::load`" },
    Exempt {
        of: "gesta",
        name: "NotUnderstoodInstance",
        reason: "received, from `stored_processes`",
    },
    Exempt { of: "gesta", name: "OldRows", reason: "received, in `ProjectionStatus`" },
    Exempt { of: "gesta", name: "OnReadRow", reason: "received, from `Gesta::read_on_demand`" },
    Exempt { of: "gesta", name: "PartitionStatus", reason: "received, in `ProjectionStatus`" },
    Exempt { of: "gesta", name: "PendingSwitch", reason: "received, in `ProjectionState`" },
    Exempt { of: "gesta", name: "ProcessMetrics", reason: "received, in `RunningMetrics`" },
    Exempt { of: "gesta", name: "ProcessStatus", reason: "received, from `Gesta::processes`" },
    Exempt { of: "gesta", name: "ProjectionStatus", reason: "received, from `Gesta::projections`" },
    Exempt {
        of: "gesta",
        name: "QueryCacheCounts",
        reason: "received, from `Gesta::query_cache_counts`",
    },
    Exempt { of: "gesta", name: "RebuildProgress", reason: "received, in `ProjectionState`" },
    Exempt { of: "gesta", name: "Receipt", reason: "received, from `Gesta::execute`" },
    Exempt { of: "gesta", name: "RefusedCommand", reason: "received, in `InstanceDetails`" },
    Exempt { of: "gesta", name: "RunningMetrics", reason: "received, in `ComponentMetrics`" },
    Exempt { of: "gesta", name: "SetAside", reason: "received, from `Gesta::process_set_aside`" },
    Exempt { of: "gesta", name: "SetAsideInput", reason: "received, in `SetAside`" },
    Exempt { of: "gesta", name: "StoreMetrics", reason: "received, in `Metrics`" },
];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let packages =
        workspace.packages.iter().filter(|package| CRATES.contains(&package.name.as_str()));
    packages.flat_map(|package| check_package(workspace, package, EXEMPT)).collect()
}

fn check_package(workspace: &Workspace, package: &Package, exempt: &[Exempt]) -> Vec<Finding> {
    let files: Vec<&RustFile> = workspace.sources_of(package).collect();
    let public = public_names(&files, package);
    let mut exempt: Vec<_> = exempt.iter().filter(|each| each.of == package.name).collect();
    let mut findings = Vec::new();
    for file in files {
        for PublicType { name, attributes, .. } in public_types(&file.syntax.items) {
            if !public.contains(&name) || is_error(attributes) || shows_assertion(attributes) {
                continue;
            }
            let exempted = exempt.iter().position(|each| each.name == name);
            // Each exemption is used once; unused ones are reported below.
            match exempted {
                Some(index) => drop(exempt.swap_remove(index)),
                None => {
                    let what = format!("{name} shows no example that asserts a result");
                    findings.push(Finding::new(&file.path, what));
                }
            }
        }
    }
    findings.extend(exempt.into_iter().map(|Exempt { name, reason, .. }| {
        Finding::new(&package.folder, format!("{name} ({reason}) needs no exemption: remove it"))
    }));
    findings
}

/// Returns whether the type derives `Error`.
fn is_error(attributes: &[Attribute]) -> bool {
    let derives = attributes.iter().filter(|attribute| attribute.path().is_ident("derive"));
    let mut derived = derives.filter_map(|attribute| {
        attribute.parse_args_with(Punctuated::<Path, Token![,]>::parse_terminated).ok()
    });
    let is_error = |path: &Path| path.segments.last().is_some_and(|last| last.ident == "Error");
    derived.any(|paths| paths.iter().any(is_error))
}

/// Returns whether the doc comment has a compiled code block with an assertion.
fn shows_assertion(attributes: &[Attribute]) -> bool {
    let documentation: Vec<String> = attributes.iter().filter_map(doc_line).collect();
    let documentation = documentation.join("\n");
    let blocks = documentation.split("```").skip(1).step_by(2);
    blocks.into_iter().any(|block| {
        let (language, code) = block.split_once('\n').unwrap_or((block, ""));
        // Only blocks that rustdoc compiles and runs count.
        let runs = !["text", "ignore", "no_run", "json"].contains(&language.trim());
        runs && code.contains("assert")
    })
}

fn doc_line(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(meta) = &attribute.meta else { return None };
    let Expr::Lit(value) = &meta.value else { return None };
    match &value.lit {
        Lit::Str(text) if meta.path.is_ident("doc") => Some(text.value()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "crates/gesta/src/lib.rs";
    const MODULE: &str = "crates/gesta/src/order.rs";
    const SHOWN: &str = "/// An order.\n///\n/// ```\n/// assert_eq!(1, 1);\n/// ```\n";

    fn findings(root: &str, module: &str) -> Vec<String> {
        findings_but(root, module, &[])
    }

    fn findings_but(root: &str, module: &str, exempt: &[Exempt]) -> Vec<String> {
        let workspace = Workspace::of(&[(ROOT, root), (MODULE, module)]);
        let package = workspace.packages.first().unwrap();
        check_package(&workspace, package, exempt).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_type_with_an_asserting_example_is_in_order() {
        let module = format!("{SHOWN}pub struct Order;");
        assert_eq!(findings("mod order; pub use order::Order;", &module), [""; 0]);
    }

    #[test]
    fn a_type_without_one_is_found_however_it_is_made_public() {
        for root in [
            "mod order; pub use order::Order;",
            "mod order; pub use crate::order::{Order};",
            "mod order; pub use order::Order as Purchase;",
            "mod order; pub use order::*;",
            "pub mod order;",
        ] {
            assert_eq!(
                findings(root, "pub enum Order {}"),
                [format!("{MODULE}: Order shows no example that asserts a result")],
                "{root}",
            );
        }
        assert_eq!(findings("pub trait Order {}", "").len(), 1);
    }

    #[test]
    fn an_example_that_does_not_run_or_assert_does_not_count() {
        for example in ["```\nlet order = 1;\n```", "```text\nassert\n```", "assert!(true)"] {
            let comment: String = example.lines().map(|line| format!("/// {line}\n")).collect();
            let module = format!("{comment}pub struct Order;");
            assert_eq!(findings("pub mod order;", &module).len(), 1, "{example}");
        }
    }

    #[test]
    fn an_error_is_received_and_needs_none() {
        let error = "#[derive(Clone, thiserror::Error)] pub enum Refused {}";
        assert_eq!(findings("pub mod order;", error), [""; 0]);
        assert_eq!(findings("pub mod order;", "#[derive(Clone)] pub enum Error {}").len(), 1);
    }

    #[test]
    fn what_the_root_keeps_to_itself_is_free() {
        assert_eq!(findings("mod order;", "pub struct Order;"), [""; 0]);
    }

    #[test]
    fn an_exemption_holds_only_while_it_is_needed() {
        let exempt = [Exempt { of: "gesta", name: "Order", reason: "received" }];
        assert_eq!(findings_but("pub mod order;", "pub struct Order;", &exempt), [""; 0]);
        let needless = ["crates/gesta: Order (received) needs no exemption: remove it"];
        assert_eq!(findings_but("pub mod order;", "", &exempt), needless);
        let shown = format!("{SHOWN}pub struct Order;");
        assert_eq!(findings_but("pub mod order;", &shown, &exempt), needless);
    }
}

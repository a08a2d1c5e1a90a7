//! A published crate has what a registry shows: metadata, licence files, and a README of its own.
//!
//! Owns: what belongs to a README. Its example is compiled by a library, and run by a test of a
//! program; a table lists each feature; links lead somewhere outside of the checkout, too. Not
//! here: `cargo package` (`cargo xtask lint`), running the examples (rustdoc's tests).

use crate::{
    tidy::Finding,
    workspace::{LICENCES, Package, Publication, Workspace},
};

/// Categories of crates.io that crates here are in. A registry leaves out unknown ones silently.
const CATEGORIES: [&str; 14] = [
    "asynchronous",
    "authentication",
    "caching",
    "command-line-utilities",
    "database",
    "database-implementations",
    "development-tools::procedural-macro-helpers",
    "emulators",
    "network-programming",
    "rust-patterns",
    "text-processing",
    "web-programming",
    "web-programming::http-server",
    "web-programming::websocket",
];
/// Limits of crates.io.
const KEYWORDS_MAX: usize = 5;
const KEYWORD_BYTES_MAX: usize = 20;
const README: &str = "README.md";

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &workspace.packages {
        let Some(publication) = &package.publication else { continue };
        let manifest = format!("{}/Cargo.toml", package.folder);
        let of_manifest = of_manifest(publication).into_iter();
        findings.extend(of_manifest.map(|what| Finding::new(&manifest, what)));
        let readme = format!("{}/{README}", package.folder);
        let of_readme = match text_of(workspace, &readme) {
            Some(text) => of_readme(workspace, package, publication, text),
            None => vec!["is not there".to_owned()],
        };
        findings.extend(of_readme.into_iter().map(|what| Finding::new(&readme, what)));
    }
    findings.extend(of_root(workspace));
    findings
}

fn of_manifest(publication: &Publication) -> Vec<String> {
    let Publication { keywords, categories, .. } = publication;
    let mut missing = Vec::new();
    for (name, value) in [
        ("description", &publication.description),
        ("license", &publication.licence),
        ("repository", &publication.repository),
        ("documentation", &publication.documentation),
        ("rust-version", &publication.rust_version),
    ] {
        if value.is_empty() {
            missing.push(format!("has no {name}"));
        }
    }
    if publication.readme != README {
        missing.push(format!("its readme is {:?}, and not its own {README}", publication.readme));
    }
    if !publication.has_docs_rs {
        missing.push("has no [package.metadata.docs.rs]".to_owned());
    }
    for (name, count) in [("keywords", keywords.len()), ("categories", categories.len())] {
        if !(1..=KEYWORDS_MAX).contains(&count) {
            missing.push(format!("has {count} {name}; 1 to {KEYWORDS_MAX} are expected"));
        }
    }
    let wrong = keywords.iter().filter(|keyword| !is_keyword(keyword));
    missing.extend(wrong.map(|keyword| format!("{keyword:?} is no keyword")));
    let unknown = categories.iter().filter(|category| !CATEGORIES.contains(&category.as_str()));
    missing.extend(unknown.map(|category| format!("the category {category:?} is not listed here")));
    let files =
        LICENCES.iter().filter(|name| !publication.licence_files.contains(&(**name).into()));
    missing.extend(files.map(|name| format!("has no {name} like that of the root beside it")));
    missing
}

fn is_keyword(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_+".contains(&byte);
    let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    begins && text.len() <= KEYWORD_BYTES_MAX && text.bytes().all(is_allowed)
}

fn of_readme(
    workspace: &Workspace,
    package: &Package,
    publication: &Publication,
    text: &str,
) -> Vec<String> {
    let mut wrong = Vec::new();
    if !text.starts_with(&format!("# {}\n", package.name)) {
        wrong.push("does not begin with the crate's name".to_owned());
    }
    let version = format!("Rust {} or newer", publication.rust_version);
    if !text.contains(&version) {
        wrong.push(format!("does not say {version:?}"));
    }
    if !has_checked_example(workspace, package, text) {
        wrong.push("has no example that is checked".to_owned());
    }
    let listed: Vec<&str> = listed_features(text).collect();
    let missing = publication.features.iter().filter(|name| !listed.contains(&name.as_str()));
    wrong.extend(missing.map(|name| format!("its table lacks the feature {name}")));
    let unknown = listed.iter().filter(|name| !publication.features.contains(&(**name).into()));
    wrong.extend(unknown.map(|name| format!("its table has {name}, which is no feature")));
    let local =
        links(text).filter(|link| !link.starts_with("https://") && !LICENCES.contains(link));
    wrong.extend(local.map(|link| format!("{link} leads nowhere in a registry")));
    wrong
}

/// Returns whether the README has an example that rustdoc compiles, or that a program's test runs.
fn has_checked_example(workspace: &Workspace, package: &Package, text: &str) -> bool {
    let folder = &package.folder;
    if package.is_library {
        let root = text_of(workspace, &format!("{folder}/src/lib.rs")).unwrap_or_default();
        let included = "#[doc = include_str!(\"../README.md\")]";
        return text.contains("```rust")
            && !text.contains("```rust,ignore")
            && root.contains(included);
    }
    let mut tests = workspace.texts.iter().filter(|each| {
        each.path.starts_with(&format!("{folder}/tests/")) && each.path.ends_with(".rs")
    });
    text.contains("```sh") && tests.any(|test| test.text.contains("/README.md\")"))
}

/// Names of features in the first column of the table.
fn listed_features(text: &str) -> impl Iterator<Item = &str> {
    let table = text.split_once("\n| feature | default | brings |\n").map_or("", |(_, rest)| rest);
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| row.strip_prefix("| `")?.split_once("` |")).map(|(name, _)| name)
}

fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link)
}

/// The README of the project has the Rust version of its crates.
fn of_root(workspace: &Workspace) -> Option<Finding> {
    let mut published = workspace.packages.iter().filter_map(|each| each.publication.as_ref());
    let version = format!("{} or newer", published.next()?.rust_version);
    let says = text_of(workspace, README).is_some_and(|text| text.contains(&version));
    (!says).then(|| Finding::new(README, format!("does not say \"Rust … {version}\"")))
}

fn text_of<'a>(workspace: &'a Workspace, path: &str) -> Option<&'a str> {
    workspace.texts.iter().find(|text| text.path == path).map(|text| text.text.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# gesta-one\n\nOne ([guide](https://example.org)).\n\n```rust\nfn main() {}\n\
        ```\n\n| feature | default | brings |\n| --- | --- | --- |\n| `tls` | no | encryption |\n\n\
        [MIT](LICENSE-MIT). Needs Rust 1.95 or newer.\n";
    const LIBRARY: &str = "//! One.\n#[cfg(doctest)]\n#[doc = include_str!(\"../README.md\")]\n\
        struct Readme;\n";
    const ROOT: &str = "# Gesta\n\nRust (1.95 or newer).\n";

    fn publication() -> Publication {
        Publication {
            description: "One".to_owned(),
            licence: "MIT".to_owned(),
            repository: "https://example.org".to_owned(),
            documentation: "https://docs.rs/gesta-one".to_owned(),
            rust_version: "1.95".to_owned(),
            readme: README.to_owned(),
            keywords: vec!["event-sourcing".to_owned()],
            categories: vec!["database".to_owned()],
            features: vec!["tls".to_owned()],
            has_docs_rs: true,
            licence_files: LICENCES.map(str::to_owned).to_vec(),
        }
    }

    fn findings(publication: Publication, readme: &str, library: &str) -> Vec<String> {
        let (one, lib) = ("crates/gesta-one/README.md", "crates/gesta-one/src/lib.rs");
        let mut workspace = Workspace::of(&[(README, ROOT), (one, readme), (lib, library)]);
        workspace.packages[0].publication = Some(publication);
        check(&workspace).iter().map(ToString::to_string).collect()
    }

    fn of_manifest(change: impl FnOnce(&mut Publication)) -> Vec<String> {
        let mut changed = publication();
        change(&mut changed);
        findings(changed, GOOD, LIBRARY)
    }

    #[test]
    fn a_complete_package_is_in_order() {
        assert_eq!(findings(publication(), GOOD, LIBRARY), [""; 0]);
    }

    #[test]
    fn each_missing_part_of_the_manifest_is_found() {
        assert_eq!(of_manifest(|it| it.description.clear()).len(), 1);
        assert_eq!(of_manifest(|it| it.licence.clear()).len(), 1);
        assert_eq!(of_manifest(|it| it.repository.clear()).len(), 1);
        assert_eq!(of_manifest(|it| it.documentation.clear()).len(), 1);
        assert_eq!(of_manifest(|it| it.readme = "../../README.md".to_owned()).len(), 1);
        assert_eq!(of_manifest(|it| it.has_docs_rs = false).len(), 1);
        assert_eq!(of_manifest(|it| it.keywords.clear()).len(), 1);
        assert_eq!(of_manifest(|it| it.keywords = vec!["a".to_owned(); 6]).len(), 1);
        assert_eq!(of_manifest(|it| it.categories.clear()).len(), 1);
        assert_eq!(of_manifest(|it| drop(it.licence_files.pop())).len(), 1);
        let without_version = of_manifest(|it| it.rust_version.clear());
        assert!(without_version.iter().any(|finding| finding.ends_with("has no rust-version")));
    }

    #[test]
    fn a_word_that_a_registry_refuses_is_found() {
        for keyword in ["event sourcing", "a-keyword-of-twenty-one", "-log", ""] {
            let found = of_manifest(|it| it.keywords = vec![keyword.to_owned()]);
            assert_eq!(found.len(), 1, "{keyword}");
        }
        assert_eq!(of_manifest(|it| it.categories = vec!["event-sourcing".to_owned()]).len(), 1);
    }

    #[test]
    fn an_example_that_nothing_compiles_is_found() {
        let shown = GOOD.replace("```rust\n", "```text\n");
        assert_eq!(findings(publication(), &shown, LIBRARY).len(), 1);
        let ignored = GOOD.replace("```rust\n", "```rust,ignore\n");
        assert_eq!(findings(publication(), &ignored, LIBRARY).len(), 1);
        assert_eq!(findings(publication(), GOOD, "//! One.\n").len(), 1);
    }

    #[test]
    fn the_example_of_a_program_is_run_by_a_test() {
        let readme = GOOD.replace("```rust\n", "```sh\n");
        let test = "//! Test.\nconst README: &str = include_str!(\"../../README.md\");\n";
        for (test, count) in [(test, 0), ("//! Test.\n", 1)] {
            let mut workspace = Workspace::of(&[
                (README, ROOT),
                ("crates/gesta-one/README.md", &readme),
                ("crates/gesta-one/tests/suite/readme.rs", test),
            ]);
            let package = &mut workspace.packages[0];
            (package.publication, package.is_library) = (Some(publication()), false);
            assert_eq!(check(&workspace).len(), count);
        }
    }

    #[test]
    fn the_table_of_features_is_that_of_the_manifest() {
        assert_eq!(of_manifest(|it| it.features.push("jwks".to_owned())).len(), 1);
        assert_eq!(of_manifest(|it| it.features.clear()).len(), 1);
    }

    #[test]
    fn a_readme_for_the_checkout_alone_is_found() {
        let local = GOOD.replace("https://example.org", "docs/guide/orders.md");
        assert_eq!(findings(publication(), &local, LIBRARY).len(), 1);
        let other = GOOD.replace("# gesta-one", "# gesta-two");
        assert_eq!(findings(publication(), &other, LIBRARY).len(), 1);
    }

    #[test]
    fn a_rust_version_that_is_not_stated_is_found() {
        let newer = of_manifest(|it| it.rust_version = "1.96".to_owned());
        assert_eq!(newer.len(), 2, "{newer:?}");
    }

    #[test]
    fn a_missing_readme_is_found_and_an_unpublished_crate_needs_none() {
        let mut workspace =
            Workspace::of(&[(README, ROOT), ("crates/gesta-one/src/lib.rs", LIBRARY)]);
        assert_eq!(check(&workspace).len(), 0);
        workspace.packages[0].publication = Some(publication());
        assert_eq!(check(&workspace).len(), 1);
    }
}

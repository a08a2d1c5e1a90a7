//! The checkout: its packages and texts.
//!
//! Owns: finding and reading them, once. Invariants: paths are relative to the root and use `/`; a
//! Rust file that does not parse is an error, so no rule passes on unread files. Not here: the
//! rules ([`crate::tidy`]).

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::step::cargo;

mod publication;

pub(crate) use self::publication::{LICENCES, Publication};

/// Folders with texts of the project.
const PLACES: [&str; 9] =
    [".cargo", ".ci", "apps", "bench", "console", "crates", "docs", "fuzz", "xtask"];
/// Folders below these that contain none.
const SKIPPED: [&str; 2] = ["target", "node_modules"];
/// Suffixes of the project's texts; `run` is the CI script.
const ENDINGS: [&str; 10] =
    [".rs", ".toml", ".md", ".txt", ".json", ".html", ".css", ".js", ".sh", "/run"];

/// Packages and texts, as input of the rules.
pub(crate) struct Workspace {
    pub(crate) packages: Vec<Package>,
    pub(crate) rust: Vec<RustFile>,
    pub(crate) texts: Vec<Text>,
    pub(crate) target_directory: PathBuf,
    pub(crate) root: PathBuf,
}

pub(crate) struct Package {
    pub(crate) name: String,
    /// Folder relative to the root, such as `crates/gesta-store`.
    pub(crate) folder: String,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) is_library: bool,
    /// `None` for a package that is not published.
    pub(crate) publication: Option<Publication>,
}

pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Set for dependencies of tests and examples only.
    pub(crate) is_for_tests: bool,
}

pub(crate) struct Text {
    pub(crate) path: String,
    pub(crate) text: String,
}

pub(crate) struct RustFile {
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) syntax: syn::File,
}

impl Workspace {
    /// Reads the checkout that this program was built from.
    pub(crate) fn open() -> Result<Self> {
        let metadata = metadata()?;
        let root = PathBuf::from(text_at(&metadata, "/workspace_root")?);
        let mut paths = Vec::new();
        // The root itself is not searched: it may contain build output and private folders.
        for entry in fs::read_dir(&root)?.filter_map(Result::ok) {
            let is_file = entry.file_type()?.is_file();
            paths.extend(is_file.then(|| entry.path()));
        }
        for place in PLACES {
            files_below(&root.join(place), &mut paths)?;
        }
        let mut texts = Vec::new();
        for path in paths {
            let relative = slashed(path.strip_prefix(&root)?);
            if ENDINGS.iter().any(|ending| relative.ends_with(ending)) {
                let text = fs::read_to_string(&path).with_context(|| relative.clone())?;
                texts.push(Text { path: relative, text });
            }
        }
        // Findings come in a stable order.
        texts.sort_by(|left, right| left.path.cmp(&right.path));
        Self {
            packages: packages(&metadata, &root)?,
            rust: Vec::new(),
            texts,
            target_directory: PathBuf::from(text_at(&metadata, "/target_directory")?),
            root,
        }
        .parsed()
    }

    fn parsed(mut self) -> Result<Self> {
        for Text { path, text } in self.texts.iter().filter(|text| text.path.ends_with(".rs")) {
            let syntax = syn::parse_file(text).with_context(|| format!("{path} is not Rust"))?;
            self.rust.push(RustFile { path: path.clone(), text: text.clone(), syntax });
        }
        ensure!(!self.texts.is_empty(), "no text of the project was found");
        Ok(self)
    }

    /// Source files of the package's library or binary, without tests and examples.
    pub(crate) fn sources_of<'a>(
        &'a self,
        package: &'a Package,
    ) -> impl Iterator<Item = &'a RustFile> {
        let sources = format!("{}/src/", package.folder);
        self.rust.iter().filter(move |file| file.path.starts_with(&sources))
    }
}

/// Returns the target directory, without reading the checkout.
pub(crate) fn target_directory() -> Result<PathBuf> {
    Ok(PathBuf::from(text_at(&metadata()?, "/target_directory")?))
}

fn metadata() -> Result<Value> {
    let mut command = cargo();
    command.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let output = command.output().context("cargo metadata cannot be started")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")
}

fn packages(metadata: &Value, root: &Path) -> Result<Vec<Package>> {
    list_at(metadata, "/packages")?.iter().map(|package| Package::read(package, root)).collect()
}

impl Package {
    fn read(package: &Value, root: &Path) -> Result<Self> {
        let manifest = Path::new(text_at(package, "/manifest_path")?);
        let directory = manifest.parent().context("a manifest is in a folder")?;
        let targets = list_at(package, "/targets")?;
        // A proc-macro crate is a library for its users.
        let is_library =
            targets.iter().filter_map(|target| target.pointer("/kind/0")).any(|kind| {
                matches!(
                    kind.as_str(),
                    Some("lib" | "proc-macro" | "rlib" | "cdylib" | "staticlib")
                )
            });
        Ok(Self {
            name: text_at(package, "/name")?.to_owned(),
            folder: slashed(directory.strip_prefix(root)?),
            dependencies: list_at(package, "/dependencies")?
                .iter()
                .map(Dependency::read)
                .collect::<Result<_>>()?,
            is_library,
            publication: Publication::read(package, directory, root)?,
        })
    }
}

impl Dependency {
    fn read(dependency: &Value) -> Result<Self> {
        let is_for_tests = dependency.pointer("/kind").and_then(Value::as_str) == Some("dev");
        Ok(Self { name: text_at(dependency, "/name")?.to_owned(), is_for_tests })
    }
}

fn text_at<'a>(value: &'a Value, pointer: &str) -> Result<&'a str> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.with_context(|| format!("cargo metadata has no text at {pointer}"))
}

fn list_at<'a>(value: &'a Value, pointer: &str) -> Result<&'a Vec<Value>> {
    let found = value.pointer(pointer).and_then(Value::as_array);
    found.with_context(|| format!("cargo metadata has no list at {pointer}"))
}

fn files_below(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    // A folder of the list may be missing, such as `fuzz` in a packaged checkout.
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let skipped = SKIPPED.iter().any(|name| entry.file_name() == *name);
        match entry.file_type()? {
            kind if kind.is_dir() && !skipped => files_below(&entry.path(), paths)?,
            kind if kind.is_file() => paths.push(entry.path()),
            _ => {}
        }
    }
    Ok(())
}

fn slashed(path: &Path) -> String {
    let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}

#[cfg(test)]
impl Workspace {
    /// Creates a workspace of these texts, with a library for each folder under `crates`.
    pub(crate) fn of(texts: &[(&str, &str)]) -> Self {
        let mut folders: Vec<&str> = texts
            .iter()
            .filter_map(|(path, _)| path.strip_prefix("crates/")?.split('/').next())
            .collect();
        folders.dedup();
        let texts = texts
            .iter()
            .map(|(path, text)| Text { path: (*path).to_owned(), text: (*text).to_owned() });
        let workspace = Self {
            packages: folders.into_iter().map(Package::named).collect(),
            rust: Vec::new(),
            texts: texts.collect(),
            target_directory: PathBuf::from("target"),
            root: PathBuf::from("."),
        };
        if workspace.texts.is_empty() { workspace } else { workspace.parsed().unwrap() }
    }
}

#[cfg(test)]
impl Package {
    /// Creates a library in `crates` without dependencies.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            folder: format!("crates/{name}"),
            dependencies: Vec::new(),
            is_library: true,
            publication: None,
        }
    }

    pub(crate) fn needing(mut self, dependency: &str) -> Self {
        let name = dependency.to_owned();
        self.dependencies.push(Dependency { name, is_for_tests: false });
        self
    }

    pub(crate) fn tested_with(mut self, dependency: &str) -> Self {
        let name = dependency.to_owned();
        self.dependencies.push(Dependency { name, is_for_tests: true });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_checkout_is_read() {
        let workspace = Workspace::open().unwrap();
        assert!(workspace.packages.iter().any(|package| package.name == "xtask"));
        assert!(workspace.rust.iter().any(|file| file.path == "xtask/src/workspace.rs"));
        assert!(workspace.texts.iter().any(|text| text.path == "Cargo.toml"));
    }

    #[test]
    fn dependencies_for_tests_are_marked() {
        let package = serde_json::json!({
            "name": "one",
            "manifest_path": "/root-folder/crates/one/Cargo.toml",
            "targets": [{ "kind": ["lib"] }],
            "dependencies": [
                { "name": "two", "kind": null },
                { "name": "three", "kind": "dev" },
            ],
        });
        let package = Package::read(&package, Path::new("/root-folder")).unwrap();
        assert_eq!(package.folder, "crates/one");
        assert!(package.is_library);
        let for_tests = package.dependencies.iter().map(|each| each.is_for_tests);
        assert_eq!(for_tests.collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn a_package_is_published_unless_its_manifest_says_no() {
        let metadata = metadata().unwrap();
        let root = PathBuf::from(text_at(&metadata, "/workspace_root").unwrap());
        let packages = packages(&metadata, &root).unwrap();
        let of = |name: &str| packages.iter().find(|each| each.name == name).unwrap();
        let published = of("gesta-store").publication.as_ref().unwrap();
        assert!(published.features.contains(&"regex".to_owned()));
        assert_eq!(published.licence_files, LICENCES);
        assert!(of("xtask").publication.is_none());
    }

    #[test]
    fn a_file_that_does_not_parse_is_an_error() {
        let workspace = Workspace::of(&[]);
        let text = Text { path: "a.rs".to_owned(), text: "fn (".to_owned() };
        assert!(Workspace { texts: vec![text], ..workspace }.parsed().is_err());
    }
}

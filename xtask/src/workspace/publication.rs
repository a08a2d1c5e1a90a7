//! The parts of a published package that a registry gets and shows.

use std::{fs, path::Path};

use anyhow::Result;
use serde_json::Value;

/// The licence files of the root, which each package has, too.
pub(crate) const LICENCES: [&str; 2] = ["LICENSE-MIT", "LICENSE-APACHE"];

/// The metadata of a package. A text is empty if the manifest has none.
#[derive(Clone, Default)]
pub(crate) struct Publication {
    pub(crate) description: String,
    pub(crate) licence: String,
    pub(crate) repository: String,
    pub(crate) documentation: String,
    pub(crate) rust_version: String,
    /// Path relative to the package.
    pub(crate) readme: String,
    pub(crate) keywords: Vec<String>,
    pub(crate) categories: Vec<String>,
    /// Features, without `default`.
    pub(crate) features: Vec<String>,
    /// Set if the manifest says how docs.rs builds the documentation.
    pub(crate) has_docs_rs: bool,
    /// The licence files in its folder that equal those of the root.
    pub(crate) licence_files: Vec<String>,
}

impl Publication {
    /// Reads a package of `cargo metadata`. Returns `None` for one that is not published.
    pub(super) fn read(package: &Value, folder: &Path, root: &Path) -> Result<Option<Self>> {
        // An empty list of registries is `publish = false`.
        let is_published = package.get("publish").is_none_or(Value::is_null);
        if !is_published {
            return Ok(None);
        }
        let text = |name: &str| package.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        let features = package.get("features").and_then(Value::as_object);
        let names = features.into_iter().flat_map(|features| features.keys());
        let mut licence_files = Vec::new();
        for name in LICENCES {
            // A registry gets the file behind a symbolic link.
            let (own, of_root) = (folder.join(name), root.join(name));
            if own.exists() && fs::read(own)? == fs::read(of_root)? {
                licence_files.push(name.to_owned());
            }
        }
        Ok(Some(Self {
            description: text("description"),
            licence: text("license"),
            repository: text("repository"),
            documentation: text("documentation"),
            rust_version: text("rust_version"),
            readme: text("readme"),
            keywords: texts(package, "keywords"),
            categories: texts(package, "categories"),
            features: names.filter(|name| *name != "default").cloned().collect(),
            has_docs_rs: package.pointer("/metadata/docs/rs").is_some(),
            licence_files,
        }))
    }
}

fn texts(package: &Value, name: &str) -> Vec<String> {
    let list = package.get(name).and_then(Value::as_array);
    let texts = list.into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

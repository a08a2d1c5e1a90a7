//! The context of a build: the checkout without what `.dockerignore` lists.
//!
//! Invariant: a pattern that this file does not understand is an error. Not here: what a step
//! copies from the context.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};

/// Patterns of `.dockerignore`: names in the root, and names at any depth (`**/NAME`).
#[derive(Debug, Default, PartialEq)]
pub(super) struct Ignored {
    in_root: Vec<String>,
    anywhere: Vec<String>,
}

impl Ignored {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut ignored = Self::default();
        let lines = text.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (names, name) = match line.strip_prefix("**/") {
                Some(name) => (&mut ignored.anywhere, name),
                None => (&mut ignored.in_root, line),
            };
            let is_name = !name.contains(['/', '*', '?', '!', '[']);
            ensure!(is_name, ".dockerignore: {line:?} is neither NAME nor **/NAME");
            names.push(name.to_owned());
        }
        Ok(ignored)
    }

    fn has(&self, name: &str, is_in_root: bool) -> bool {
        let is_name = |ignored: &String| ignored == name;
        self.anywhere.iter().any(is_name) || is_in_root && self.in_root.iter().any(is_name)
    }

    /// Copies a checkout into a directory, which may exist. Modes and symbolic links stay.
    pub(super) fn copy(&self, checkout: &Path, into: &Path) -> Result<()> {
        self.copy_folder(checkout, into, true)
    }

    fn copy_folder(&self, folder: &Path, into: &Path, is_root: bool) -> Result<()> {
        fs::create_dir_all(into)?;
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let name = entry.file_name();
            if self.has(&name.to_string_lossy(), is_root) {
                continue;
            }
            let (from, to) = (entry.path(), into.join(&name));
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.copy_folder(&from, &to, false)?;
            } else if kind.is_symlink() {
                std::os::unix::fs::symlink(fs::read_link(&from)?, &to)?;
            } else if kind.is_file() {
                fs::copy(&from, &to).with_context(|| from.display().to_string())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_names_are_left_out_where_the_pattern_says() {
        let directory = tempfile::tempdir().unwrap();
        let (checkout, copy) = (directory.path().join("checkout"), directory.path().join("copy"));
        for file in [".git/HEAD", "data/a", "b/data/a", "b/target/a", "target/a", "c"] {
            let path = checkout.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        std::os::unix::fs::symlink("c", checkout.join("link")).unwrap();
        let ignored = Ignored::parse("# Not sent.\n.git\ndata\n**/target\n").unwrap();
        ignored.copy(&checkout, &copy).unwrap();
        for (file, is_copied) in [
            (".git", false),
            ("data", false),
            ("b/data/a", true),
            ("b/target", false),
            ("target", false),
            ("c", true),
            ("link", true),
        ] {
            assert_eq!(copy.join(file).exists(), is_copied, "{file}");
        }
        assert!(copy.join("link").is_symlink());
    }

    #[test]
    fn a_pattern_that_is_not_understood_is_refused() {
        for pattern in ["*.md", "!README.md", "docs/guide", "**/a/b"] {
            assert!(Ignored::parse(pattern).is_err(), "{pattern}");
        }
    }
}

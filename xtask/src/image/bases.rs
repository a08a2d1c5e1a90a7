//! Stand-ins of the images that Dockerfiles begin with, on a machine without Docker.
//!
//! Owns: the list of these images, and a directory for each. `debian:bookworm-slim` is what
//! `debootstrap` makes; `rust:…-slim-bookworm` is the same, with the toolchain of this machine;
//! `gcr.io/distroless/cc-debian12` is a part of its packages out of that Debian. A directory is
//! made once, and copied for each build. Invariant: an image without a stand-in is an error.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    image::{dockerfile::Owner, enclosed::Enclosed},
    step::step,
};

const DISTROLESS: &str = include_str!("distroless.sh");
const CARGO: &str = include_str!("cargo.sh");
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const TOOLCHAIN: &str = "/usr/local/rustup/toolchain";

/// The compiler of a step that calls `cargo build`.
#[derive(Clone)]
pub(super) enum Compiler {
    /// The program at this path, which was built before.
    Given(PathBuf),
    /// The compiler of this machine. Its C compiler is installed in the root.
    Real,
}

/// The directories of the stand-ins.
pub(super) struct Bases {
    pub(super) folder: PathBuf,
}

impl Bases {
    /// Makes a root that an image is the beginning of, in a directory that does not exist, with the
    /// environment and the user of the image.
    pub(super) fn make(&self, image: &str, root: &Path, compiler: &Compiler) -> Result<Enclosed> {
        let mut enclosed = Enclosed {
            root: root.to_owned(),
            mounts: Vec::new(),
            environment: vec![("PATH".to_owned(), PATH.to_owned())],
            directory: "/".to_owned(),
            owner: Owner::ROOT,
            is_read_only: false,
        };
        match image {
            "debian:bookworm-slim" => copy(&self.debian()?, root)?,
            "gcr.io/distroless/cc-debian12:nonroot" => {
                copy(&self.distroless()?, root)?;
                enclosed.owner = Owner { user: 65532, group: 65532 };
            }
            _ if image.starts_with("rust:") && image.ends_with("-slim-bookworm") => {
                copy(&self.debian()?, root)?;
                add_toolchain(&mut enclosed, compiler)?;
            }
            _ => bail!("there is no stand-in for the image {image}"),
        }
        if Path::new("/etc/resolv.conf").exists() {
            enclosed.mounts.push(("/etc/resolv.conf".into(), "/etc/resolv.conf".to_owned()));
        }
        Ok(enclosed)
    }

    fn debian(&self) -> Result<PathBuf> {
        self.once("debian", |folder| {
            // Its mounts end with it, also if it is interrupted.
            let mut debootstrap = Command::new("unshare");
            debootstrap.args(["--mount", "debootstrap", "--variant=minbase"]);
            debootstrap.args(["--include=ca-certificates", "bookworm"]).arg(folder);
            step("debootstrap of Debian 12", debootstrap.stdout(Stdio::null()))
        })
    }

    fn distroless(&self) -> Result<PathBuf> {
        let debian = self.debian()?;
        self.once("distroless", |folder| {
            let mut script = Command::new("sh");
            script.args(["-c", DISTROLESS, "sh"]).arg(&debian).arg(folder);
            step("libraries of Debian 12 without the rest", &mut script)
        })
    }

    /// Returns a directory, which `make` has filled now or in an earlier run.
    fn once(&self, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let (whole, part) = (self.folder.join(name), self.folder.join(format!("{name}.part")));
        if whole.exists() {
            return Ok(whole);
        }
        // A run that was interrupted has left a part.
        if part.exists() {
            fs::remove_dir_all(&part)?;
        }
        fs::create_dir_all(&part)?;
        make(&part)?;
        fs::rename(&part, &whole)?;
        Ok(whole)
    }
}

fn copy(base: &Path, root: &Path) -> Result<()> {
    let mut copy = Command::new("cp");
    step("root", copy.args(["--archive", "--reflink=auto"]).arg(base).arg(root))
}

/// Adds what the images of Rust have to a root of Debian: the toolchain and a C compiler.
fn add_toolchain(enclosed: &mut Enclosed, compiler: &Compiler) -> Result<()> {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output();
    let sysroot = String::from_utf8(sysroot.context("rustc cannot be started")?.stdout)?;
    enclosed.mounts.push((sysroot.trim().into(), TOOLCHAIN.to_owned()));
    let mut path = format!("{TOOLCHAIN}/bin:{PATH}");
    match compiler {
        Compiler::Given(program) => {
            let directory = enclosed.root.join("usr/local/cargo/bin");
            fs::create_dir_all(&directory)?;
            let stand_in = directory.join("cargo");
            fs::write(&stand_in, CARGO)?;
            make_executable(&stand_in)?;
            path = format!("/usr/local/cargo/bin:{path}");
            let name = program.file_name().context("a program has a name")?.to_string_lossy();
            enclosed.mounts.push((program.clone(), format!("/given/{name}")));
            // The registry has what this program was built from.
            enclosed.environment.push(("CARGO_NET_OFFLINE".to_owned(), "true".to_owned()));
        }
        Compiler::Real => {
            let install = "apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
                 apt-get install -y -qq --no-install-recommends gcc libc6-dev";
            step("C compiler", &mut enclosed.command(["sh", "-c", install]))?;
            // Such as `CARGO_PROFILE_RELEASE_OPT_LEVEL=0`, for a quicker build.
            let profile = env::vars().filter(|(name, _)| name.starts_with("CARGO_PROFILE_"));
            enclosed.environment.extend(profile);
        }
    }
    for (name, value) in
        [("PATH", path.as_str()), ("CARGO_HOME", "/usr/local/cargo"), ("HOME", "/root")]
    {
        enclosed.environment.push((name.to_owned(), value.to_owned()));
    }
    Ok(())
}

fn make_executable(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::set_permissions(file, fs::Permissions::from_mode(0o755))?)
}

//! `cargo xtask image`: the Dockerfiles without Docker, and the unit of systemd.
//!
//! Owns: the list of images, and what their programs are asked. The steps of a Dockerfile are
//! carried out one by one, in roots that begin as stand-ins of the images it names. Then the
//! program is started as the image says, on a read-only root, asked for its health, stopped, and
//! started again on the same volume. In a step that calls `cargo build`, cargo plans the build in
//! the root, and the program that the tests have built takes the place of the compiled one;
//! `--compile` compiles. Needs root, and `debootstrap`, `unshare`, `curl` and `systemd-analyze`.
//! Not here: Docker itself, and what it does with layers, networks and registries.

mod bases;
mod build;
mod container;
mod context;
mod dockerfile;
mod enclosed;

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use gesta_services::e2e::given_program;

use self::{
    bases::{Bases, Compiler},
    build::{Build, BuiltImage},
    container::{Container, ContainerOptions, add_volumes, free_port},
};
use crate::{
    step::{cargo, step},
    workspace::Workspace,
};

/// The unit names this path, which is mounted over while the unit is checked.
const VERIFY_UNIT: &str = "mount -t tmpfs tmpfs /usr/local/bin \
     && cp \"$1\" /usr/local/bin/gesta && exec systemd-analyze verify \"$2\"";

/// The origin of the programs: given, or compiled in the roots.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum ImageRequest {
    Given,
    Compile,
}

impl ImageRequest {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        match arguments {
            [] => Ok(Self::Given),
            [flag] if flag == "--compile" => Ok(Self::Compile),
            _ => bail!("expected --compile or nothing"),
        }
    }
}

/// A Dockerfile of the project.
struct Image {
    name: &'static str,
    dockerfile: &'static str,
    package: &'static str,
    check: fn(&mut BuiltImage, &Path, &Path) -> Result<()>,
    /// The reason why a program with all features does not start in the image.
    only_compiled: Option<&'static str>,
}

const IMAGES: [Image; 2] = [
    Image {
        name: "gesta",
        dockerfile: "Dockerfile",
        package: "gesta-cli",
        check: check_server,
        only_compiled: None,
    },
    Image {
        name: "shop",
        dockerfile: "apps/shop/Dockerfile",
        package: "shop",
        check: check_shop,
        only_compiled: Some("the program of the tests has every feature, and needs OpenSSL"),
    },
];

pub(crate) fn run(request: ImageRequest) -> Result<()> {
    ensure!(fs::metadata("/proc/self")?.uid() == 0, "`cargo xtask image` needs root");
    let workspace = Workspace::open()?;
    let folder = workspace.target_directory.join("image");
    let bases = Bases { folder: folder.join("bases") };
    let server = given(&IMAGES[0], &workspace)?;
    for image in &IMAGES {
        let compiler = match request {
            ImageRequest::Given => Compiler::Given(given(image, &workspace)?),
            ImageRequest::Compile => Compiler::Real,
        };
        let folder = folder.join(image.name);
        let build = Build { checkout: &workspace.root, bases: &bases, compiler, folder };
        let mut built = build.run(image.dockerfile)?;
        match image.only_compiled {
            Some(reason) if request == ImageRequest::Given => {
                println!("\n== {}: not started: {reason}", image.name);
            }
            _ => (image.check)(&mut built, &build.folder, &server)?,
        }
    }
    let mut unit = Command::new("unshare");
    unit.args(["--mount", "sh", "-c", VERIFY_UNIT, "sh"]).arg(&server);
    step("systemd unit", unit.arg(workspace.root.join("deploy/gesta.service")))
}

/// Returns the path of a program that the tests have built, or builds it.
fn given(image: &Image, workspace: &Workspace) -> Result<PathBuf> {
    if let Some(program) = given_program(image.name)? {
        return Ok(program);
    }
    step(image.name, cargo().args(["build", "--package", image.package]))?;
    Ok(workspace.target_directory.join("debug").join(image.name))
}

/// Serves a store of the volume with TLS and users, twice.
fn check_server(image: &mut BuiltImage, folder: &Path, program: &Path) -> Result<()> {
    let certificates = folder.join("certs");
    if certificates.exists() {
        fs::remove_dir_all(&certificates)?;
    }
    let mut make = Command::new(program);
    step("certificates", make.args(["certs", "dev", "--directory"]).arg(&certificates))?;
    let owner = image.enclosed.owner;
    let mut own = Command::new("chown");
    own.args(["--recursive", &format!("{}:{}", owner.user, owner.group)]).arg(&certificates);
    step("owner of the certificates", &mut own)?;
    let volumes = add_volumes(image, &folder.join("volumes"))?;
    let volume = volumes.first().context("the image has a volume")?;
    let port = free_port()?;
    let options = ContainerOptions {
        arguments: &["--tls-cert", "/certs/server.pem", "--tls-key", "/certs/server.key"],
        environment: vec![("GESTA_LISTEN".to_owned(), format!("0.0.0.0:{port}"))],
        files: Some((&certificates, "/certs")),
    };
    let authority = certificates.join("ca.pem");
    let authority = authority.to_str().context("a path in UTF-8")?;
    for _ in 0..2 {
        let mut container = Container::start(image, &options)?;
        let ready = format!("https://localhost:{port}/health/ready");
        container.ask(&ready, &["--cacert", authority])?;
        // The first start has written passwords into the volume, and the second one knows them.
        let passwords = fs::read_to_string(volume.join("first-passwords"))?;
        let admin = passwords.lines().find_map(|line| line.strip_prefix("admin "));
        let login = format!("admin:{}", admin.context("there is no password of admin")?);
        let head = format!("https://localhost:{port}/v1/head");
        container.ask(&head, &["--cacert", authority, "--user", &login])?;
        container.stop()?;
    }
    Ok(())
}

/// Serves the shop on the volume, twice.
fn check_shop(image: &mut BuiltImage, folder: &Path, _: &Path) -> Result<()> {
    add_volumes(image, &folder.join("volumes"))?;
    let port = free_port()?;
    let options = ContainerOptions {
        arguments: &["serve", "--allow-remote"],
        environment: vec![("GESTA_LISTEN".to_owned(), format!("0.0.0.0:{port}"))],
        files: None,
    };
    for _ in 0..2 {
        let mut container = Container::start(image, &options)?;
        container.ask(&format!("http://127.0.0.1:{port}/health/ready"), &[])?;
        container.stop()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkout() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
    }

    #[test]
    fn the_dockerfiles_of_the_project_are_understood() {
        for Image { dockerfile, .. } in &IMAGES {
            let text = fs::read_to_string(checkout().join(dockerfile)).unwrap();
            let stages = dockerfile::parse(&text).unwrap();
            assert_eq!(stages.len(), 2, "{dockerfile}");
            let oldest = format!("rust:{}-slim-bookworm", env!("CARGO_PKG_RUST_VERSION"));
            assert_eq!(stages[0].base, oldest, "{dockerfile}");
        }
        let ignored = fs::read_to_string(checkout().join(".dockerignore")).unwrap();
        context::Ignored::parse(&ignored).unwrap();
    }

    #[test]
    fn the_images_run_as_users_of_their_own() {
        for Image { dockerfile, .. } in &IMAGES {
            let text = fs::read_to_string(checkout().join(dockerfile)).unwrap();
            let last = dockerfile::parse(&text).unwrap().pop().unwrap();
            let user = last.steps.iter().rev().find_map(|one| match one {
                dockerfile::BuildStep::User(owner) => Some(owner.user),
                _ => None,
            });
            assert!(user.is_some_and(|user| user != 0), "{dockerfile}: {user:?}");
        }
    }

    #[test]
    fn an_unknown_argument_is_refused() {
        assert_eq!(ImageRequest::parse(&[]).unwrap(), ImageRequest::Given);
        assert_eq!(ImageRequest::parse(&["--compile".to_owned()]).unwrap(), ImageRequest::Compile);
        assert!(ImageRequest::parse(&["--push".to_owned()]).is_err());
    }
}

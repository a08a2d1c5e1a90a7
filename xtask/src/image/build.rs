//! The steps of a Dockerfile, carried out one by one.
//!
//! Invariant: a step that fails ends the build. Not here: the parser, the stand-ins of images.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    image::{
        bases::{Bases, Compiler},
        context::Ignored,
        dockerfile::{self, BuildStep, CopyStep, Owner},
        enclosed::Enclosed,
    },
    step::step,
};

/// A build: what its steps take from outside.
pub(super) struct Build<'a> {
    pub(super) checkout: &'a Path,
    pub(super) bases: &'a Bases,
    pub(super) compiler: Compiler,
    /// The directory of the roots, which begins empty, and of caches, which stay.
    pub(super) folder: PathBuf,
}

/// A built image.
pub(super) struct BuiltImage {
    /// The root with the environment, the user and the directory of the image.
    pub(super) enclosed: Enclosed,
    pub(super) volumes: Vec<String>,
    pub(super) entrypoint: Vec<String>,
}

impl Build<'_> {
    /// Builds all stages of a Dockerfile. Returns the last one.
    pub(super) fn run(&self, dockerfile: &str) -> Result<BuiltImage> {
        let text =
            fs::read_to_string(self.checkout.join(dockerfile)).context(dockerfile.to_owned())?;
        let stages = dockerfile::parse(&text).context(dockerfile.to_owned())?;
        let roots = self.folder.join("roots");
        if roots.exists() {
            fs::remove_dir_all(&roots)?;
        }
        fs::create_dir_all(&roots)?;
        let (mut earlier, mut last): (Vec<(String, PathBuf)>, _) = (Vec::new(), None);
        for (index, stage) in stages.iter().enumerate() {
            println!("\n== {dockerfile}, stage {}, from {}", index + 1, stage.base);
            let root = roots.join(index.to_string());
            let enclosed = self.bases.make(&stage.base, &root, &self.compiler)?;
            let mut image = BuiltImage { enclosed, volumes: Vec::new(), entrypoint: Vec::new() };
            for one in &stage.steps {
                self.carry_out(one, &mut image, &earlier)?;
            }
            earlier.extend(stage.name.clone().map(|name| (name, root)));
            last = Some(image);
        }
        last.context("a Dockerfile has a stage")
    }

    fn carry_out(
        &self,
        one: &BuildStep,
        image: &mut BuiltImage,
        earlier: &[(String, PathBuf)],
    ) -> Result<()> {
        let enclosed = &mut image.enclosed;
        match one {
            BuildStep::Run { caches, command } => self.run_command(enclosed, caches, command)?,
            BuildStep::Copy(copy) => self.copy(enclosed, copy, earlier)?,
            BuildStep::Env(variables) => enclosed.environment.extend(variables.iter().cloned()),
            BuildStep::Workdir(directory) => {
                fs::create_dir_all(inside(&enclosed.root, directory))?;
                enclosed.directory.clone_from(directory);
            }
            BuildStep::User(owner) => enclosed.owner = *owner,
            BuildStep::Volume(volume) => image.volumes.push(volume.clone()),
            BuildStep::Entrypoint(words) => image.entrypoint.clone_from(words),
            // The program is stopped by this signal, and its port is its own business.
            BuildStep::StopSignal(signal) => ensure!(signal == "SIGTERM", "{signal}"),
            BuildStep::Expose(_) => {}
        }
        Ok(())
    }

    fn run_command(&self, enclosed: &mut Enclosed, caches: &[String], command: &str) -> Result<()> {
        let without = enclosed.mounts.len();
        for cache in caches {
            let directory = self.cache(cache)?;
            enclosed.mounts.push((directory, cache.clone()));
        }
        let run =
            step(&format!("RUN {command}"), &mut enclosed.command(["/bin/sh", "-c", command]));
        enclosed.mounts.truncate(without);
        run
    }

    /// Returns the directory behind a cache: cargo's own one, so that nothing is loaded twice, or
    /// one of this build.
    fn cache(&self, target: &str) -> Result<PathBuf> {
        if target == "/usr/local/cargo/registry" {
            let home = env::var_os("CARGO_HOME").map(PathBuf::from);
            let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
            return Ok(home.context("cargo has no home")?.join("registry"));
        }
        let directory = self.folder.join("caches").join(target.trim_matches('/').replace('/', "-"));
        fs::create_dir_all(&directory)?;
        Ok(directory)
    }

    fn copy(
        &self,
        enclosed: &Enclosed,
        copy: &CopyStep,
        earlier: &[(String, PathBuf)],
    ) -> Result<()> {
        let CopyStep { from, owner, source, target } = copy;
        let into = inside(&enclosed.root, &joined(&enclosed.directory, target));
        let Some(stage) = from else {
            ensure!(source == ".", "of the context, everything is copied; not {source}");
            println!("\n== COPY {source} {target}");
            let ignored = fs::read_to_string(self.checkout.join(".dockerignore"))?;
            return Ignored::parse(&ignored)?.copy(self.checkout, &into);
        };
        let root = earlier.iter().find_map(|(name, root)| (name == stage).then_some(root));
        let Some(root) = root else { bail!("there is no stage {stage} before") };
        let title = format!("COPY --from={stage} {source} {target}");
        let source = inside(root, source);
        let parent = into.parent().context("a target is in a directory")?;
        fs::create_dir_all(if source.is_dir() { &into } else { parent })?;
        let mut command = Command::new("cp");
        // The content of a directory is copied, and not the directory.
        let what = if source.is_dir() { source.join(".") } else { source.clone() };
        command.args(["--recursive", "--preserve=mode"]).arg(what).arg(&into);
        step(&title, &mut command)?;
        let Owner { user, group } = owner.unwrap_or(Owner::ROOT);
        let mut own = Command::new("chown");
        step("owner", own.args(["--recursive", &format!("{user}:{group}")]).arg(&into))
    }
}

/// Returns the path of a file in a root.
pub(super) fn inside(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn joined(directory: &str, path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{directory}/{path}") }
}

//! Programs for Go, Rust and Java, which are compiled.
//!
//! Invariant: a language whose tools are missing is skipped aloud, which is an error under
//! `CI=true`.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::client::Client;
use crate::step::{cargo, step};

/// Packages of crates.io, pinned in `tests/clients/rust/Cargo.lock`.
const RUST_PACKAGES: [&str; 2] = ["kurrentdb", "eventstore"];
/// The goal of Maven that fetches the packages of `pom.xml` and lists their files.
const CLASSPATH_GOAL: &str =
    "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath";

/// Compiles all programs whose tools are there.
pub(super) fn clients(folder: &Path, sources: &Path) -> Result<Vec<Client>> {
    let mut clients = rust_clients(folder, &sources.join("rust"))?;
    clients.extend(go_client(folder, &sources.join("go"))?);
    clients.extend(java_client(&folder.join("java"), &sources.join("java"))?);
    Ok(clients)
}

/// Returns `true` if a program can be started. A missing one is said aloud.
fn has(language: &str, program: &str, argument: &str, tools: &str) -> Result<bool> {
    if Command::new(program).arg(argument).output().is_ok() {
        return Ok(true);
    }
    ensure!(env::var_os("CI").is_none(), "the client for {language} needs {tools}");
    println!("SKIPPED: the client for {language}; to run it, install {tools}");
    Ok(false)
}

/// Builds the program for Rust, in a target directory and with a lock file of its own.
fn rust_clients(folder: &Path, sources: &Path) -> Result<Vec<Client>> {
    let target = folder.join("rust");
    let mut build = cargo();
    build.args(["build", "--locked", "--manifest-path"]).arg(sources.join("Cargo.toml"));
    build.arg("--target-dir").arg(&target);
    step("building the clients for Rust", &mut build)?;
    let client = |package: &str| Client {
        title: format!("{package} for Rust"),
        program: target.join("debug/gesta-clients"),
        arguments: vec![package.into()],
        packages: None,
    };
    Ok(RUST_PACKAGES.into_iter().map(client).collect())
}

fn go_client(folder: &Path, sources: &Path) -> Result<Option<Client>> {
    if !has("Go", "go", "version", "Go 1.23 or newer")? {
        return Ok(None);
    }
    let program = folder.join("go-client");
    let mut build = Command::new("go");
    build.args(["build", "-mod=readonly", "-o"]).arg(&program).arg(".").current_dir(sources);
    step("building the client for Go", &mut build)?;
    let title = "KurrentDB-Client-Go".to_owned();
    Ok(Some(Client { title, program, arguments: Vec::new(), packages: None }))
}

/// Compiles the scenarios for Java. Maven only fetches their packages.
fn java_client(home: &Path, sources: &Path) -> Result<Option<Client>> {
    let tools = "a JDK from version 17 on, and Maven";
    if !has("Java", "javac", "-version", tools)? || !has("Java", "mvn", "-version", tools)? {
        return Ok(None);
    }
    let classes = home.join("classes");
    fs::create_dir_all(&classes)?;
    let packages = java_packages(home, sources)?;
    let mut compile = Command::new("javac");
    compile.args(["-nowarn", "-d"]).arg(&classes).arg("-classpath").arg(&packages);
    compile.args(java_files(sources)?);
    step("compiling the client for Java", &mut compile)?;
    let mut classpath = classes.into_os_string();
    classpath.push(":");
    classpath.push(packages);
    // The program ends before the second compiler of the JVM would pay off.
    let arguments = ["-XX:TieredStopAtLevel=1", "-classpath"].map(OsString::from);
    let arguments = arguments.into_iter().chain([classpath, "Main".into()]).collect();
    let title = "kurrentdb-client for Java".to_owned();
    Ok(Some(Client { title, program: "java".into(), arguments, packages: None }))
}

/// Returns the files of the packages in `pom.xml`, which Maven keeps in its own cache.
fn java_packages(home: &Path, sources: &Path) -> Result<String> {
    let pom = sources.join("pom.xml");
    let wanted = fs::read_to_string(&pom)?;
    let (mark, list) = (home.join("installed"), home.join("classpath"));
    let are_there = |files: &String| env::split_paths(files).all(|file| file.exists());
    let fetched = fs::read_to_string(&list).ok().filter(are_there);
    if let Some(files) = fetched
        && fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted)
    {
        return Ok(files);
    }
    let mut output = OsString::from("-Dmdep.outputFile=");
    output.push(&list);
    let mut fetch = Command::new("mvn");
    fetch.args(["-q", "-B", "-ntp", "-f"]).arg(&pom).arg(CLASSPATH_GOAL).arg(output);
    step("fetching packages for Java", &mut fetch)
        .context("the client for Java needs Maven Central, or a mirror that Maven is set to")?;
    fs::write(mark, wanted)?;
    Ok(fs::read_to_string(list)?)
}

fn java_files(sources: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(sources)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "java") {
            files.push(path);
        }
    }
    Ok(files)
}

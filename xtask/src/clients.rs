//! `cargo xtask clients`: programs with official KurrentDB clients against `gesta serve`.
//!
//! Owns: the list of runs. Each program runs against insecure servers, and one with TLS and users.
//! Needs Python 3, Node, Go, a JDK, Maven and, the first time, their registries; says aloud what is
//! missing. Not here: the programs (`tests/clients`); the test command, which needs none of this.

mod client;
mod programs;
mod scripts;
mod server;

use std::{fs, path::PathBuf};

use anyhow::Result;
use gesta_services::e2e::given_program;

use self::{
    client::Client,
    server::{Certificates, Server, StoreKind},
};
use crate::{
    step::{cargo, step},
    workspace::Workspace,
};

pub(crate) fn run() -> Result<()> {
    let workspace = Workspace::open()?;
    let program = gesta(&workspace)?;
    let folder = workspace.target_directory.join("clients");
    let sources = workspace.root.join("tests/clients");
    fs::create_dir_all(&folder)?;
    let mut clients = scripts::clients(&folder, &sources)?;
    clients.extend(programs::clients(&folder, &sources)?);
    let certificates = Certificates::make(&program, &folder)?;
    let (secured, mut failed) = (Some(&certificates), Vec::new());
    for (store, secured) in
        [(StoreKind::Memory, None), (StoreKind::Directory, None), (StoreKind::Memory, secured)]
    {
        let server = Server::start(&program, store, &folder, secured)?;
        let how = if secured.is_some() { "with TLS" } else { "insecure" };
        for client in &clients {
            let mut command = client.command(&server, store);
            if let Some(certificates) = secured {
                command.env("GESTA_CLIENT_LOGIN", certificates.login()?);
                command.env("GESTA_CLIENT_CA", certificates.folder.join("ca.pem"));
            }
            let Client { title, .. } = client;
            // One that fails says nothing about the others.
            let run = step(&format!("{title}, store in {}, {how}", store.name()), &mut command);
            failed.extend(run.err());
        }
    }
    let count = failed.len();
    match failed.into_iter().next() {
        None => Ok(()),
        Some(first) => Err(first.context(format!("{count} programs failed; the first one"))),
    }
}

/// Builds the program, unless the caller has built it already. Returns its path.
fn gesta(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(program) = given_program("gesta")? {
        return Ok(program);
    }
    step("gesta", cargo().args(["build", "--package", "gesta-cli"]))?;
    Ok(workspace.target_directory.join("debug/gesta"))
}

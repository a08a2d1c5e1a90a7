//! Requests made up from the OpenAPI document, and what they find.
//!
//! Owns: installing and running the tool. A run passes if the tool finds nothing and gets a 2xx
//! from every operation of the document, except the feed, which has no end and tests of its own.
//! The tool is installed, in the version named here, into a virtual environment below the target
//! directory; its configuration is the shop's. Not here: the shop's contents ([`stage`]) and the
//! evaluation of the tool's report ([`answers`]).

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use gesta_services::e2e::{figures, target};
use serde_json::Value;

use crate::{
    client::Client,
    server::{Server, Shop},
};

mod answers;
mod stage;

const TOOL: &str = "schemathesis==4.32.5";
const CONFIGURATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schemathesis.toml");
/// As a file: the tool leaves out the operation that it gets the document from.
const DOCUMENT: &str = "openapi.json";
const REPORT: &str = "report.ndjson";
/// The operation excluded by the configuration.
const FEED: &str = "GET /v1/events";

/// All checks of the tool, over a shop where there is something to do.
#[test]
fn schemathesis_finds_nothing_and_reaches_every_operation() -> Result<()> {
    let shop = Shop::build("schemathesis")?;
    let tool = install()?;
    let store = shop.store("store");
    stage::put_odd_events(&shop, &store)?;
    stage::set_instances_aside(&shop, &store)?;
    stage::put_effects_that_fail(&shop, &store)?;
    let server = shop.serve_with_late_welcomes(&store, stage::WELCOME_SECONDS)?;
    stage::prepare(&server, &store)?;
    let document = document(&server)?;
    let run = Run { tool, configuration: Path::new(CONFIGURATION).to_owned(), shop: &shop };
    fs::write(shop.store(DOCUMENT), document.to_string())?;
    run.finds_nothing(&server)?;
    let mut operations = operations(&document)?;
    operations.retain(|operation| operation != FEED);
    figures(answers::read(&shop.store(REPORT))?.reach(&operations)?)
}

/// The tool's program, in an environment of its own.
fn install() -> Result<PathBuf> {
    let environment = target()?.join("e2e/schemathesis-environment");
    succeed(Command::new("python3").args(["-m", "venv"]).arg(&environment))
        .context("python3 and its module venv are needed (`apt-get install python3-venv`)")?;
    succeed(Command::new(environment.join("bin/pip")).args(["install", "--quiet", TOOL]))
        .with_context(|| format!("{TOOL} cannot be had from PyPI"))?;
    Ok(environment.join("bin/schemathesis"))
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// Reads the server's OpenAPI document.
fn document(server: &Server) -> Result<Value> {
    let reply = Client::connect(server.address)?.get("/openapi.json", &[])?;
    ensure!(reply.status == 200, "/openapi.json: {}", reply.status);
    serde_json::from_slice(&reply.body).context("/openapi.json")
}

/// Its operations, each as its method and its path.
fn operations(document: &Value) -> Result<Vec<String>> {
    let paths = document.get("paths").and_then(Value::as_object).context("it has paths")?;
    let mut operations = Vec::new();
    for (path, methods) in paths {
        let methods = methods.as_object().with_context(|| format!("{path} has methods"))?;
        operations.extend(methods.keys().map(|method| format!("{} {path}", method.to_uppercase())));
    }
    Ok(operations)
}

/// One run of the tool, which leaves what it writes in the check's own directory.
struct Run<'a> {
    tool: PathBuf,
    configuration: PathBuf,
    shop: &'a Shop,
}

impl Run<'_> {
    fn finds_nothing(&self, server: &Server) -> Result<()> {
        let output = Command::new(&self.tool)
            .arg("--config-file")
            .arg(&self.configuration)
            .args(["run", DOCUMENT, "--url", &format!("http://{}", server.address)])
            .args(["--report", "ndjson", "--report-ndjson-path", REPORT])
            .current_dir(self.shop.directory())
            .stdin(Stdio::null())
            .output()
            .context("schemathesis cannot be started")?;
        let findings = String::from_utf8_lossy(&output.stdout);
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{findings}{error}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_operation_is_a_method_and_a_path() {
        let document = json!({ "paths": { "/a": { "get": {}, "post": {} }, "/b": { "put": {} } } });
        assert_eq!(operations(&document).unwrap(), ["GET /a", "POST /a", "PUT /b"]);
        assert!(operations(&json!({})).is_err());
    }
}

//! Calls of a server, and their answers as output.
//!
//! Owns: the exit code of each error.

use std::future::Future;

use anyhow::{Context as _, Result};
use gesta_server::admin::AdminError;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::runtime::Builder;

use crate::{
    exit::{Outcome, Refusal},
    output::{Output, Style},
};

/// Waits for a call.
pub(super) fn wait<T>(call: impl Future<Output = Result<T, AdminError>>) -> Result<T> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the client")?;
    runtime.block_on(call).map_err(refusal)
}

/// Gives an error the exit code of its reaction.
fn refusal(error: AdminError) -> anyhow::Error {
    let message = error.to_string();
    let refusal = match &error {
        AdminError::NotFound { .. } => Refusal::not_found("not-found", message),
        AdminError::Refused { .. } => Refusal::refused("refused", message),
        AdminError::Denied { .. } => Refusal::usage("denied", message).hint(
            "check the login in the URL and its password; if both are right, name a user who \
                 may do this",
        ),
        AdminError::Unreachable { .. } => return unreachable(error),
        AdminError::NoAnswer { .. } => Refusal::usage("no-answer", message)
            .hint("look at the log of the server; the command may have had its effect"),
        AdminError::Busy { .. } => Refusal::usage("busy", message)
            .hint("nothing was done; wait a little, then run the command again"),
        AdminError::NeedsTls { .. } => Refusal::usage("needs-tls", message).hint(
            "remove tls=false from the URL, and name the file of the server's authority: \
             ?tlsCaFile=certs/ca.pem",
        ),
        AdminError::LacksTls { .. } => Refusal::usage("lacks-tls", message)
            .hint("for an insecure server, write kurrentdb://HOST:PORT?tls=false"),
        AdminError::UnknownAuthority { .. } => Refusal::usage("unknown-authority", message).hint(
            "name the file of the authority in the URL: ?tlsCaFile=FILE (`gesta certs dev` makes \
             certs/ca.pem)",
        ),
        AdminError::OtherName { .. } => Refusal::usage("other-name", message)
            .hint("use a name of the certificate in the URL, or a certificate for this name"),
        AdminError::Elsewhere { address, .. } => Refusal::usage("elsewhere", message)
            .hint(format!("pass the server at {address} with --server")),
        _ => Refusal::usage("rejected", message),
    };
    refusal.into()
}

fn unreachable(error: AdminError) -> anyhow::Error {
    let hint = "check that the server runs, its address, and tls=false for an insecure server";
    let refusal = Refusal::usage("unreachable", error.to_string()).hint(hint);
    anyhow::Error::from(error).context(refusal)
}

/// Returns values as rows of a table.
pub(super) fn rows<Row: Serialize>(values: &[Row]) -> Result<Vec<Box<RawValue>>> {
    let rows = values.iter().map(to_raw_value).collect::<Result<_, _>>();
    rows.context("the answer has no form as JSON")
}

/// Prints an object: as JSON, or each member on a line.
pub(super) fn show(value: &impl Serialize, output: &mut Output) -> Result<()> {
    if output.style() == Style::Json {
        return output.json(value);
    }
    let value = serde_json::to_value(value).context("the answer has no form as JSON")?;
    let Some(members) = value.as_object() else { return output.line(&value) };
    let width = members.keys().map(String::len).max().unwrap_or_default();
    for (name, member) in members {
        let text = crate::table::text(member);
        output.line(format_args!("{name:<width$}  {}", crate::events::Printable(&text)))?;
    }
    Ok(())
}

/// Says that a command without a result has had its effect.
pub(super) fn done(output: &mut Output) -> Result<Outcome> {
    super::super::processes::done(output)
}

//! `gesta processes`: inspects and controls the process managers of a running application.

use std::fmt;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use crate::{
    application::{Application, Path},
    confirm::Confirm,
    events::Printable,
    exit::Outcome,
    output::{Output, Style, notice},
    table::Table,
};

const HINT: &str = "\
Examples:
  gesta processes list                                  all process managers
  gesta processes pause welcome --reason 'the mail server moves'
  gesta processes resume welcome
  gesta processes list welcome --state troubled         troubled instances and set-aside streams
  gesta processes show welcome ann                      timers, commands, failures
  gesta processes set-aside welcome                     set-aside inputs and their errors
  gesta processes retry welcome instance:ann --reason 'corrected the address'
  gesta processes skip welcome stream:user-poison 12 --reason 'manual entry, no such user'
  gesta processes cancel welcome ann
  gesta processes fire welcome ann 0.0                  fire a timer now
  gesta processes resend welcome ann 1.0                send a refused command again

Operations are recorded in the stream audit-operations, with the reason.

Exit codes:
  0  success
  1  refused by the application, for example because a retry failed
  2  usage error, or the application does not respond
  3  not found";

/// Manage process managers in a running application
///
/// An input that fails is set aside, and later inputs of the same stream wait behind it. Use these
/// commands to list, retry or skip such inputs, and to cancel instances. The commands call the
/// application's HTTP API, since the application has the store open.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Processes {
    #[command(flatten)]
    application: Application,
    #[command(subcommand)]
    verb: ProcessesCommand,
}

#[derive(Subcommand, Debug)]
enum ProcessesCommand {
    /// List process managers, or the instances of one
    List(List),
    /// Pause a process manager after its current work. The pause ends when the application restarts
    Pause(Manager),
    /// Resume a process manager after a pause or halt
    Resume(Manager),
    /// Show an instance with its timers, commands and set-aside inputs
    Show(Instance),
    /// List set-aside inputs, by stream
    SetAside {
        /// Process manager
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        process: String,
    },
    /// Retry the set-aside inputs of a stream
    Retry {
        #[command(flatten)]
        subject: SubjectArguments,
        #[command(flatten)]
        reason: Reason,
    },
    /// Skip a set-aside input and retry the inputs that wait behind it. Asks for confirmation
    Skip {
        #[command(flatten)]
        subject: SubjectArguments,
        /// Number of the input, as shown by `set-aside`
        number: u64,
        #[command(flatten)]
        reason: Reason,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// End an instance: cancel its timers and stop delivering inputs. Asks for confirmation
    Cancel {
        #[command(flatten)]
        instance: Instance,
        #[command(flatten)]
        reason: Reason,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Fire a pending timer now
    Fire {
        #[command(flatten)]
        instance: Instance,
        /// Timer id, as shown by `show`
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        timer: String,
        #[command(flatten)]
        reason: Reason,
    },
    /// Send a refused command again
    Resend {
        #[command(flatten)]
        instance: Instance,
        /// Command id, as shown by `show`
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        command: String,
        #[command(flatten)]
        reason: Reason,
    },
}

#[derive(Args, Debug)]
struct List {
    /// List the instances of this process manager
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    process: Option<String>,
    /// Only instances in this state: running, troubled, ended or cancelled. With troubled,
    /// set-aside streams are also listed, as stream:NAME
    #[arg(long, requires = "process")]
    state: Option<String>,
    /// Only instances whose id starts with this prefix
    #[arg(long, requires = "process")]
    prefix: Option<String>,
    /// Maximum number of instances
    #[arg(long, value_name = "N", default_value_t = 100, requires = "process")]
    limit: usize,
}

#[derive(Args, Debug)]
struct Manager {
    /// Process manager
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    process: String,
    #[command(flatten)]
    reason: Reason,
}

#[derive(Args, Debug)]
struct Instance {
    /// Process manager
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    process: String,
    /// Instance id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    id: String,
}

#[derive(Args, Debug)]
struct SubjectArguments {
    /// Process manager
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    process: String,
    /// Stream with set-aside inputs: `instance:ID` or `stream:NAME`
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    subject: String,
}

/// Option for the audit stream.
#[derive(Args, Debug)]
pub(crate) struct Reason {
    /// Reason, recorded in the stream audit-operations
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

impl Manager {
    fn path(&self) -> Path {
        Path::new("/processes").name(&self.process)
    }
}

impl Instance {
    fn path(&self) -> Path {
        Path::new("/processes").name(&self.process).then("/instances").name(&self.id)
    }
}

impl SubjectArguments {
    fn path(&self) -> Path {
        Path::new("/processes").name(&self.process).then("/set-aside").name(&self.subject)
    }
}

impl Processes {
    pub(crate) fn run(self, output: &mut Output) -> Result<Outcome> {
        let at = &self.application;
        match self.verb {
            ProcessesCommand::List(list) => list.run(at, output),
            ProcessesCommand::Pause(manager) => {
                post(at, &manager.path().then("/pause"), &manager.reason, output)
            }
            ProcessesCommand::Resume(manager) => {
                post(at, &manager.path().then("/resume"), &manager.reason, output)
            }
            ProcessesCommand::Show(instance) => show(at, &instance, output),
            ProcessesCommand::SetAside { process } => set_aside(at, &process, output),
            ProcessesCommand::Retry { subject, reason } => {
                post(at, &subject.path().then("/retry"), &reason, output)
            }
            ProcessesCommand::Skip { subject, number, reason, confirm } => {
                let of = Printable(&subject.subject);
                confirm.ask(&format!("this permanently skips input {number} of {of}"))?;
                let path = subject.path().name(&number.to_string()).then("/skip");
                post(at, &path, &reason, output)
            }
            ProcessesCommand::Cancel { instance, reason, confirm } => {
                let id = Printable(&instance.id);
                confirm.ask(&format!("this permanently ends instance {id}"))?;
                post(at, &instance.path().then("/cancel"), &reason, output)
            }
            ProcessesCommand::Fire { instance, timer, reason } => {
                let path = instance.path().then("/timers").name(&timer).then("/fire");
                post(at, &path, &reason, output)
            }
            ProcessesCommand::Resend { instance, command, reason } => {
                let path = instance.path().then("/commands").name(&command).then("/resend");
                post(at, &path, &reason, output)
            }
        }
    }
}

fn post(at: &Application, path: &Path, reason: &Reason, output: &mut Output) -> Result<Outcome> {
    at.post(path, reason.reason.as_deref())?;
    done(output)
}

/// Reports a completed operation.
pub(crate) fn done(output: &mut Output) -> Result<Outcome> {
    match output.style() {
        Style::Text => output.line("done")?,
        Style::Json => output.json(&json!({ "done": true }))?,
    }
    Ok(Outcome::Done)
}

const MANAGERS: Table = Table(&[
    ("STATE", "state", 8),
    ("TROUBLED", "troubled", 8),
    ("SET ASIDE", "setAside", 9),
    ("TIMERS", "timers", 8),
    ("COMMANDS", "commands", 8),
    ("POSITION", "position", 10),
    ("PROCESS", "name", 0),
]);

/// Prefix of stream names in a list of instances; instance ids have none.
const STREAM: &str = "stream:";

const INSTANCES: Table = Table(&[
    ("STATE", "state", 9),
    ("REVISION", "revision", 8),
    ("SET ASIDE", "setAside", 9),
    ("ID", "id", 0),
]);

impl List {
    fn run(self, at: &Application, output: &mut Output) -> Result<Outcome> {
        let Some(process) = &self.process else {
            let managers = at.items(&Path::new("/processes"))?;
            MANAGERS.show(&managers, output)?;
            return Ok(Outcome::Done);
        };
        let path = Path::new("/processes").name(process).then("/instances");
        let state = self.state.as_deref().map(|state| ("state", state));
        let prefix = self.prefix.as_deref().map(|prefix| ("prefix", prefix));
        let query: Vec<_> = state.into_iter().chain(prefix).collect();
        let mut listed = at.paged(&path, &query, self.limit)?;
        // An input can fail before it is known which instance it belongs to. Its error is then
        // shown without an instance.
        if self.state.as_deref() == Some("troubled") && listed.len() < self.limit {
            listed.extend(self.streams(process, at)?);
            listed.truncate(self.limit);
        }
        INSTANCES.show(&listed, output)?;
        Ok(Outcome::Done)
    }

    /// Lists set-aside streams that no instance has taken yet, in the format of instances.
    fn streams(&self, process: &str, at: &Application) -> Result<Vec<Box<RawValue>>> {
        let prefix = self.prefix.as_deref().unwrap_or_default();
        // The prefix is for the ids as listed, and these begin with `stream:`.
        if !prefix.starts_with(STREAM) && !STREAM.starts_with(prefix) {
            return Ok(Vec::new());
        }
        let mut streams = Vec::new();
        for SetAside { subject, inputs } in subjects(at, process)? {
            if subject.starts_with(STREAM) && subject.starts_with(prefix) {
                let set_aside = inputs.len();
                let listed = json!({ "id": subject, "state": "troubled", "setAside": set_aside });
                streams.push(RawValue::from_string(listed.to_string())?);
            }
        }
        Ok(streams)
    }
}

/// An instance in the application's response.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InstanceResponse {
    id: String,
    stream: String,
    state: String,
    revision: Option<u64>,
    timers: Vec<Timer>,
    commands: Vec<Sent>,
    refused: Vec<Refused>,
    set_aside: Vec<SetAsideInput>,
    trouble: Option<String>,
}

#[derive(Deserialize)]
struct Timer {
    id: String,
    due: String,
    timer: Box<RawValue>,
}

#[derive(Deserialize)]
struct Sent {
    id: String,
    name: String,
    payload: Box<RawValue>,
}

#[derive(Deserialize)]
struct Refused {
    id: String,
    name: String,
    code: String,
    reason: String,
}

/// Set-aside inputs of one stream.
#[derive(Deserialize, Serialize)]
struct SetAside {
    subject: String,
    inputs: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SetAsideInput {
    number: u64,
    kind: String,
    error: Option<String>,
    event_type: Option<String>,
    stream: Option<String>,
    revision: Option<u64>,
    effect: Option<String>,
}

fn show(at: &Application, instance: &Instance, output: &mut Output) -> Result<Outcome> {
    let body = at.get(&instance.path(), &[])?;
    // Printed as received, with fields that a later version of the application may have.
    if output.style() == Style::Json {
        output.line(body)?;
        return Ok(Outcome::Done);
    }
    let shown: InstanceResponse = serde_json::from_str(&body).with_context(|| at.other_format())?;
    let mut line =
        |label: &str, text: &str| output.line(format_args!("{label:<9}  {}", Printable(text)));
    line("id", &shown.id)?;
    line("stream", &shown.stream)?;
    line("state", &shown.state)?;
    if let Some(revision) = shown.revision {
        line("revision", &revision.to_string())?;
    }
    if let Some(trouble) = &shown.trouble {
        line("trouble", trouble)?;
    }
    for Timer { id, due, timer } in &shown.timers {
        line("timer", &format!("{id} due {due}: {timer}"))?;
    }
    for Sent { id, name, payload } in &shown.commands {
        line("command", &format!("{id} {name}: {payload}"))?;
    }
    for Refused { id, name, code, reason } in &shown.refused {
        line("refused", &format!("{id} {name}: {code}: {reason}"))?;
    }
    for input in &shown.set_aside {
        line("set aside", &input.to_string())?;
    }
    Ok(Outcome::Done)
}

/// Fetches set-aside inputs by subject. The application divides them into pages, which may have
/// the inputs of one subject in parts.
fn subjects(at: &Application, process: &str) -> Result<Vec<SetAside>> {
    let mut all: Vec<SetAside> = Vec::new();
    for part in at.items(&Path::new("/processes").name(process).then("/set-aside"))? {
        let part: SetAside = serde_json::from_str(part.get()).with_context(|| at.other_format())?;
        match all.last_mut() {
            Some(last) if last.subject == part.subject => last.inputs.extend(part.inputs),
            _ => all.push(part),
        }
    }
    Ok(all)
}

fn set_aside(at: &Application, process: &str, output: &mut Output) -> Result<Outcome> {
    let subjects = subjects(at, process)?;
    if subjects.is_empty() && output.style() == Style::Text {
        notice("nothing is set aside");
    }
    for subject in &subjects {
        if output.style() == Style::Json {
            output.line(serde_json::to_string(subject)?)?;
            continue;
        }
        output.line(Printable(&subject.subject))?;
        for input in &subject.inputs {
            let input: SetAsideInput =
                serde_json::from_str(input.get()).with_context(|| at.other_format())?;
            output.line(format_args!("  {}", Printable(&input.to_string())))?;
        }
    }
    Ok(Outcome::Done)
}

/// Formats the number, the event, and the error or that it waits.
impl fmt::Display for SetAsideInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.number)?;
        match (&self.event_type, &self.stream, self.revision) {
            (Some(event_type), Some(stream), Some(revision)) => {
                write!(f, "{event_type} at revision {revision} of {stream}")?;
            }
            _ => write!(f, "{} {}", self.kind, self.effect.as_deref().unwrap_or_default())?,
        }
        write!(f, ": {}", self.error.as_deref().unwrap_or("waits behind the previous input"))
    }
}

//! The event lock file, which detects accidental changes of stored forms.
//!
//! Owns: its format (one JSON object a line, for each version of each event and for each process
//! manager) and the comparison. Invariant: a locked version stays unchanged and readable. Commit
//! the file.

mod processes;

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    env, fs, io,
    path::Path,
};

use gesta_store::ContentType;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::processes::ProcessLine;
use crate::{DecodeError, EventData, ReadError, Registry, TypeShape};

/// The environment variable that allows adding to the lock file.
const UPDATE: &str = "GESTA_UPDATE_LOCK";

/// Compares the events of a program with the lock file next to its source.
///
/// Fails if a locked version has changed fields, types or serde attributes; if a type at any depth
/// within it lost or renamed a field or variant; if its JSON schema has changed although its type
/// has not, as when a field becomes required; if it no longer decodes, or no longer decodes a
/// content type that it was written as; if a locked example encodes differently; or if a version is
/// not locked yet. `GESTA_UPDATE_LOCK=1` in the environment adds new versions, new content types,
/// and new variants and optional fields of nested types; it never changes existing content. To
/// change an event that was never stored, delete its line. Lines written before nested types or
/// schemas were locked lack them; the next update adds them.
///
/// Types that hide their shape from serde (untagged, internally or adjacently tagged, flattened)
/// are covered by examples alone: give one for each of their variants.
///
/// ```
/// use gesta::{Registry, prelude::*, testing::assert_events_locked};
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(name = "door-opened")]
/// struct DoorOpened {
///     key: String,
/// }
///
/// #[derive(EventSet, Clone)]
/// enum DoorEvent {
///     Opened(DoorOpened),
/// }
///
/// # let file = std::env::temp_dir().join(format!("gesta-{}.lock", std::process::id()));
/// # std::fs::write(&file, r#"{"event":"door-opened","version":1,"shape":"{key: String}"}"#)?;
/// assert_events_locked(&file, &Registry::of::<DoorEvent>());
/// # std::fs::remove_file(&file)?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Panics
/// If the events differ from the lock file, with all differences.
#[track_caller]
pub fn assert_events_locked(file: impl AsRef<Path>, registry: &Registry) {
    let update = env::var_os(UPDATE).is_some_and(|value| value == "1");
    if let Err(problems) = check(file.as_ref(), registry, update) {
        panic!("{} differs from the program: {}", file.as_ref().display(), problems.join("; "));
    }
}

/// One locked version of an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    event: String,
    version: u16,
    shape: String,
    /// Each place of its JSON, with the kind of value.
    #[serde(default, skip_serializing_if = "TypeShape::is_empty")]
    types: TypeShape,
    /// JSON schema of its data.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    schema: Value,
    /// Content types that it is or was written as, besides JSON.
    #[serde(default, rename = "contentTypes", skip_serializing_if = "BTreeSet::is_empty")]
    content_types: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    examples: Vec<Value>,
}

type Lines = BTreeMap<(String, u16), Line>;

/// The content of the lock file.
#[derive(Clone, Debug, Default, PartialEq)]
struct Locked {
    events: Lines,
    processes: BTreeMap<String, ProcessLine>,
}

/// The member that distinguishes the line of a process manager from that of an event.
#[derive(Deserialize)]
struct LineKind {
    process: Option<String>,
}

fn check(file: &Path, registry: &Registry, update: bool) -> Result<(), Vec<String>> {
    registry.check().map_err(|error| vec![error.to_string()])?;
    let mut locked = read(file).map_err(|error| vec![error.to_string()])?;
    let mut problems: Vec<String> =
        locked.events.values().flat_map(|line| differences(line, registry)).collect();
    // Process managers store types as well: timers and commands.
    let known = registry.processes();
    let of_process = |line: &ProcessLine| line.differences(known.get(line.process.as_str()));
    problems.extend(locked.processes.values().flat_map(of_process));
    let before = locked.clone();
    let new = add_new(&mut locked.events, registry);
    let new_processes = add_new_processes(&mut locked.processes, registry);
    // Never update a file with conflicts, since that could hide them.
    if update && problems.is_empty() && locked != before {
        return write(file, &locked).map_err(|error| vec![error.to_string()]);
    }
    let unlocked =
        |(event, version)| format!("{event} version {version} is not locked; {UPDATE}=1 adds it");
    problems.extend(new.into_iter().map(unlocked));
    problems.extend(new_processes.into_iter().map(|process| {
        format!("the stored types of process {process} are not locked; {UPDATE}=1 adds it")
    }));
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Returns the differences between a line and the current events.
fn differences(line: &Line, registry: &Registry) -> Vec<String> {
    let Line { event, version, .. } = line;
    let versions = registry.versions(event);
    let Some(today) = versions.iter().find(|known| known.version == *version) else {
        return vec![format!("{event} version {version} is locked, but no longer decodes")];
    };
    let mut problems = Vec::new();
    if today.shape != line.shape {
        let (now, then) = (today.shape, &line.shape);
        problems.push(format!("{event} version {version} is {now}, but is locked as {then}"));
    }
    let Locking { types, schema, .. } = types_of(registry, event, *version);
    // A line from before shapes were locked has nothing to compare with.
    let broken = if line.types.is_empty() { Vec::new() } else { types.breaks(&line.types) };
    problems.extend(
        broken.into_iter().map(|broken| {
            format!("{event} version {version} no longer matches its lock: {broken}")
        }),
    );
    // A type that has grown has another schema, too. Lines from before schemas were locked have
    // none.
    if types == line.types && !line.schema.is_null() && schema != line.schema {
        let then = &line.schema;
        problems.push(format!(
            "{event} version {version} has the JSON schema {schema}, but is locked with {then}"
        ));
    }
    problems.extend(unread_content_types(line, registry));
    let newest = versions.last().is_some_and(|last| last.version == *version);
    problems
        .extend(line.examples.iter().filter_map(|example| reread(line, example, newest, registry)));
    problems
}

/// Returns a problem for each locked content type that the program does not decode any more.
fn unread_content_types(line: &Line, registry: &Registry) -> Vec<String> {
    let Line { event, version, content_types, .. } = line;
    let is_unread = |name: &&String| {
        // Codecs are asked for the content type first, so no data is needed.
        ContentType::new(name.as_str()).map_or(true, |content_type| {
            let data = EventData { content_type: &content_type, bytes: &[] };
            let read = registry.read(event, *version, data);
            matches!(read, Err(ReadError::Decode(DecodeError::UnknownContentType { .. })))
        })
    };
    let unread = content_types.iter().filter(is_unread);
    let problem = |content_type| {
        format!("{event} version {version} was written as {content_type}, which no codec reads")
    };
    unread.map(problem).collect()
}

/// The parts of a line that are traced.
#[derive(Default)]
struct Locking {
    types: TypeShape,
    schema: Value,
    /// The content type, if that is not JSON.
    content_types: BTreeSet<String>,
}

/// Returns the full shape of a version, its JSON schema, and its content type.
fn types_of(registry: &Registry, event: &str, version: u16) -> Locking {
    let versions = registry.type_shapes(event);
    let Some(known) = versions.into_iter().find(|known| known.version == version) else {
        return Locking::default();
    };
    let is_json = known.content_type == ContentType::JSON.as_str();
    let other = (!is_json).then(|| known.content_type.to_owned());
    let (types, schema) = (known.shape, known.schema);
    Locking { types, schema, content_types: other.into_iter().collect() }
}

/// Decodes an example like stored data. In the current version it must encode to the same JSON.
fn reread(line: &Line, example: &Value, newest: bool, registry: &Registry) -> Option<String> {
    let Line { event, version, .. } = line;
    match registry.read(event, *version, example.to_string().as_str().into()) {
        Err(error) => Some(format!("{event} version {version}, {example}: {error}")),
        Ok(today) if newest && today != *example => {
            Some(format!("{event} version {version}, {example} would be written as {today}"))
        }
        Ok(_) => None,
    }
}

/// Adds missing versions, examples of a version without any, and additions to nested types. Returns
/// the versions that were missing from the lock file.
fn add_new(locked: &mut Lines, registry: &Registry) -> Vec<(String, u16)> {
    let mut new = Vec::new();
    for event in registry.names() {
        let versions = registry.versions(event);
        for (place, known) in versions.iter().enumerate() {
            let newest = place + 1 == versions.len();
            // Examples are in the current form, which older versions do not decode.
            let examples = if newest { registry.examples(event).to_vec() } else { Vec::new() };
            let version = known.version;
            let Locking { types, schema, content_types } = types_of(registry, event, version);
            let today = Line {
                event: event.to_owned(),
                version,
                shape: known.shape.to_owned(),
                types,
                schema,
                content_types,
                examples,
            };
            let key = (event.to_owned(), version);
            let is_new = match locked.entry(key.clone()) {
                Entry::Vacant(vacant) => {
                    vacant.insert(today);
                    true
                }
                Entry::Occupied(mut line) => grow(line.get_mut(), today),
            };
            if is_new {
                new.push(key);
            }
        }
    }
    new
}

/// Adds missing processes and additions to the others. Returns their names.
fn add_new_processes(
    locked: &mut BTreeMap<String, ProcessLine>,
    registry: &Registry,
) -> Vec<&'static str> {
    let mut new = Vec::new();
    for (process, shapes) in registry.processes() {
        let line = match locked.get(process) {
            Some(known) => known.grown(&shapes),
            None => Some(ProcessLine::of(process, &shapes)),
        };
        if let Some(line) = line {
            locked.insert(process.to_owned(), line);
            new.push(process);
        }
    }
    new
}

/// Adds missing content to a line, and returns whether it must be locked. A line from before nested
/// types were locked passes without them.
fn grow(line: &mut Line, today: Line) -> bool {
    let had_types = !line.types.is_empty();
    let has_grown = line.types != today.types;
    line.types = today.types;
    line.schema = today.schema;
    let is_encoded_anew = !line.content_types.is_superset(&today.content_types);
    line.content_types.extend(today.content_types);
    let lacks_examples = line.examples.is_empty() && !today.examples.is_empty();
    if lacks_examples {
        line.examples = today.examples;
    }
    lacks_examples || is_encoded_anew || had_types && has_grown
}

fn read(file: &Path) -> io::Result<Locked> {
    let text = match fs::read_to_string(file) {
        // A missing file is an empty one, so that the first update creates it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    let mut locked = Locked::default();
    for line in text.lines() {
        let LineKind { process } = serde_json::from_str(line)?;
        if let Some(process) = process {
            locked.processes.insert(process, serde_json::from_str(line)?);
            continue;
        }
        let line: Line = serde_json::from_str(line)?;
        locked.events.insert((line.event.clone(), line.version), line);
    }
    Ok(locked)
}

fn write(file: &Path, locked: &Locked) -> io::Result<()> {
    let events = locked.events.values().map(serde_json::to_string);
    let processes = locked.processes.values().map(serde_json::to_string);
    let mut text = String::new();
    for line in events.chain(processes) {
        text.push_str(&line?);
        text.push('\n');
    }
    fs::write(file, text)
}

//! Parameters of paths and queries, and the values that a request gives them.
//!
//! Owns: [`Parameter`] and [`Arguments`]. Invariants: a request with an unknown parameter is
//! refused, and so is one that gives a parameter twice which takes one value. A handler can ask for
//! a parameter only if its endpoint lists it.

use std::collections::HashMap;

use gesta_store::{RecordedAt, StreamName};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::problem::Problem;

/// The largest number that every JSON reader keeps exactly: 2^53 - 1.
pub(super) const NUMBER_MAX: u64 = (1 << 53) - 1;
/// Maximum number of values of one parameter.
const VALUES_MAX: usize = 1_000;

/// The place of a parameter in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ParameterIn {
    Path,
    Query,
    Header,
}

/// The form of a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum ParameterForm {
    Text,
    /// Any number of texts, each with the name of the parameter.
    Texts,
    /// A whole number within these limits.
    Number(u64, u64),
    OneOf(&'static [&'static str]),
    Flag,
    /// A time with an offset (RFC 3339).
    Time,
    Uuid,
    /// An expected revision.
    Expected,
}

/// A parameter of an endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) place: ParameterIn,
    pub(super) form: ParameterForm,
    pub(super) about: &'static str,
}

const fn query(name: &'static str, form: ParameterForm, about: &'static str) -> Parameter {
    Parameter { name, place: ParameterIn::Query, form, about }
}

const fn path(name: &'static str, form: ParameterForm, about: &'static str) -> Parameter {
    Parameter { name, place: ParameterIn::Path, form, about }
}

use ParameterForm::{Expected, Flag, Number, OneOf, Text, Texts, Time, Uuid};

pub(super) const STREAM: Parameter =
    path("stream", Text, "Name of the stream, percent-encoded: `a/b` is `a%2Fb`.");
pub(super) const EVENT_ID: Parameter = path("id", Uuid, "Id of the event.");
pub(super) const FROM: Parameter = query(
    "from",
    Number(0, NUMBER_MAX),
    "Revision to begin at, inclusive. If it is absent, the read begins at the first event, or \
     backwards at the last one.",
);
pub(super) const FROM_TIME: Parameter = query(
    "fromTime",
    Time,
    "Time to begin at (RFC 3339): the first event that was recorded then or later, or backwards \
     the last one that was recorded then or earlier.",
);
pub(super) const AFTER: Parameter = query(
    "after",
    Number(0, NUMBER_MAX),
    "Position after which the read begins, exclusive. If it is absent, it begins at the first \
     event.",
);
pub(super) const BEFORE: Parameter = query(
    "before",
    Number(0, NUMBER_MAX),
    "Position before which a backward read begins, exclusive. If it is absent, it begins at the \
     last event.",
);
pub(super) const AFTER_PLACE: Parameter = query(
    "after",
    Number(0, NUMBER_MAX),
    "Revision (of a stream) or position (of the store) after which the subscription begins, \
     exclusive. If it is absent, it begins at the first event. `Last-Event-ID` is stronger.",
);
pub(super) const AT_END: Parameter =
    query("atEnd", Flag, "Begins after the last event that there is now.");
pub(super) const LAST_EVENT_ID: Parameter = Parameter {
    name: "Last-Event-ID",
    place: ParameterIn::Header,
    form: Number(0, NUMBER_MAX),
    about: "The `id` of the last event that was received; a browser sends it when it reconnects.",
};
pub(super) const INCARNATION: Parameter = query(
    "incarnation",
    Uuid,
    "Incarnation of the store that `after` belongs to, from GET /v1/head. If the store was \
     restored since and has lost that position, the subscription is refused.",
);
pub(super) const DIRECTION: Parameter =
    query("direction", OneOf(&["forwards", "backwards"]), "`forwards` if it is absent.");
/// Maximum number of events, or names, of one answer.
pub(super) const LIMIT_MAX: u64 = 1_000;
/// The same, if the client names none.
pub(super) const LIMIT_DEFAULT: u64 = 100;
pub(super) const LIMIT: Parameter = query(
    "limit",
    Number(1, LIMIT_MAX),
    "Maximum number of items in the answer; 100 if it is absent. An answer has fewer if its \
     events are large.",
);
/// Maximum number of names that are counted. Counting them reads them.
pub(super) const COUNTED_MAX: u64 = 100_000;
pub(super) const COUNT_LIMIT: Parameter = query(
    "limit",
    Number(1, COUNTED_MAX),
    "Maximum number of streams, and of categories, that are counted, because counting reads their \
     names; 100000 if it is absent.",
);
pub(super) const TYPE: Parameter = query("type", Texts, "Selects events of any of these types.");
pub(super) const TAG: Parameter =
    query("tag", Texts, "Selects events that have all of these tags.");
pub(super) const OF_STREAM: Parameter =
    query("stream", Texts, "Selects events of any of these streams.");
pub(super) const STREAM_PREFIX: Parameter =
    query("streamPrefix", Texts, "Selects streams whose names begin with any of these texts.");
pub(super) const CATEGORY: Parameter = query(
    "category",
    Texts,
    "Selects streams of any of these categories: the part of a name before its first `-`.",
);
pub(super) const TYPE_PREFIX: Parameter =
    query("typePrefix", Texts, "Selects types that begin with any of these texts.");
pub(super) const STREAM_PATTERN: Parameter =
    query("streamPattern", Text, "Selects streams whose names match a regular expression.");
pub(super) const TYPE_PATTERN: Parameter =
    query("typePattern", Text, "Selects types that match a regular expression.");
pub(super) const CORRELATION_ID: Parameter =
    query("correlationId", Text, "Selects events of a conversation.");
pub(super) const CAUSATION_ID: Parameter =
    query("causationId", Text, "Selects events that a command or an event caused.");
pub(super) const HIDDEN: Parameter = query(
    "hidden",
    Flag,
    "Includes events that are deleted or truncated and not yet scavenged. Queries with tags have \
     none.",
);
pub(super) const PREFIX: Parameter = query(
    "prefix",
    Text,
    "Lists names that begin with this text. Streams of the system are listed only if it begins \
     with `$`.",
);
pub(super) const AFTER_NAME: Parameter =
    query("after", Text, "Lists names after this one: `next` of the page before.");
pub(super) const EXPECTED: Parameter = query(
    "expected",
    Expected,
    "Revision that the stream must have, or `any` (if it is absent), `no-stream`, \
     `stream-exists`.",
);
pub(super) const TOMBSTONE: Parameter =
    query("tombstone", Flag, "Forbids the name for ever, in place of a deletion.");

pub(super) const REASON: Parameter = query(
    "reason",
    Text,
    "Why the change is made, in at most 1,000 characters. A server with users records it in the stream \
     `$audit`.",
);
pub(super) const SOURCE: Parameter =
    path("source", Text, "Stream that the group reads, percent-encoded, or `$all`.");
pub(super) const GROUP: Parameter = path("group", Text, "Name of the group, percent-encoded.");
pub(super) const STOP_AT: Parameter = query(
    "stopAt",
    Number(0, NUMBER_MAX),
    "Revision of the parked events to stop before. If it is absent, all that there are now are \
     meant.",
);
pub(super) const PROJECTION: Parameter =
    path("projection", Text, "Name of the projection, percent-encoded.");
pub(super) const PARTITION: Parameter =
    query("partition", Text, "Partition of the state. If it is absent, the state has none.");
pub(super) const ABORT: Parameter =
    query("abort", Flag, "Stops without a last checkpoint, so that events are handled again.");
pub(super) const EMITTED_STREAMS: Parameter = query(
    "emittedStreams",
    Flag,
    "Deletes the streams that the projection emitted to as well, if it tracks them.",
);
pub(super) const CHECKPOINTS: Parameter =
    query("checkpoints", Flag, "Deletes the streams of its checkpoints and states as well.");
pub(super) const SCAVENGE_ID: Parameter = path("id", Uuid, "Id of the scavenge.");
pub(super) const UPKEEP_ID: Parameter = path("id", Uuid, "Id of the verification or the backup.");
pub(super) const BACKUP_NAME: Parameter = query(
    "name",
    Text,
    "Name of the backup: a directory of this name below the one that the operator has set. Letters, \
     digits, `-`, `_` and `.`.",
);
pub(super) const THRESHOLD: Parameter = query(
    "threshold",
    Number(0, 100),
    "Minimum share of a segment that must be reclaimable, in percent. If it is absent, the store \
     decides.",
);
pub(super) const LOGIN: Parameter = path("login", Text, "Login of the user, percent-encoded.");

impl Parameter {
    /// Returns the JSON Schema of a value.
    pub(super) fn schema(&self) -> Value {
        match self.form {
            Text => json!({ "type": "string", "minLength": 1 }),
            Texts => {
                let text = json!({ "type": "string", "minLength": 1 });
                json!({ "type": "array", "items": text, "maxItems": VALUES_MAX })
            }
            Number(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
            OneOf(words) => json!({ "enum": words }),
            Flag => json!({ "type": "boolean" }),
            Time => json!({ "type": "string", "format": "date-time" }),
            Uuid => json!({ "type": "string", "format": "uuid" }),
            Expected => json!({ "$ref": "#/components/schemas/Expected" }),
        }
    }
}

/// The values of one request, by the names of parameters.
#[derive(Clone, Debug)]
pub(super) struct Arguments {
    known: &'static [Parameter],
    values: HashMap<&'static str, Vec<String>>,
}

impl Arguments {
    pub(super) fn new(known: &'static [Parameter]) -> Self {
        Self { known, values: HashMap::new() }
    }

    /// Adds a value of the path or the query.
    pub(super) fn add(
        &mut self,
        place: ParameterIn,
        name: &str,
        value: String,
    ) -> Result<(), Problem> {
        let mut all = self.known.iter().filter(|one| one.place == place);
        let Some(parameter) = all.find(|one| one.name == name) else {
            return Err(self.unknown(name));
        };
        let values = self.values.entry(parameter.name).or_default();
        let max = if matches!(parameter.form, Texts) { VALUES_MAX } else { 1 };
        if values.len() >= max {
            let often = if max == 1 { "once".to_owned() } else { format!("{max} times at most") };
            return Err(Problem::invalid(name, format!("may be given {often}")));
        }
        values.push(value);
        Ok(())
    }

    fn unknown(&self, name: &str) -> Problem {
        let known = self.known.iter().filter(|one| one.place == ParameterIn::Query);
        let known: Vec<_> = known.map(|one| format!("`{}`", one.name)).collect();
        match known.is_empty() {
            true => Problem::invalid(name, "is unknown; this path has no parameters"),
            false => Problem::invalid(name, format!("is unknown; expected {}", known.join(", "))),
        }
    }

    /// Returns the values of a parameter.
    fn all(&self, parameter: &Parameter) -> &[String] {
        let is_listed = self.known.iter().any(|one| one.name == parameter.name);
        debug_assert!(is_listed, "{} is not listed by its endpoint", parameter.name);
        self.values.get(parameter.name).map_or(&[], Vec::as_slice)
    }

    pub(super) fn text(&self, parameter: &Parameter) -> Option<&str> {
        self.all(parameter).first().map(String::as_str)
    }

    pub(super) fn texts(&self, parameter: &Parameter) -> Vec<String> {
        self.all(parameter).to_vec()
    }

    pub(super) fn number(&self, parameter: &Parameter) -> Result<Option<u64>, Problem> {
        let Some(text) = self.text(parameter) else { return Ok(None) };
        let Number(min, max) = parameter.form else {
            unreachable!("{} is no number", parameter.name);
        };
        // `parse` accepts a sign, which is no part of a number here.
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| is_plain && (min..=max).contains(number));
        let refused = || {
            let reason = format!("must be a whole number from {min} to {max}; got `{text}`");
            Problem::invalid(parameter.name, reason)
        };
        number.map(Some).ok_or_else(refused)
    }

    pub(super) fn limit(&self) -> Result<u64, Problem> {
        Ok(self.number(&LIMIT)?.unwrap_or(LIMIT_DEFAULT))
    }

    pub(super) fn is_set(&self, parameter: &Parameter) -> Result<bool, Problem> {
        match self.text(parameter) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => {
                let reason = format!("must be `true` or `false`; got `{other}`");
                Err(Problem::invalid(parameter.name, reason))
            }
        }
    }

    /// Returns `true` for a backward read.
    pub(super) fn is_backward(&self) -> Result<bool, Problem> {
        match self.text(&DIRECTION) {
            None | Some("forwards") => Ok(false),
            Some("backwards") => Ok(true),
            Some(other) => {
                let reason = format!("must be `forwards` or `backwards`; got `{other}`");
                Err(Problem::invalid(DIRECTION.name, reason))
            }
        }
    }

    pub(super) fn time(&self, parameter: &Parameter) -> Result<Option<RecordedAt>, Problem> {
        self.text(parameter).map(|text| time_of(parameter.name, text)).transpose()
    }

    pub(super) fn uuid(&self, parameter: &Parameter) -> Result<Option<uuid::Uuid>, Problem> {
        let Some(text) = self.text(parameter) else { return Ok(None) };
        let refused = |_| Problem::invalid(parameter.name, format!("must be a UUID; got `{text}`"));
        text.parse().map(Some).map_err(refused)
    }

    /// Returns the stream of the path, which may be stored already, under any rule.
    pub(super) fn stream(&self) -> Result<StreamName, Problem> {
        let name = self.text(&STREAM).unwrap_or_default();
        StreamName::stored(name).map_err(|invalid| Problem::invalid_name(STREAM.name, &invalid))
    }
}

/// Reads a time with an offset.
pub(super) fn time_of(field: &str, text: &str) -> Result<RecordedAt, Problem> {
    let refused = || {
        let reason = format!("must be a time such as 2026-01-31T12:00:00Z; got `{text}`");
        Problem::invalid(field, reason)
    };
    let time: Timestamp = text.parse().map_err(|_| refused())?;
    let micros = u64::try_from(time.as_microsecond()).map_err(|_| refused())?;
    Ok(RecordedAt::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Parameter] = &[LIMIT, TAG, HIDDEN, FROM_TIME, DIRECTION];

    fn arguments(pairs: &[(&str, &str)]) -> Result<Arguments, Problem> {
        let mut arguments = Arguments::new(KNOWN);
        for (name, value) in pairs {
            arguments.add(ParameterIn::Query, name, (*value).to_owned())?;
        }
        Ok(arguments)
    }

    fn detail(problem: Problem) -> String {
        problem.to_json()["detail"].as_str().unwrap().to_owned()
    }

    #[test]
    fn an_unknown_or_a_repeated_parameter_is_refused_by_name() {
        assert!(detail(arguments(&[("limits", "1")]).unwrap_err()).contains("expected `limit`"));
        let twice = arguments(&[("limit", "1"), ("limit", "2")]).unwrap_err();
        assert!(detail(twice).starts_with("`limit` may be given once"));
        let tags = arguments(&[("tag", "a:1"), ("tag", "b:2")]).unwrap();
        assert_eq!(tags.texts(&TAG), ["a:1", "b:2"]);
    }

    #[test]
    fn values_of_another_form_are_refused() {
        for limit in ["0", "1001", "-1", "+1", "1.0", "", "many", "99999999999999999999"] {
            assert!(arguments(&[("limit", limit)]).unwrap().limit().is_err(), "{limit}");
        }
        assert_eq!(arguments(&[("limit", "1000")]).unwrap().limit().unwrap(), 1_000);
        assert!(arguments(&[("hidden", "1")]).unwrap().is_set(&HIDDEN).is_err());
        assert!(arguments(&[("direction", "up")]).unwrap().is_backward().is_err());
        for time in ["2026-01-31", "yesterday", "1969-12-31T23:59:59Z"] {
            assert!(arguments(&[("fromTime", time)]).unwrap().time(&FROM_TIME).is_err(), "{time}");
        }
        let time = arguments(&[("fromTime", "1970-01-01T00:00:01.5Z")]).unwrap().time(&FROM_TIME);
        assert_eq!(time.unwrap(), Some(RecordedAt::from_micros(1_500_000)));
    }
}

//! One request, read and checked as far as all endpoints have it in common.
//!
//! Owns: [`NativeCall`], and the reading of bodies. Invariants: a body is JSON without a content
//! coding, within the endpoint's limit of size and within [`BODY_WAIT_MAX`]; a page of a site
//! cannot send one across sites, because a browser asks for this media type first. Not here: values
//! of parameters ([`parameters`](super::parameters)).

use std::{error::Error, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{FromRequestParts as _, RawPathParams, Request},
    http::{HeaderMap, HeaderValue, StatusCode, Version, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use http_body_util::LengthLimitError;
use hyper::upgrade::OnUpgrade;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tonic::{Code, Request as ProtocolCall, Status};

use super::{
    object::Object,
    parameters::{Arguments, Parameter, ParameterIn, REASON},
    problem::{Problem, ProblemCode},
};
use crate::{
    access::{CallSubject, Caller, Peer, Sender},
    groups::Groups,
    node::Node,
    outgoing::{NoRoom, PageRoom, PageTurn, ReaderRoom},
    projections::Projections,
};

/// Maximum time for a body.
const BODY_WAIT_MAX: Duration = Duration::from_secs(60);

/// Maximum length of the reason of a change.
const REASON_CHARS_MAX: usize = 1_000;

/// The pages that describe the interface, made once.
#[derive(Debug)]
pub(super) struct Documents {
    pub(super) openapi: String,
    pub(super) page: String,
}

/// The state of all routes.
#[derive(Clone)]
pub(super) struct NativeState {
    pub(super) node: Node,
    pub(super) work: Work,
    pub(super) documents: Arc<Documents>,
}

/// The work of the server that no call waits for.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) groups: Groups,
    pub(super) projections: Projections,
}

/// A request to an endpoint.
#[derive(Clone)]
pub(super) struct NativeCall {
    pub(super) node: Node,
    pub(super) caller: Caller,
    room: PageRoom,
    peer: Option<Peer>,
    subject: CallSubject,
    pub(super) arguments: Arguments,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) documents: Arc<Documents>,
    pub(super) work: Work,
    pub(super) upgrade: Option<OnUpgrade>,
    pub(super) version: Version,
}

/// The part of an endpoint that reads its requests.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    pub(super) parameters: &'static [Parameter],
    /// Maximum size of the body; 0 if the endpoint has none.
    pub(super) body_bytes_max: usize,
}

impl NativeCall {
    pub(super) async fn read(
        state: NativeState,
        reading: Reading,
        request: Request,
    ) -> Result<Self, Problem> {
        let NativeState { node, work, documents } = state;
        let (mut parts, body) = request.into_parts();
        let arguments = arguments(&mut parts, reading.parameters).await?;
        let body = match reading.body_bytes_max {
            0 => Bytes::new(),
            max => {
                check_media_type(&parts.headers)?;
                read_body(&parts.headers, body, max).await?
            }
        };
        let room: Option<ReaderRoom> = parts.extensions.remove();
        Ok(Self {
            room: PageRoom::new(room.unwrap_or_else(|| node.outgoing().of_reader())),
            node,
            caller: Caller::of(&parts.extensions),
            peer: parts.extensions.get().cloned(),
            subject: CallSubject::of(&parts.extensions),
            arguments,
            headers: parts.headers,
            body,
            documents,
            work,
            upgrade: parts.extensions.remove(),
            version: parts.version,
        })
    }

    /// Returns `true` if a failed attempt is to be made again with this call.
    pub(super) async fn is_to_be_made_again(&self) -> bool {
        self.room.is_to_be_read_again().await
    }

    /// Returns the caller, and where the request came from.
    pub(super) fn sender(&self) -> Sender {
        Sender { caller: self.caller.clone(), peer: self.peer.clone() }
    }

    /// Returns the place where the audit stream learns what a change is about, with the caller's
    /// reason.
    pub(super) fn subject(&self) -> Result<&CallSubject, Problem> {
        if let Some(reason) = self.arguments.text(&REASON) {
            let chars = reason.chars().count();
            if chars > REASON_CHARS_MAX {
                let reason =
                    format!("must have at most {REASON_CHARS_MAX} characters; got {chars}");
                return Err(Problem::invalid(REASON.name, reason));
            }
            self.subject.explain(reason);
        }
        Ok(&self.subject)
    }

    /// Returns a message as a call of the protocol by the same caller, which changes nothing.
    pub(super) fn in_protocol<Message>(&self, message: Message) -> ProtocolCall<Message> {
        let mut request = ProtocolCall::new(message);
        let extensions = request.extensions_mut();
        extensions.insert(self.caller.clone());
        if let Some(peer) = &self.peer {
            extensions.insert(peer.clone());
        }
        request
    }

    /// Returns a message as a call of the protocol that changes something, with the caller's
    /// reason.
    pub(super) fn change<Message>(
        &self,
        message: Message,
    ) -> Result<ProtocolCall<Message>, Problem> {
        let mut request = self.in_protocol(message);
        request.extensions_mut().insert(self.subject()?.clone());
        Ok(request)
    }

    /// Returns the body as a value of this type.
    pub(super) fn json<'b, Asked: Deserialize<'b>>(&'b self) -> Result<Asked, Problem> {
        parse(&self.body)
    }

    /// Reads the body, which may be large.
    pub(super) async fn read_body<Asked: Send + 'static>(
        &self,
        read: impl FnOnce(&[u8]) -> Result<Asked, Problem> + Send + 'static,
    ) -> Result<Asked, Problem> {
        let body = self.body.clone();
        self.node.large_work().run(body.len(), move || read(&body)).await
    }

    /// Waits for the turn to read a page. An endpoint with payloads takes one before it looks for
    /// events.
    pub(super) async fn turn(&self) -> Result<PageTurn, Problem> {
        self.room.turn().await.map_err(no_room)
    }

    /// Answers with JSON that is made of payloads of this size, once there is memory for it. The
    /// turn ends before the JSON is made.
    pub(super) async fn payload_answer(
        &self,
        turn: PageTurn,
        bytes: usize,
        make: impl FnOnce() -> Result<Vec<u8>, serde_json::Error> + Send + 'static,
    ) -> Result<Response, Problem> {
        // Base64 has four characters for three bytes.
        self.room.keep(turn, bytes.saturating_add(bytes / 3)).await.map_err(no_room)?;
        let json = self.node.large_work().run(bytes, make).await;
        self.room.memory().shrink(json.as_ref().map_or(0, Vec::len));
        let mut answer = answer_of(json)?;
        answer.extensions_mut().insert(self.room.memory().clone());
        Ok(answer)
    }
}

/// Answers a change that has nothing to tell but its success.
pub(super) fn done<Nothing>(answer: Result<Nothing, Status>) -> Result<Response, Problem> {
    match answer {
        Ok(_) => {
            let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
            Ok((StatusCode::NO_CONTENT, headers).into_response())
        }
        Err(refused) => Err(Problem::of_change(&refused)),
    }
}

fn no_room(full: NoRoom) -> Problem {
    Problem::new(ProblemCode::Overloaded, full.to_string())
}

/// Parses a complete JSON object. The problem names the field.
pub(super) fn parse<'b, Asked: Deserialize<'b>>(json: &'b [u8]) -> Result<Asked, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let asked = serde_path_to_error::deserialize(&mut deserializer);
    let Object(asked) = asked.map_err(|error| {
        let (path, inner) = (error.path().to_string(), error.inner());
        // Text that is no JSON has no meaningful path.
        if inner.is_syntax() || inner.is_eof() {
            return not_json(inner);
        }
        let reason = inner.to_string();
        let place = format!(" at line {} column {}", inner.line(), inner.column());
        let reason = reason.strip_suffix(&place).unwrap_or(&reason);
        let field = field_of(&path, reason);
        Problem::new(ProblemCode::Invalid, format!("`{field}`: {reason}")).with("field", field)
    })?;
    // Anything after the value is an error, too.
    deserializer.end().map_err(|error| not_json(&error))?;
    Ok(asked)
}

/// Returns the path of a field. The path of a missing, unknown or duplicate field may end at its
/// object, and the reason names the field in backquotes.
fn field_of(path: &str, reason: &str) -> String {
    let starts = ["missing field `", "unknown field `", "duplicate field `"];
    let named = starts.iter().find_map(|start| reason.strip_prefix(start)?.split('`').next());
    match (path, named) {
        (".", None) => "body".to_owned(),
        (".", Some(name)) => name.to_owned(),
        (path, Some(name)) if path.rsplit('.').next() != Some(name) => format!("{path}.{name}"),
        (path, _) => path.to_owned(),
    }
}

fn not_json(error: &serde_json::Error) -> Problem {
    Problem::invalid("body", format!("must be JSON: {error}"))
}

async fn arguments(parts: &mut Parts, known: &'static [Parameter]) -> Result<Arguments, Problem> {
    let mut arguments = Arguments::new(known);
    let params = RawPathParams::from_request_parts(parts, &()).await;
    let params = params.map_err(|_| Problem::invalid("path", "must be percent-encoded UTF-8"))?;
    for (name, value) in &params {
        arguments.add(ParameterIn::Path, name, value.to_owned())?;
    }
    let query = parts.uri.query().unwrap_or_default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        // The parser replaces what is not UTF-8.
        if value.contains('\u{FFFD}') && !query.to_ascii_uppercase().contains("%EF%BF%BD") {
            return Err(Problem::invalid(&name, "must be percent-encoded UTF-8"));
        }
        arguments.add(ParameterIn::Query, &name, value.into_owned())?;
    }
    Ok(arguments)
}

/// Checks that a body is JSON in UTF-8, without a content coding.
fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let unsupported = |detail: String| Problem::new(ProblemCode::UnsupportedMediaType, detail);
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let content_type: &str = text(header::CONTENT_TYPE).unwrap_or_default();
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(unsupported(match essence {
            "" => "`Content-Type` must be application/json; it is missing".to_owned(),
            other => format!("`Content-Type` must be application/json; got {other}"),
        }));
    }
    let is_utf8 = |part: &str| match part.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    };
    if let Some(other) = parts.find(|part| !is_utf8(part)) {
        return Err(unsupported(format!("the charset of the body must be utf-8; got {other}")));
    }
    match headers.get(header::CONTENT_ENCODING) {
        Some(coding) if coding != "identity" => {
            Err(unsupported("the body must have no `Content-Encoding`".to_owned()))
        }
        _ => Ok(()),
    }
}

async fn read_body(headers: &HeaderMap, body: Body, max: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("the body is larger than the limit of {max} bytes");
        Problem::new(ProblemCode::TooLarge, detail).with("limit", max)
    };
    // A declared length refuses the body before anything of it is read.
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if length.and_then(|text| text.parse().ok()).is_some_and(|bytes: u64| bytes > max as u64) {
        return Err(too_large());
    }
    match timeout(BODY_WAIT_MAX, to_bytes(body, max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            let error = error.into_inner();
            Err(match refusal_within(error.as_ref()) {
                _ if error.is::<LengthLimitError>() => too_large(),
                Some(refused) if refused.code() == Code::ResourceExhausted => {
                    Problem::new(ProblemCode::Overloaded, refused.message())
                }
                _ => Problem::invalid("body", "ended before all of it had arrived"),
            })
        }
        Err(_) => {
            let seconds = BODY_WAIT_MAX.as_secs();
            let detail = format!("the body did not arrive within {seconds} s");
            Err(Problem::new(ProblemCode::BodyTooLate, detail))
        }
    }
}

/// Returns the refusal of a body's bytes, which the layers above have wrapped.
fn refusal_within<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Status> {
    std::iter::successors(Some(error), |&error| error.source())
        .find_map(|error| error.downcast_ref::<Status>())
}

/// Answers with JSON, which no cache may keep.
pub(super) fn json_answer(answer: &impl Serialize) -> Result<Response, Problem> {
    answer_of(serde_json::to_vec(answer))
}

fn answer_of(json: Result<Vec<u8>, serde_json::Error>) -> Result<Response, Problem> {
    let mut json = json.map_err(|error| Problem::new(ProblemCode::Internal, error.to_string()))?;
    // A terminal begins its prompt on a line of its own.
    json.push(b'\n');
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((StatusCode::OK, headers, json).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[expect(dead_code, reason = "only its errors are looked at")]
        inner: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "only its errors are looked at")]
        number: u64,
    }

    fn refused(json: &str) -> (String, String) {
        let problem = parse::<Outer>(json.as_bytes()).unwrap_err().to_json();
        let text = |name: &str| problem[name].as_str().unwrap().to_owned();
        (text("field"), text("detail"))
    }

    #[test]
    fn a_wrong_value_is_named_by_its_path() {
        let (field, detail) = refused(r#"{"inner":[{"number":1},{"number":"x"}]}"#);
        assert_eq!(field, "inner[1].number");
        assert!(detail.contains("expected u64") && !detail.contains("line"), "{detail}");
        assert_eq!(refused(r#"{"inner":[],"more":1}"#).0, "more");
        assert_eq!(refused(r#"{"inner":[{}]}"#).0, "inner[0].number");
        for text in ["", "{", "[] []", "[[]]", r#"{"inner":[]} x"#] {
            assert_eq!(refused(text).0, "body", "{text}");
        }
    }

    #[test]
    fn only_plain_json_is_read() {
        let check = |pairs: &[(header::HeaderName, &'static str)]| {
            let pairs =
                pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
            check_media_type(&pairs.collect()).is_ok()
        };
        assert!(check(&[(header::CONTENT_TYPE, "application/json")]));
        assert!(check(&[(header::CONTENT_TYPE, "Application/JSON; charset=\"UTF-8\"")]));
        assert!(!check(&[]));
        assert!(!check(&[(header::CONTENT_TYPE, "text/plain")]));
        assert!(!check(&[(header::CONTENT_TYPE, "application/json; charset=latin1")]));
        let coded = (header::CONTENT_ENCODING, "gzip");
        assert!(!check(&[(header::CONTENT_TYPE, "application/json"), coded]));
    }
}

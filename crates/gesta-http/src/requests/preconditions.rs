//! Conditional requests (RFC 9110, section 13): entity tags, `If-Match`, `If-None-Match`, 304.
//!
//! Owns: parsing the two headers, and evaluating them for creations, changes and reads. An entity
//! tag names a revision and the store's incarnation, so a tag from before a restore matches nothing
//! afterwards, even if the revision exists again. A revision alone (`"7"`) matches in every
//! incarnation.
//!
//! Invariants:
//! - A weak tag never matches in `If-Match`.
//! - A malformed header is refused, not ignored.
//!
//! Not here: the atomic check of the revision, which the append does.

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use gesta::{
    Gesta, Revision, StreamName,
    store::{Incarnation, StoreError, StreamState},
};
use serde_json::{Value, json};

use crate::{
    GestaState, Problem,
    wire::headers::{value, whole_number},
};

/// The conditions of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Preconditions {
    if_match: Option<Condition>,
    if_none_match: Option<Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Any,
    OneOf(Vec<EntityTag>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct EntityTag {
    is_weak: bool,
    text: String,
}

impl Preconditions {
    const fn are_given(&self) -> bool {
        self.if_match.is_some() || self.if_none_match.is_some()
    }

    /// Reads both headers.
    ///
    /// # Errors
    /// A 400 if one of them is malformed.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        Ok(Self {
            if_match: read(headers, header::IF_MATCH, "If-Match")?,
            if_none_match: read(headers, header::IF_NONE_MATCH, "If-None-Match")?,
        })
    }

    /// Checks a request that creates a resource, or that does not change exactly one.
    ///
    /// # Errors
    /// A 412 for any `If-Match`: there is no resource that it could match.
    pub(crate) fn check_creation(&self) -> Result<(), Problem> {
        match &self.if_match {
            Some(_) => Err(failed(
                "`If-Match` failed: this request changes no existing resource; send it \
                 without `If-Match`",
            )),
            None => Ok(()),
        }
    }

    /// Returns whether an `AlreadyExists` of this request fails `If-None-Match: *`.
    pub(crate) fn wants_nothing_there(&self) -> bool {
        self.if_none_match == Some(Condition::Any)
    }

    /// Returns whether a `NotFound` of this request fails `If-Match`.
    pub(crate) fn wants_something_there(&self) -> bool {
        self.if_match.is_some()
    }

    /// Checks a request that changes the resource of a stream. Returns the expected revision for
    /// the command, or `None` if any will do.
    ///
    /// # Errors
    /// A 412 if a condition fails.
    pub(crate) async fn check_change(
        &self,
        gesta: &Gesta,
        stream: &StreamName,
    ) -> Result<Option<Revision>, Problem> {
        let mut wanted = None;
        match &self.if_match {
            None => {}
            Some(Condition::Any) if head(gesta, stream).await?.is_none() => {
                return Err(failed(NOTHING_THERE));
            }
            Some(Condition::Any) => {}
            Some(Condition::OneOf(tags)) => wanted = Some(one_of(gesta, stream, tags).await?),
        }
        let Some(unwanted) = &self.if_none_match else { return Ok(wanted) };
        let head = head(gesta, stream).await?;
        let incarnation = incarnation(gesta).await?;
        if head.is_some_and(|head| unwanted.names(head, incarnation, Comparison::Weak)) {
            let problem = failed("`If-None-Match` failed: it lists the current revision");
            return Err(problem.at_revision(head));
        }
        Ok(wanted)
    }
}

/// Selects the expected revision from a list of entity tags. The append checks it atomically.
async fn one_of(
    gesta: &Gesta,
    stream: &StreamName,
    tags: &[EntityTag],
) -> Result<Revision, Problem> {
    let incarnation = incarnation(gesta).await?;
    let mut revisions = tags.iter().filter(|tag| !tag.is_weak);
    let revisions: Vec<_> =
        revisions.by_ref().filter_map(|tag| tag.revision_in(incarnation)).collect();
    match revisions.as_slice() {
        // The head is not compared here: a retried command must get its first response, although
        // the head has moved since.
        [only] => Ok(*only),
        several => {
            // The current revision if it is listed. Else the latest, which the append then refuses
            // with the current revision in the problem.
            let head = head(gesta, stream).await?;
            let matching = several.iter().find(|revision| Some(**revision) == head);
            let latest = several.iter().max();
            matching.or(latest).copied().ok_or_else(|| {
                let detail =
                    "`If-Match` failed: none of its entity tags is a strong ETag of this resource";
                let status = StatusCode::PRECONDITION_FAILED;
                Problem::new(status, "revision-mismatch", detail).at_revision(head)
            })
        }
    }
}

const NOTHING_THERE: &str = "`If-Match` failed: the resource does not exist";

/// Returns the problem of a failed condition.
pub(crate) fn failed(detail: &str) -> Problem {
    Problem::new(StatusCode::PRECONDITION_FAILED, "precondition-failed", detail)
}

async fn head(gesta: &Gesta, stream: &StreamName) -> Result<Option<Revision>, StoreError> {
    let known = gesta.store().describe_stream(stream).await?;
    Ok(known.head.filter(|_| known.state == StreamState::Live))
}

async fn incarnation(gesta: &Gesta) -> Result<Incarnation, StoreError> {
    Ok(gesta.store().head().await?.incarnation)
}

/// Comparison of entity tags (RFC 9110, section 8.8.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

impl Condition {
    /// Returns whether a response has an entity tag of this condition, by the weak comparison.
    fn has_tag_of(&self, response: &Response) -> bool {
        let tag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
        let Some(tag) = tag else { return false };
        let text = tag.trim_start_matches("W/").trim_matches('"');
        match self {
            Self::Any => true,
            Self::OneOf(tags) => tags.iter().any(|tag| tag.text == text),
        }
    }

    fn names(&self, revision: Revision, of: Incarnation, comparison: Comparison) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(tags) => tags
                .iter()
                .filter(|tag| comparison == Comparison::Weak || !tag.is_weak)
                .any(|tag| tag.revision_in(of) == Some(revision)),
        }
    }
}

impl EntityTag {
    /// Returns the revision, or `None` if the tag is foreign or of another incarnation.
    fn revision_in(&self, incarnation: Incarnation) -> Option<Revision> {
        let number = match self.text.split_once('-') {
            None => self.text.as_str(),
            Some((number, of)) => Some(number).filter(|_| of == short(incarnation))?,
        };
        whole_number(number).map(Revision::new)
    }
}

/// Returns the part of an incarnation used in entity tags: its last eight hexadecimal digits.
fn short(incarnation: Incarnation) -> String {
    let text = incarnation.as_uuid().simple().to_string();
    text.chars().skip(24).collect()
}

/// Returns the entity tag of a revision in an incarnation.
fn full(revision: Revision, incarnation: Incarnation) -> HeaderValue {
    value(&format!("\"{revision}-{}\"", short(incarnation)))
}

fn read(
    headers: &HeaderMap,
    name: HeaderName,
    shown: &'static str,
) -> Result<Option<Condition>, Problem> {
    let mut lines = Vec::new();
    for line in headers.get_all(name) {
        lines.push(line.to_str().map_err(|_| malformed(shown))?);
    }
    if lines.is_empty() {
        return Ok(None);
    }
    // A list may be spread over several header lines (RFC 9110, section 5.3).
    parse(&lines.join(",")).map(Some).ok_or_else(|| malformed(shown))
}

fn malformed(shown: &'static str) -> Problem {
    Problem::invalid(shown, "must be `*` or a list of entity tags in double quotes, such as \"7\"")
}

fn parse(text: &str) -> Option<Condition> {
    if text.trim_matches([' ', '\t']) == "*" {
        return Some(Condition::Any);
    }
    let mut tags = Vec::new();
    let mut rest = text;
    // Not split at commas: a tag may contain one. Empty list elements are allowed (RFC 9110,
    // section 5.6.1).
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            break;
        }
        let unmarked = rest.strip_prefix("W/");
        let is_weak = unmarked.is_some();
        let quoted = unmarked.unwrap_or(rest).strip_prefix('"')?;
        let (tag, after) = quoted.split_once('"')?;
        // `etagc` excludes spaces (RFC 9110, section 8.8.3).
        if !tag.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        tags.push(EntityTag { is_weak, text: tag.to_owned() });
        rest = after.trim_start_matches([' ', '\t']);
        if !rest.is_empty() && !rest.starts_with(',') {
            return None;
        }
    }
    (!tags.is_empty()).then_some(Condition::OneOf(tags))
}

/// Middleware that adds the incarnation to a response's entity tag and evaluates the conditions of
/// reads: 304 for a current cached response, 412 for a failed `If-Match`.
pub(crate) async fn conditional(
    State(state): State<GestaState>,
    request: Request,
    next: Next,
) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    // Read before the handler runs: a malformed condition must refuse a change, not follow it.
    let conditions = match Preconditions::of(request.headers()) {
        Ok(conditions) => conditions,
        Err(problem) => return problem.into_response(),
    };
    let mut response = next.run(request).await;
    // `If-Match` on a missing resource is a failed condition, not a 404 (RFC 9110, section 13.1.1).
    if is_read && response.status() == StatusCode::NOT_FOUND && conditions.wants_something_there() {
        return failed(NOTHING_THERE).into_response();
    }
    // Without the tag of a revision, the only condition that can hold is that of a cache.
    let Some(revision) = revision_of(&response) else {
        let is_known = is_read
            && response.status() == StatusCode::OK
            && conditions.if_none_match.is_some_and(|known| known.has_tag_of(&response));
        return if is_known { not_modified(response) } else { response };
    };
    let incarnation = match incarnation(state.gesta()).await {
        Ok(incarnation) => incarnation,
        Err(error) if is_read && conditions.are_given() => {
            return Problem::from(error).into_response();
        }
        Err(error) => {
            // The handler has answered: a change was recorded, and an error would deny it.
            tracing::debug!(%error, "a response has no entity tag");
            response.headers_mut().remove(header::ETAG);
            return response;
        }
    };
    response.headers_mut().insert(header::ETAG, full(revision, incarnation));
    // Changes have evaluated their conditions before the append.
    if !is_read || response.status() != StatusCode::OK {
        return response;
    }
    let names =
        |condition: &Condition, comparison| condition.names(revision, incarnation, comparison);
    if conditions.if_match.is_some_and(|wanted| !names(&wanted, Comparison::Strong)) {
        let detail = "`If-Match` failed: the resource is at another revision";
        return failed(detail).at_revision(Some(revision)).into_response();
    }
    if conditions.if_none_match.is_some_and(|known| names(&known, Comparison::Weak)) {
        return not_modified(response);
    }
    response
}

/// Returns the revision in the entity tag set by the handler.
fn revision_of(response: &Response) -> Option<Revision> {
    let tag = response.headers().get(header::ETAG)?.to_str().ok()?;
    let number = tag.strip_prefix('"')?.strip_suffix('"')?;
    whole_number(number).map(Revision::new)
}

fn not_modified(mut response: Response) -> Response {
    // A 304 has the headers of a 200 except those of the body (RFC 9110, section 15.4.5).
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    *response.body_mut() = Body::empty();
    for of_the_body in [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONTENT_ENCODING] {
        response.headers_mut().remove(of_the_body);
    }
    response
}

/// Returns the schema of `If-Match` and `If-None-Match`.
pub(crate) fn condition_schema() -> Value {
    json!({ "anyOf": [
        { "type": "string", "pattern": "^[ \t,]*(W/)?\"[!#-~]*\"([ \t]*,[ \t]*((W/)?\"[!#-~]*\")?)*$" },
        { "const": "*" },
    ], "examples": ["\"7\"", "*"] })
}

/// Returns the schema of a response's `ETag`.
pub(crate) fn etag_schema() -> Value {
    json!({ "type": "string", "pattern": "^\"(0|[1-9][0-9]*)-[0-9a-f]{8}\"$" })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn tag(text: &str) -> EntityTag {
        EntityTag { is_weak: false, text: text.to_owned() }
    }

    #[test]
    fn a_condition_is_a_star_or_a_list_of_quoted_tags() {
        let weak = EntityTag { is_weak: true, text: "7".to_owned() };
        for (text, tags) in [
            ("\"7\"", vec![tag("7")]),
            ("W/\"7\"", vec![weak.clone()]),
            (" \"6\" ,, W/\"7\",", vec![tag("6"), weak]),
            ("\"a,b\"", vec![tag("a,b")]),
            ("\"\"", vec![tag("")]),
        ] {
            assert_eq!(parse(text), Some(Condition::OneOf(tags)), "{text}");
        }
        assert_eq!(parse(" * "), Some(Condition::Any));
        for odd in
            ["", "7", "\"7", "7\"", "w/\"7\"", "\"6\" \"7\"", "*, \"7\"", "\"a b\"", ",", "**"]
        {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_tag_of_another_incarnation_or_of_another_server_names_no_revision() {
        let (now, before) = (Incarnation::new(Uuid::from_u128(1)), Incarnation::new(Uuid::nil()));
        let revision = Revision::new(7);
        let written = full(revision, now);
        let text = written.to_str().unwrap().trim_matches('"').to_owned();
        assert_eq!(tag(&text).revision_in(now), Some(revision));
        assert_eq!(tag(&text).revision_in(before), None);
        assert_eq!(tag("7").revision_in(before), Some(revision), "without an incarnation: any");
        for odd in ["07", "7-gzip", "", "-1", "7-", "x"] {
            assert_eq!(tag(odd).revision_in(now), None, "{odd}");
        }
    }
}

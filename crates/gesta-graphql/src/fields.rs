//! Fields of `Query`, `Mutation` and `Subscription`: operations with their arguments and answers.
//!
//! Owns: [`RootField`], made from an [`HttpOperation`], and its calls.
//!
//! Invariants:
//! - A rejection of a command is a member of its result; every other problem is an error.
//! - Parameters and body are passed on as they are: the HTTP interface checks them.

use std::collections::BTreeMap;

use async_graphql::{Value as GraphValue, dynamic::ObjectAccessor};
use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use crate::{
    caller::{CallAnswer, CallParts, Caller},
    failure::Failure,
    names,
    operations::{HttpOperation, Kind, ParameterPlace},
    types::{ObjectField, ObjectType, Shape, Side, TypeBook, Typed},
    values::given,
};

/// The name of the type of rejections that an operation does not list.
pub(crate) const OTHER_REJECTION: &str = "OtherRejection";
/// The name of the answer of operations whose HTTP answer has no body.
const DONE: &str = "Done";
/// The type of events in a feed.
const EVENT: &str = "EventDetails";

/// Place of an argument in the call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ArgumentPlace {
    Path,
    Query,
    Body,
    AtLeast,
    IdempotencyKey,
    ExpectedRevision,
}

/// An argument of a field.
#[derive(Clone, Debug)]
pub(crate) struct Argument {
    pub(crate) name: String,
    /// Name of the parameter in HTTP.
    parameter: String,
    place: ArgumentPlace,
    pub(crate) description: String,
    pub(crate) typed: Typed,
}

impl Argument {
    /// Returns the name of the parameter in HTTP; an empty text if it is no parameter.
    pub(crate) fn parameter(&self) -> &str {
        &self.parameter
    }

    /// Returns whether it is a header in HTTP.
    pub(crate) fn is_header(&self) -> bool {
        match self.place {
            ArgumentPlace::AtLeast
            | ArgumentPlace::IdempotencyKey
            | ArgumentPlace::ExpectedRevision => true,
            ArgumentPlace::Path | ArgumentPlace::Query | ArgumentPlace::Body => false,
        }
    }

    /// Returns the value among these, or `None` for an absent one.
    pub(crate) fn given(&self, arguments: &ObjectAccessor<'_>, book: &TypeBook) -> Option<Value> {
        let value = arguments.get(&self.name)?;
        // An absent parameter and null are the same.
        let is_given = *value.as_value() != GraphValue::Null;
        is_given.then(|| given(value.as_value(), &self.typed.shape, book))
    }
}

/// The result of a command: a union of its success and its rejections.
#[derive(Clone, Debug)]
pub(crate) struct CommandResult {
    pub(crate) union: String,
    pub(crate) success: String,
    /// Types of rejections by code.
    pub(crate) rejections: BTreeMap<String, String>,
}

/// The answer of a field.
#[derive(Clone, Debug)]
pub(crate) enum FieldAnswer {
    Value(Typed),
    Command(CommandResult),
}

/// The outcome of a call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FieldOutcome {
    /// Type of the value, if the field's type has several.
    pub(crate) type_name: Option<String>,
    pub(crate) value: Value,
    /// Position of the answer.
    pub(crate) position: Option<u64>,
}

/// A field of `Query`, `Mutation` or `Subscription`.
#[derive(Clone, Debug)]
pub(crate) struct RootField {
    pub(crate) name: String,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) answer: FieldAnswer,
    pub(crate) operation: HttpOperation,
}

impl RootField {
    /// Creates the field of an operation, adding its types to the book.
    pub(crate) fn of(operation: HttpOperation, book: &mut TypeBook) -> Self {
        let name = match operation.kind {
            Kind::Query | Kind::Feed => names::query_field(&operation.id),
            Kind::Mutation => names::plain(&operation.id),
        };
        let answer = match operation.kind {
            Kind::Query => FieldAnswer::Value(query_answer(&operation, book)),
            Kind::Mutation => FieldAnswer::Command(command_result(&operation, book)),
            Kind::Feed => FieldAnswer::Value(event_type(book)),
        };
        let arguments = arguments(&operation, book);
        Self { name, arguments, answer, operation }
    }

    /// Returns the name of the field's type; of a list, that of its items.
    pub(crate) fn type_name(&self) -> &str {
        match &self.answer {
            FieldAnswer::Value(typed) => typed.shape.type_name(),
            FieldAnswer::Command(result) => &result.union,
        }
    }

    /// Returns whether the answer is one object.
    pub(crate) fn answers_object(&self) -> bool {
        matches!(&self.answer, FieldAnswer::Value(Typed { shape: Shape::Object(_), .. }))
    }

    /// Returns the default of the argument `limit`, for lists that come in pages.
    pub(crate) fn page_default(&self) -> Option<u64> {
        let limit = self.operation.parameters.iter().find(|parameter| parameter.name == "limit")?;
        limit.schema.get("default")?.as_u64()
    }

    /// Returns the call for the arguments of a field.
    pub(crate) fn call_parts(&self, given: &ObjectAccessor<'_>, book: &TypeBook) -> CallParts {
        self.call(|argument| argument.given(given, book))
    }

    /// Returns the call with these values of arguments.
    pub(crate) fn call(&self, value_of: impl Fn(&Argument) -> Option<Value>) -> CallParts {
        let mut path = self.operation.path.clone();
        let mut query = form_urlencoded::Serializer::new(String::new());
        let mut call = CallParts {
            method: self.operation.method.clone(),
            target: String::new(),
            body: None,
            idempotency_key: None,
            expected_revision: None,
            at_least: None,
        };
        for argument in &self.arguments {
            let Some(value) = value_of(argument) else { continue };
            match argument.place {
                ArgumentPlace::Path => {
                    let place = format!("{{{}}}", argument.parameter);
                    path = path.replace(&place, &gesta_http::segment(&plain_text(&value)));
                }
                ArgumentPlace::Query => {
                    for value in each(&value) {
                        query.append_pair(&argument.parameter, &plain_text(value));
                    }
                }
                ArgumentPlace::Body => call.body = Some(value),
                ArgumentPlace::AtLeast => call.at_least = whole(&value),
                ArgumentPlace::IdempotencyKey => call.idempotency_key = Some(plain_text(&value)),
                ArgumentPlace::ExpectedRevision => call.expected_revision = whole(&value),
            }
        }
        let query = query.finish();
        call.target = if query.is_empty() { path } else { format!("{path}?{query}") };
        call
    }

    /// Makes the call.
    pub(crate) async fn ask(
        &self,
        caller: &Caller,
        call: CallParts,
    ) -> Result<FieldOutcome, Failure> {
        let answer = caller.call(call).await?;
        if StatusCode::from_u16(answer.status).is_ok_and(|status| status.is_success()) {
            return Ok(self.success(answer));
        }
        match &self.answer {
            FieldAnswer::Command(result) if answer.status == 422 => Ok(rejection(result, &answer)),
            _ => Err(answer.failure()),
        }
    }

    fn success(&self, answer: CallAnswer) -> FieldOutcome {
        let type_name = match &self.answer {
            FieldAnswer::Value(_) => None,
            FieldAnswer::Command(result) => Some(result.success.clone()),
        };
        let position = answer.number("gesta-position");
        let mut more = Map::new();
        more.extend(answer.revision().map(|it| ("revision".to_owned(), it.into())));
        if self.operation.kind == Kind::Mutation {
            more.extend(position.map(|it| ("position".to_owned(), it.into())));
            let texts = [("recorded", "gesta-recorded"), ("location", "location")];
            let text = |(member, header): (&str, _)| {
                answer.text(header).map(|it| (member.to_owned(), it.into()))
            };
            more.extend(texts.into_iter().filter_map(text));
        }
        if type_name.as_deref() == Some(DONE) {
            more.insert("done".to_owned(), (answer.status != 202).into());
            return FieldOutcome { type_name, value: Value::Object(more), position };
        }
        FieldOutcome { type_name, value: with_members(answer.body, more), position }
    }
}

/// Adds members to an object, except for those that it has.
fn with_members(value: Value, more: Map<String, Value>) -> Value {
    match value {
        Value::Object(mut members) => {
            for (name, value) in more {
                members.entry(name).or_insert(value);
            }
            Value::Object(members)
        }
        Value::Null if !more.is_empty() => Value::Object(more),
        other => other,
    }
}

fn rejection(result: &CommandResult, answer: &CallAnswer) -> FieldOutcome {
    let text = |member: &str| answer.body.get(member).and_then(Value::as_str).unwrap_or_default();
    let code = text("code");
    let listed = result.rejections.get(code).cloned();
    FieldOutcome {
        type_name: Some(listed.unwrap_or_else(|| OTHER_REJECTION.to_owned())),
        value: json!({ "code": code, "message": text("detail") }),
        position: None,
    }
}

fn query_answer(operation: &HttpOperation, book: &mut TypeBook) -> Typed {
    let Some(schema) = &operation.answer else {
        return Typed { shape: Shape::Any, is_nullable: true };
    };
    let typed = book.read(schema, &answer_name(operation, schema), Side::Output);
    if let (Shape::Object(name), true) = (&typed.shape, operation.answers_with("ETag")) {
        let about = "Revision, for `expectedRevision`; null in lists and behind links.";
        add_field(book, name, "revision", about, Typed { shape: Shape::Long, is_nullable: true });
    }
    // An error leaves null behind.
    Typed { is_nullable: true, ..typed }
}

/// Returns the name of an answer whose schema has none.
fn answer_name(operation: &HttpOperation, schema: &Value) -> String {
    let is_list = schema.pointer("/properties/items").is_some_and(Value::is_object);
    let suffix = if is_list { "Page" } else { "Answer" };
    let name = match operation.kind {
        Kind::Query if is_list => names::type_name(&names::query_field(&operation.id)),
        _ => names::type_name(&operation.id),
    };
    format!("{name}{suffix}")
}

fn event_type(book: &mut TypeBook) -> Typed {
    let schema = json!({ "$ref": format!("#/components/schemas/{EVENT}") });
    book.read(&schema, EVENT, Side::Output)
}

fn command_result(operation: &HttpOperation, book: &mut TypeBook) -> CommandResult {
    let type_name = names::type_name(&operation.id);
    let success = success_type(operation, book);
    let mut rejections = BTreeMap::new();
    for code in &operation.rejections {
        rejections.insert(code.clone(), rejection_type(code, book));
    }
    let union = book.claim(&format!("{type_name}Result"));
    CommandResult { union, success, rejections }
}

/// Returns the type of rejections with a code, the same for all operations.
fn rejection_type(code: &str, book: &mut TypeBook) -> String {
    if let Some(known) = book.rejections.get(code) {
        return known.clone();
    }
    let name = book.claim(&names::type_name(code));
    book.rejections.insert(code.to_owned(), name.clone());
    name
}

fn success_type(operation: &HttpOperation, book: &mut TypeBook) -> String {
    let name = match &operation.answer {
        Some(schema) => {
            let hint = answer_name(operation, schema);
            match book.read(schema, &hint, Side::Output).shape {
                Shape::Object(name) => name,
                // Only objects can be members of a union.
                _ => done_type(book),
            }
        }
        None => done_type(book),
    };
    let mut add = |header: &str, field: &str, about: &str, shape, is_nullable| {
        if operation.answers_with(header) {
            add_field(book, &name, field, about, Typed { shape, is_nullable });
        }
    };
    let about = "Position of the change. A query with it as `atLeast` sees the change.";
    add("Gesta-Position", "position", about, Shape::Long, false);
    let about = "`earlier` if an earlier attempt with the same idempotency key made the change, \
                 and `now` if this one did.";
    add("Gesta-Recorded", "recorded", about, Shape::Text, false);
    add("Location", "location", "Path of the new resource over HTTP.", Shape::Text, true);
    let about = "Revision that the change led to, for `expectedRevision`.";
    add("ETag", "revision", about, Shape::Long, true);
    name
}

fn done_type(book: &mut TypeBook) -> String {
    if !book.outputs.contains_key(DONE) {
        let description = "An operation without a value of its own.".to_owned();
        book.outputs.insert(DONE.to_owned(), ObjectType { description, fields: Vec::new() });
        let about = "True if it is completed; false if it goes on in the background.";
        let typed = Typed { shape: Shape::Boolean, is_nullable: false };
        add_field(book, DONE, "done", about, typed);
    }
    DONE.to_owned()
}

fn add_field(book: &mut TypeBook, object: &str, name: &str, about: &str, typed: Typed) {
    let Some(object) = book.outputs.get_mut(object) else { return };
    if !object.fields.iter().any(|field| field.name == name) {
        let (name, member) = (name.to_owned(), name.to_owned());
        object.fields.push(ObjectField { name, member, description: about.to_owned(), typed });
    }
}

fn arguments(operation: &HttpOperation, book: &mut TypeBook) -> Vec<Argument> {
    let type_name = names::type_name(&operation.id);
    let mut arguments = Vec::new();
    for parameter in &operation.parameters {
        let hint = format!("{type_name}{}", names::type_name(&parameter.name));
        let typed = book.read(&parameter.schema, &hint, Side::Input);
        arguments.push(Argument {
            name: names::plain(&parameter.name),
            parameter: parameter.name.clone(),
            place: match parameter.place {
                ParameterPlace::Path => ArgumentPlace::Path,
                ParameterPlace::Query => ArgumentPlace::Query,
            },
            description: parameter.description.clone(),
            typed: Typed { is_nullable: !parameter.is_required, ..typed },
        });
    }
    if let Some(body) = &operation.body {
        let typed = book.read(&body.schema, &type_name, Side::Input);
        arguments.push(Argument {
            name: "input".to_owned(),
            parameter: String::new(),
            place: ArgumentPlace::Body,
            description: String::new(),
            typed: Typed { is_nullable: !body.is_required, ..typed },
        });
    }
    arguments.extend(of_headers(operation));
    arguments
}

/// Returns the arguments that are headers over HTTP.
fn of_headers(operation: &HttpOperation) -> impl Iterator<Item = Argument> {
    let at_least = "Position that the answer must reflect, such as the `position` of a command's \
                    result. Defaults to the header `Gesta-Position`.";
    let key = "Makes retries of a command safe: it takes effect once. Defaults to the header \
               `Idempotency-Key`.";
    let revision = "Revision that the resource must have. Defaults to the header `If-Match`.";
    let all = [
        (operation.is_positioned, "atLeast", ArgumentPlace::AtLeast, Shape::Long, at_least),
        (operation.is_keyed, "idempotencyKey", ArgumentPlace::IdempotencyKey, Shape::Text, key),
        (
            operation.is_conditional,
            "expectedRevision",
            ArgumentPlace::ExpectedRevision,
            Shape::Long,
            revision,
        ),
    ];
    all.into_iter().filter(|(is_taken, ..)| *is_taken).map(|(_, name, place, shape, about)| {
        Argument {
            name: name.to_owned(),
            parameter: String::new(),
            place,
            description: about.to_owned(),
            typed: Typed { shape, is_nullable: true },
        }
    })
}

/// Returns a whole number of 64 bits, with or without a sign.
fn whole(value: &Value) -> Option<i128> {
    value.as_u64().map(i128::from).or_else(|| value.as_i64().map(i128::from))
}

pub(crate) fn plain_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn each(value: &Value) -> Vec<&Value> {
    value.as_array().map_or_else(|| vec![value], |values| values.iter().collect())
}

//! Links between resources: fields of objects that other operations answer.
//!
//! Owns: [`LinkField`] and its calls.
//!
//! Invariants:
//! - A linked resource is found by the route of its operation, or of a list that finds several.
//! - A list that refuses several ids (400, 403, 422) says nothing about each of them: they are
//!   looked up one by one then.
//!
//! Not here: the times of calls ([`loader`](crate::loader)).

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use async_graphql::dynamic::ObjectAccessor;
use axum::http::StatusCode;
use futures_util::{StreamExt as _, stream::iter};
use gesta_http::Link;
use serde_json::{Value, json};

use crate::{
    caller::{CallAnswer, CallParts, Caller},
    failure::Failure,
    fields::{Argument, FieldAnswer, RootField, plain_text},
    operations::{Kind, Parameter, ParameterPlace},
    types::{Side, TypeBook, Typed},
};

/// Refusals of a list that a look-up of one resource may not have.
const REFUSALS: [u16; 3] = [400, 403, 422];
/// Maximum number of look-ups of a refused batch at the same time.
const SINGLE_CALLS_MAX: usize = 16;

/// The links by the names of their objects' types, and their own.
pub(crate) type LinkFields = BTreeMap<String, BTreeMap<String, Arc<LinkField>>>;

/// The result of a look-up: `None` if there is no such resource.
pub(crate) type Found = Result<Option<Arc<Value>>, Failure>;

/// A field of an object that leads to what another operation finds.
#[derive(Debug)]
pub(crate) struct LinkField {
    pub(crate) target: Arc<RootField>,
    /// Member of the object, in JSON, with the id of what is linked.
    member: String,
    /// Parameter of the target that takes the id.
    parameter: String,
    pub(crate) many: Option<ManyField>,
}

/// A list that finds several resources at once.
#[derive(Debug)]
pub(crate) struct ManyField {
    list: Arc<RootField>,
    /// Parameter that takes the ids. The entries have it as a member.
    parameter: String,
    /// Maximum number of ids in one call.
    pub(crate) ids_max: usize,
}

/// Reads the links of an application, whose operations have these fields by their ids.
pub(crate) fn link_fields(
    links: &[Link],
    operations: &BTreeMap<String, Arc<RootField>>,
    book: &mut TypeBook,
) -> LinkFields {
    let mut fields = LinkFields::new();
    for link in links {
        let Some(target) = operations.get(link.operation()) else { continue };
        if target.operation.kind != Kind::Query {
            continue;
        }
        let schema = json!({ "$ref": format!("#/components/schemas/{}", link.component()) });
        let object = book.read(&schema, link.component(), Side::Output);
        let of_type = fields.entry(object.shape.type_name().to_owned()).or_default();
        // A list finds by ids, which are parts of paths.
        let is_id =
            |it: &Parameter| it.name == link.parameter() && it.place == ParameterPlace::Path;
        let is_by_id = target.operation.parameters.iter().any(is_id);
        let mut lists = operations.values().filter(|_| is_by_id);
        let many = lists.find_map(|list| ManyField::of(list, link));
        let (member, parameter) = (link.member().to_owned(), link.parameter().to_owned());
        let field = LinkField { target: Arc::clone(target), member, parameter, many };
        of_type.insert(link.name().to_owned(), Arc::new(field));
    }
    fields
}

impl ManyField {
    /// Returns the list if it finds several of what the link leads to.
    fn of(list: &Arc<RootField>, link: &Link) -> Option<Self> {
        let (operation, parameter) = list.operation.finds_many.as_ref()?;
        let parameters = &list.operation.parameters;
        let ids = parameters.iter().find(|it| it.name == *parameter)?;
        if operation != link.operation() || parameters.iter().any(|it| it.is_required) {
            return None;
        }
        let max = |schema: &Value, keyword| schema.get(keyword).and_then(Value::as_u64);
        let page = parameters.iter().find(|it| it.name == "limit");
        let page_max = page.and_then(|limit| max(&limit.schema, "maximum")).unwrap_or(u64::MAX);
        let ids_max = max(&ids.schema, "maxItems").unwrap_or(1).min(page_max);
        let ids_max = usize::try_from(ids_max).unwrap_or(usize::MAX);
        Some(Self { list: Arc::clone(list), parameter: parameter.clone(), ids_max })
    }

    fn call(&self, ids: &[String]) -> CallParts {
        self.list.call(|argument| match argument.parameter() {
            "limit" => Some(self.ids_max.into()),
            name if name == self.parameter => Some(json!(ids)),
            _ => None,
        })
    }

    /// Returns the entries of the list's answer by their ids, and whether it has all of them.
    fn entries(&self, answer: CallAnswer) -> (HashMap<String, Arc<Value>>, bool) {
        let mut body = answer.body;
        let is_whole = body.get("next").is_none_or(Value::is_null);
        let items = body.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take);
        let by_id = items.unwrap_or_default().into_iter().filter_map(|item| {
            let id = item.get(&self.parameter).map(plain_text)?;
            Some((id, Arc::new(item)))
        });
        (by_id.collect(), is_whole)
    }
}

impl LinkField {
    /// Returns the type of what is linked. An object without an id, and one whose id is unknown,
    /// have null.
    pub(crate) fn typed(&self) -> Typed {
        match &self.target.answer {
            FieldAnswer::Value(typed) => Typed { is_nullable: true, ..typed.clone() },
            // Only queries are linked.
            FieldAnswer::Command(result) => {
                unreachable!("{} is the result of a command", result.union)
            }
        }
    }

    /// Returns the arguments of the field: those of the operation besides the id.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = &Argument> {
        let is_own = |it: &&Argument| !it.is_header() && it.parameter() != self.parameter;
        self.target.arguments.iter().filter(is_own)
    }

    /// Returns the id of what an object links to.
    pub(crate) fn id(&self, object: &Value) -> Option<String> {
        object.get(&self.member).filter(|id| !id.is_null()).map(plain_text)
    }

    /// Returns the list that finds several, for look-ups with these arguments.
    pub(crate) fn batched(&self, arguments: &ObjectAccessor<'_>) -> Option<&ManyField> {
        self.many.as_ref().filter(|_| arguments.is_empty())
    }

    /// Returns the number of calls for a number of objects.
    pub(crate) fn calls(&self, objects: u64, has_arguments: bool) -> u64 {
        match &self.many {
            Some(many) if !has_arguments => {
                objects.div_ceil(u64::try_from(many.ids_max).unwrap_or(u64::MAX))
            }
            Some(_) | None => objects,
        }
    }

    /// Returns the call that finds one.
    pub(crate) fn call(
        &self,
        id: &str,
        at_least: Option<u64>,
        given: impl Fn(&Argument) -> Option<Value>,
    ) -> CallParts {
        let call = self.target.call(|argument| match argument.parameter() {
            name if name == self.parameter => Some(id.into()),
            _ if argument.is_header() => None,
            _ => given(argument),
        });
        CallParts { at_least: at_least.map(i128::from), ..call }
    }

    /// Finds one.
    pub(crate) async fn find(&self, caller: &Caller, call: CallParts) -> Found {
        let answer = caller.call(call).await?;
        match StatusCode::from_u16(answer.status) {
            Ok(status) if status.is_success() => Ok(Some(Arc::new(answer.body))),
            Ok(StatusCode::NOT_FOUND) => Ok(None),
            _ => Err(answer.failure()),
        }
    }

    /// Finds several, each by its own id.
    pub(crate) async fn find_several(
        &self,
        caller: &Caller,
        ids: Vec<String>,
        at_least: Option<u64>,
    ) -> HashMap<String, Found> {
        let Some(many) = self.many.as_ref().filter(|_| ids.len() > 1) else {
            return self.one_by_one(caller, ids, at_least).await;
        };
        let call = CallParts { at_least: at_least.map(i128::from), ..many.call(&ids) };
        let answer = caller.call(call).await;
        let failure = match answer {
            Ok(answer) if answer.status == StatusCode::OK => {
                let (mut entries, is_whole) = many.entries(answer);
                let (found, missing): (Vec<_>, Vec<_>) =
                    ids.into_iter().partition(|id| is_whole || entries.contains_key(id));
                let found = found.into_iter().map(|id| {
                    let entry = entries.remove(&id);
                    (id, Ok(entry))
                });
                let mut found: HashMap<_, Found> = found.collect();
                found.extend(self.one_by_one(caller, missing, at_least).await);
                return found;
            }
            Ok(answer) if REFUSALS.contains(&answer.status) => {
                return self.one_by_one(caller, ids, at_least).await;
            }
            Ok(answer) => answer.failure(),
            Err(failure) => failure,
        };
        ids.into_iter().map(|id| (id, Err(failure.clone()))).collect()
    }

    async fn one_by_one(
        &self,
        caller: &Caller,
        ids: Vec<String>,
        at_least: Option<u64>,
    ) -> HashMap<String, Found> {
        let find = async |id: String| {
            let found = self.find(caller, self.call(&id, at_least, |_| None)).await;
            (id, found)
        };
        iter(ids).map(find).buffer_unordered(SINGLE_CALLS_MAX).collect().await
    }
}

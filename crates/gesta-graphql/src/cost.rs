//! Limits of documents: depth and cost, before anything is executed.
//!
//! The cost of a document is the number of fields that the answers of its operations may have: each
//! field counts once for each object that it is in. A page has as many entries as its `limit`,
//! another list [`LIST_ITEMS`]. A call counts [`CALL_COST`]; links are one call for all objects
//! that a list finds at once, and otherwise one for each.
//!
//! Invariants:
//! - The work is bounded by the limits, whatever fragments refer to each other.
//! - A text nested deeper than [`NESTING_MAX`] is not parsed at all: parsers recurse.

use std::time::Duration;

use async_graphql::{
    Value as GraphValue, Variables,
    parser::types::{
        ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
    },
};
use axum::http::StatusCode;
use gesta_http::Problem;

use crate::{
    fields::RootField,
    links::LinkField,
    schema::Catalogue,
    types::{ObjectField, Shape},
};

/// Maximum nesting of brackets in the text of a document.
pub(crate) const NESTING_MAX: usize = 128;
/// Estimated number of entries of a list that is no page.
const LIST_ITEMS: u64 = 10;
/// Cost of a field that calls the application.
const CALL_COST: u64 = 100;
/// Greatest `limit` of a page; for a limit that is not known yet.
const PAGE_MAX: u64 = 500;
/// Estimated number of entries of a list of introspection.
const INTROSPECTION_ITEMS: u64 = 8;
/// Lists of introspection.
const INTROSPECTION_LISTS: [&str; 9] = [
    "types",
    "directives",
    "fields",
    "args",
    "inputFields",
    "enumValues",
    "interfaces",
    "possibleTypes",
    "locations",
];

/// Limits of documents and of WebSockets.
///
/// ```
/// use gesta_graphql::GraphQlLimits;
///
/// let small = GraphQlLimits::DEFAULT.depth_max(8).cost_max(1_000);
/// assert_eq!((small.depth_max, small.cost_max), (8, 1_000));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GraphQlLimits {
    /// Maximum depth of selections.
    pub depth_max: usize,
    /// Maximum cost of a document: the number of fields that the answers of all its operations may
    /// have, and 100 for each call of the application.
    pub cost_max: u64,
    /// Maximum number of operations that run at the same time over one WebSocket.
    pub socket_operations_max: usize,
    /// Maximum time until the client of a new WebSocket sends `connection_init`.
    pub socket_init_max: Duration,
}

impl GraphQlLimits {
    /// Default limits: a depth of 20, a cost of 50,000; for a WebSocket 100 operations, and 10 s
    /// for its `connection_init`.
    pub const DEFAULT: Self = Self {
        depth_max: 20,
        cost_max: 50_000,
        socket_operations_max: 100,
        socket_init_max: Duration::from_secs(10),
    };

    /// Sets the maximum depth of selections.
    #[must_use]
    pub const fn depth_max(self, depth: usize) -> Self {
        Self { depth_max: depth, ..self }
    }

    /// Sets the maximum cost.
    #[must_use]
    pub const fn cost_max(self, cost: u64) -> Self {
        Self { cost_max: cost, ..self }
    }

    /// Sets the maximum number of operations that run at the same time over one WebSocket.
    #[must_use]
    pub const fn socket_operations_max(self, operations: usize) -> Self {
        Self { socket_operations_max: operations, ..self }
    }

    /// Sets the maximum time until the client of a new WebSocket sends `connection_init`.
    #[must_use]
    pub const fn socket_init_max(self, wait: Duration) -> Self {
        Self { socket_init_max: wait, ..self }
    }
}

/// Checks the nesting of brackets in the text of a document.
pub(crate) fn check_nesting(text: &str) -> Result<(), Problem> {
    let (mut depth, mut rest) = (0_usize, text);
    while let Some(first) = rest.chars().next() {
        match first {
            '"' => {
                rest = after_string(rest);
                continue;
            }
            '#' => {
                rest = rest.find(['\n', '\r']).and_then(|end| rest.get(end..)).unwrap_or_default();
                continue;
            }
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > NESTING_MAX {
            let detail = format!("brackets are nested deeper than {NESTING_MAX}");
            return Err(refused("query-too-deep", detail));
        }
        rest = rest.get(first.len_utf8()..).unwrap_or_default();
    }
    Ok(())
}

/// Returns the text after the string at its start.
fn after_string(text: &str) -> &str {
    let (quotes, rest) = match text.strip_prefix("\"\"\"") {
        Some(rest) => ("\"\"\"", rest),
        None => ("\"", text.get(1..).unwrap_or_default()),
    };
    let mut rest = rest;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(quotes) {
            return after;
        }
        // An escaped character cannot end the string.
        let skipped = if rest.starts_with('\\') { 2 } else { 1 };
        let end = rest.char_indices().nth(skipped).map_or(rest.len(), |(at, _)| at);
        rest = rest.get(end..).unwrap_or_default();
    }
    rest
}

/// The measure of a document.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measure {
    /// Number of commands in its operation with the most.
    pub(crate) commands: usize,
    /// An operation has links.
    pub(crate) has_links: bool,
}

/// Measures a document.
///
/// # Errors
/// A problem (400) if its operations together exceed a limit: all of them are validated, each with
/// its fragments.
pub(crate) fn measure(
    document: &ExecutableDocument,
    variables: &Variables,
    catalogue: &Catalogue,
    limits: GraphQlLimits,
) -> Result<Measure, Problem> {
    let mut measure = Measure::default();
    let mut cost = 0;
    for (_, operation) in document.operations.iter() {
        let operation = &operation.node;
        let own = Measure::default();
        let mut survey = Survey {
            document,
            operation,
            variables,
            catalogue,
            limits,
            cost,
            calls: 0,
            measure: own,
        };
        let place = Place { parent: Parent::Root, weight: 1, depth: 1, fragments: 0, page: None };
        survey.selections(&operation.selection_set.node, place)?;
        if operation.ty == OperationType::Subscription && survey.calls > 1 {
            let detail = "a subscription has one field (GraphQL, section 5.2.3)";
            return Err(refused("query-invalid", detail.to_owned()));
        }
        cost = survey.cost;
        measure.commands = measure.commands.max(survey.measure.commands);
        measure.has_links |= survey.measure.has_links;
    }
    Ok(measure)
}

/// The type whose fields are selected.
#[derive(Clone, Copy, Debug)]
enum Parent<'d> {
    Root,
    Type(&'d str),
    Introspection,
}

/// The place of a selection in a document.
#[derive(Clone, Copy, Debug)]
struct Place<'d> {
    parent: Parent<'d>,
    /// Number of objects that the selection is applied to.
    weight: u64,
    depth: usize,
    /// Number of fragments around.
    fragments: usize,
    /// Number of entries of the page whose list is selected here.
    page: Option<u64>,
}

struct Survey<'d> {
    document: &'d ExecutableDocument,
    operation: &'d OperationDefinition,
    variables: &'d Variables,
    catalogue: &'d Catalogue,
    limits: GraphQlLimits,
    cost: u64,
    /// Number of calls at the root.
    calls: usize,
    measure: Measure,
}

impl<'d> Survey<'d> {
    fn selections(&mut self, set: &'d SelectionSet, place: Place<'d>) -> Result<(), Problem> {
        // Fragments count, too: otherwise two of them could refer to each other for ever.
        if place.depth.max(place.fragments) > self.limits.depth_max {
            let detail = format!("selections are deeper than {}", self.limits.depth_max);
            return Err(refused("query-too-deep", detail));
        }
        let inside = Place { fragments: place.fragments + 1, ..place };
        for item in &set.items {
            match &item.node {
                Selection::Field(field) => self.field(&field.node, place)?,
                Selection::InlineFragment(fragment) => {
                    let on = fragment.node.type_condition.as_ref();
                    let on = on.map(|condition| condition.node.on.node.as_str());
                    let parent = narrowed(place.parent, on);
                    self.selections(&fragment.node.selection_set.node, Place { parent, ..inside })?;
                }
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    // The validation reports unknown fragments.
                    let Some(fragment) = self.document.fragments.get(name) else { continue };
                    let on = Some(fragment.node.type_condition.node.on.node.as_str());
                    let parent = narrowed(place.parent, on);
                    self.selections(&fragment.node.selection_set.node, Place { parent, ..inside })?;
                }
            }
        }
        Ok(())
    }

    fn field(&mut self, field: &'d Field, place: Place<'d>) -> Result<(), Problem> {
        let name = field.name.node.as_str();
        let is_call = matches!(place.parent, Parent::Root) && !name.starts_with("__");
        let link = self.link(name, place);
        let calls = match link {
            Some(link) => link.calls(place.weight, !field.arguments.is_empty()),
            None if is_call => place.weight,
            None => 0,
        };
        let of_objects = if is_call { 0 } else { place.weight };
        let cost = calls.saturating_mul(CALL_COST).saturating_add(of_objects);
        self.cost = self.cost.saturating_add(cost);
        self.measure.has_links |= link.is_some();
        if self.cost > self.limits.cost_max {
            let detail = format!(
                "the answer may have more than {} fields; select fewer, or smaller pages",
                self.limits.cost_max
            );
            return Err(refused("query-too-costly", detail));
        }
        if is_call {
            self.calls += 1;
            self.measure.commands += usize::from(self.operation.ty == OperationType::Mutation);
        }
        if field.selection_set.node.items.is_empty() {
            return Ok(());
        }
        let page = self.page_below(field, name, place);
        let below = Place { page, depth: place.depth + 1, ..self.below(name, place) };
        self.selections(&field.selection_set.node, below)
    }

    /// Returns the place below a field: its type, and the number of its objects.
    fn below(&self, name: &str, place: Place<'d>) -> Place<'d> {
        let catalogue = self.catalogue;
        let (parent, entries) = match place.parent {
            _ if name.starts_with("__") => (Parent::Introspection, 1),
            Parent::Introspection => {
                let is_list = INTROSPECTION_LISTS.contains(&name);
                (Parent::Introspection, if is_list { INTROSPECTION_ITEMS } else { 1 })
            }
            Parent::Root => {
                let type_name = self.root(name).map_or("", |field| field.type_name());
                (Parent::Type(type_name), 1)
            }
            Parent::Type(type_name) => {
                if let Some(link) = self.link(name, place) {
                    let type_name = link.target.type_name();
                    return Place { parent: Parent::Type(type_name), ..place };
                }
                let object = catalogue.book.outputs.get(type_name);
                let mut fields = object.into_iter().flat_map(|object| &object.fields);
                fields.find(|field| field.name == name).map_or((Parent::Type(""), 1), |field| {
                    (Parent::Type(field.typed.shape.type_name()), entries(field, place.page))
                })
            }
        };
        Place { parent, weight: place.weight.saturating_mul(entries), ..place }
    }

    /// Returns the number of entries of the page that a field at the root, or a link, leads to.
    fn page_below(&self, field: &Field, name: &str, place: Place<'d>) -> Option<u64> {
        let asked = match place.parent {
            Parent::Root => self.root(name)?,
            Parent::Type(_) => &self.link(name, place)?.target,
            Parent::Introspection => return None,
        };
        let default = asked.page_default()?;
        let Some(limit) = field.get_argument("limit") else { return Some(default) };
        let limit = limit.node.clone().into_const_with(|variable| {
            let given = self.variables.get(&variable).cloned();
            let declared = self.operation.variable_definitions.iter();
            let mut declared = declared.filter(|it| it.node.name.node == variable);
            let default = || declared.next()?.node.default_value.as_ref().map(|it| it.node.clone());
            given.or_else(default).ok_or(())
        });
        Some(match limit {
            Ok(GraphValue::Number(number)) => number.as_u64().unwrap_or(PAGE_MAX),
            Ok(GraphValue::Null) => default,
            _ => PAGE_MAX,
        })
    }

    fn link(&self, name: &str, place: Place<'d>) -> Option<&'d LinkField> {
        match place.parent {
            Parent::Type(type_name) => self.catalogue.link(type_name, name).map(|link| &**link),
            Parent::Root | Parent::Introspection => None,
        }
    }

    fn root(&self, name: &str) -> Option<&'d RootField> {
        let catalogue = self.catalogue;
        let fields = match self.operation.ty {
            OperationType::Query => &catalogue.queries,
            OperationType::Mutation => &catalogue.mutations,
            OperationType::Subscription => &catalogue.subscriptions,
        };
        fields.get(name).map(|field| &**field)
    }
}

/// Returns the type inside a fragment. That of a root type stays: its fields are calls.
fn narrowed<'d>(parent: Parent<'d>, on: Option<&'d str>) -> Parent<'d> {
    match (parent, on) {
        (Parent::Type(_), Some(on)) => Parent::Type(on),
        _ => parent,
    }
}

/// Returns the estimated number of objects in a field.
fn entries(field: &ObjectField, page: Option<u64>) -> u64 {
    match field.typed.shape {
        Shape::List(_) => page.unwrap_or(LIST_ITEMS),
        _ => 1,
    }
}

fn refused(code: &'static str, detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, code, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_and_comments_are_not_nested() {
        let open = "{".repeat(NESTING_MAX + 1);
        for text in [format!("\"{open}\""), format!("#{open}\n"), format!("\"\"\"a\"{open}\"\"\"")]
        {
            assert!(check_nesting(&text).is_ok(), "{text}");
        }
        let escaped = format!(r#""\"{open}""#);
        assert!(check_nesting(&escaped).is_ok());
        for text in [open.clone(), format!("\"\"{open}"), format!("\"\\\\\"{open}")] {
            assert_eq!(check_nesting(&text).unwrap_err().code(), "query-too-deep", "{text}");
        }
    }

    #[test]
    fn brackets_that_are_closed_count_no_more() {
        assert!(check_nesting(&"{}".repeat(10 * NESTING_MAX)).is_ok());
    }
}

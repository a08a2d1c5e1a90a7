//! The shape of a type's JSON form, traced through its `Deserialize`.
//!
//! Owns: [`TypeShape`]. Invariant: covers the whole graph of types, including inside empty lists,
//! absent options and unused variants; parts that cannot be traced are listed as untraced. Not
//! here: the consequences of a changed shape (snapshots are ignored, the lock file fails).
//!
//! Each place of the graph is found by one short run of `Deserialize`, led to that place and
//! stopped there. No value of the type is created, so validation does not interfere, except in keys
//! of maps and earlier elements of tuples.

mod json_schema;
mod produce;
mod stop;
mod trace;

use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use trace::{PathStep, Traced, Tracer};

/// Maximum number of places traced per type.
const PLACES_MAX: usize = 4_096;

/// Maximum depth of places traced.
const DEPTH_MAX: usize = 64;

/// The shape of a type's JSON form: each place in it, with the kind of value.
///
/// Covers what is written, not Rust type names: names of fields and variants, and kinds of values.
/// A place is a path such as `lines[].price` or `status::Paid.at`; `?` is the content of an option,
/// `{}` a value and `{key}` a key of a map.
///
/// ```
/// use gesta::TypeShape;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Cart {
///     lines: Vec<Line>,
/// }
///
/// #[derive(Deserialize)]
/// struct Line {
///     price: Option<u32>,
/// }
///
/// let shape = TypeShape::of::<Cart>();
/// let places: Vec<_> = shape.places().map(|(place, kind)| format!("{place} {kind}")).collect();
/// assert_eq!(
///     places,
///     [". struct", "lines list", "lines[] struct", "lines[].price option", "lines[].price? u32"]
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TypeShape(BTreeMap<String, String>);

/// Kind of a variant without content.
const UNIT_VARIANT: &str = "variant";

/// Prefix of the kind of a place with hidden content.
const UNTRACED: &str = "untraced: ";

impl TypeShape {
    /// Traces the shape of a type.
    #[must_use]
    pub fn of<T: DeserializeOwned>() -> Self {
        let mut survey = Survey::of::<T>(Purpose::Shape);
        survey.explore(&mut Vec::new(), String::new());
        Self(survey.places)
    }

    /// Traces the shape of a type, and its JSON schema (draft 2020-12).
    ///
    /// The schema requires the fields without which the type cannot be read. Where tracing cannot
    /// tell, because a type rejects all trial values, a field may be absent.
    #[must_use]
    pub fn with_schema<T: DeserializeOwned>() -> (Self, Value) {
        let mut survey = Survey::of::<T>(Purpose::Schema);
        let schema = survey.explore(&mut Vec::new(), String::new());
        (Self(survey.places), schema)
    }

    /// Returns each place with its kind of value, sorted by place.
    pub fn places(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(place, kind)| (place.as_str(), kind.as_str()))
    }

    /// Returns each place whose content cannot be traced, with the reason. Such content belongs to
    /// untagged, internally tagged and flattened types, which buffer any JSON.
    pub fn untraced(&self) -> impl Iterator<Item = (&str, &str)> {
        self.places().filter_map(|(place, kind)| Some((place, kind.strip_prefix(UNTRACED)?)))
    }

    /// Returns whether the shape is unknown, as in data from before shapes were recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the reasons for which data of an older shape may not decode in this one: removed
    /// places, changed kinds, and new places that are required.
    #[must_use]
    pub fn breaks(&self, older: &Self) -> Vec<String> {
        let changed = older.places().filter_map(|(place, then)| match self.0.get(place) {
            None => Some(format!("{place} ({then}) is gone")),
            Some(now) if now != then => Some(format!("{place} was {then} and is {now}")),
            Some(_) => None,
        });
        let added = self.places().filter(|(place, kind)| {
            // Report a new place once, not its content as well.
            let inside_of_new = parent(place).is_some_and(|parent| !older.0.contains_key(parent));
            !older.0.contains_key(*place) && !inside_of_new && !self.may_be_absent(place, kind)
        });
        changed.chain(added.map(|(place, kind)| format!("{place} ({kind}) is new"))).collect()
    }

    /// Returns whether data of an older shape may lack the place: an option, or a new variant.
    fn may_be_absent(&self, place: &str, kind: &str) -> bool {
        let in_enum = parent(place).and_then(|parent| self.0.get(parent));
        kind == "option" || in_enum.is_some_and(|kind| kind == "enum")
    }
}

impl fmt::Display for TypeShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (place, kind)) in self.places().enumerate() {
            let separator = if number == 0 { "" } else { ", " };
            write!(f, "{separator}{place}: {kind}")?;
        }
        Ok(())
    }
}

/// Returns the enclosing place: `lines[]` for `lines[].price`, `by` for `by::Pigeon`.
fn parent(place: &str) -> Option<&str> {
    if place == "." {
        return None;
    }
    let end = place.rfind(['.', '[', '?', '{', ':'])?;
    let head = place.get(..end)?.trim_end_matches(':');
    Some(if head.is_empty() { "." } else { head })
}

/// Returns the kind of value at the end of a path.
type Run = fn(&[PathStep]) -> Option<Traced>;

fn run<T: DeserializeOwned>(path: &[PathStep]) -> Option<Traced> {
    (0..produce::ATTEMPTS).find_map(|attempt| {
        let tracer = Tracer::new(path, attempt);
        // A conversion that panics on a trial value hides the places after it.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(T::deserialize(tracer.clone()))));
        tracer.seen()
    })
}

/// The result that a walk is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Shape,
    /// Takes a run more for each field.
    Schema,
}

/// The walk through a graph of types.
struct Survey {
    run: Run,
    purpose: Purpose,
    places: BTreeMap<String, String>,
    /// The named types around the current place, which end recursion.
    open: Vec<(String, String)>,
}

impl Survey {
    fn of<T: DeserializeOwned>(purpose: Purpose) -> Self {
        Self { run: run::<T>, purpose, places: BTreeMap::new(), open: Vec::new() }
    }

    /// Traces a place and its inner ones. Returns its schema.
    fn explore(&mut self, path: &mut Vec<PathStep>, place: String) -> Value {
        // Bounds the time for very large graphs of types.
        if path.len() > DEPTH_MAX || self.places.len() >= PLACES_MAX {
            return self.put_hidden(&place, "the type is too large");
        }
        // One run for each place: serde reveals a type only while it decodes.
        let seen = (self.run)(path);
        let Some(seen) = seen else {
            return self.put_hidden(&place, "its Deserialize ends before it");
        };
        match seen {
            // The last one answers another question than this run asked.
            Traced::Leaf(kind) => self.put_leaf(&place, kind),
            Traced::RequiresField => self.put_leaf(&place, "anything".to_owned()),
            Traced::Hidden(why) => self.put_hidden(&place, &why),
            Traced::Option => {
                json_schema::option(self.inside(path, &place, "option", (PathStep::Inner, "?")))
            }
            Traced::List => {
                json_schema::list(self.inside(path, &place, "list", (PathStep::Inner, "[]")))
            }
            Traced::Map => {
                self.inside(path, &place, "map", (PathStep::Key, "{key}"));
                json_schema::map(self.inside(path, &place, "map", (PathStep::Value, "{}")))
            }
            Traced::Tuple(length) => {
                self.put(&place, format!("tuple of {length}"));
                let parts = (0..length).map(|at| (PathStep::Part(at), format!(".{at}")));
                json_schema::tuple(self.members(path, &place, parts))
            }
            // Named types are followed once on each path, since they may contain themselves.
            Traced::Newtype(key) => self.named(key, path, place, Self::newtype),
            Traced::Struct { key, fields } => self.named(key, path, place, |this, path, place| {
                this.put(&place, "struct".to_owned());
                let steps = numbered(fields, PathStep::Field, ".");
                let schemas = this.members(path, &place, steps);
                let properties = fields.iter().copied().zip(schemas).collect();
                json_schema::object(properties, &this.required(path, fields))
            }),
            Traced::Enum { key, variants } => self.named(key, path, place, |this, path, place| {
                this.put(&place, "enum".to_owned());
                let steps = numbered(variants, PathStep::Variant, "::");
                let schemas = this.members(path, &place, steps);
                let contents = variants.iter().zip(schemas).map(|(name, schema)| {
                    let kind = this.places.get(&format!("{place}::{name}"));
                    let is_unit = kind.is_some_and(|kind| kind == UNIT_VARIANT);
                    (*name, (!is_unit).then_some(schema))
                });
                json_schema::variants(contents.collect())
            }),
        }
    }

    /// Traces a newtype, which is written as its content.
    fn newtype(&mut self, path: &mut Vec<PathStep>, place: String) -> Value {
        path.push(PathStep::Inner);
        let schema = self.explore(path, place);
        path.pop();
        schema
    }

    /// Returns the fields without which a struct does not deserialize.
    fn required(
        &self,
        path: &mut Vec<PathStep>,
        fields: &'static [&'static str],
    ) -> Vec<&'static str> {
        if self.purpose == Purpose::Shape {
            return Vec::new();
        }
        let mut required = Vec::new();
        for (at, name) in fields.iter().enumerate() {
            path.push(PathStep::Without(at));
            if matches!((self.run)(path), Some(Traced::RequiresField)) {
                required.push(*name);
            }
            path.pop();
        }
        required
    }

    /// Traces a named type, unless the place is inside the same type already.
    fn named(
        &mut self,
        key: String,
        path: &mut Vec<PathStep>,
        place: String,
        look: impl FnOnce(&mut Self, &mut Vec<PathStep>, String) -> Value,
    ) -> Value {
        // A recursive type refers back to its enclosing place.
        if let Some((_, around)) = self.open.iter().find(|(open, _)| *open == key) {
            let kind = format!("as {}", around_name(around));
            self.put(&place, kind);
            return json_schema::anything();
        }
        self.open.push((key, place.clone()));
        let schema = look(self, path, place);
        self.open.pop();
        schema
    }

    fn inside(
        &mut self,
        path: &mut Vec<PathStep>,
        place: &str,
        kind: &str,
        (step, name): (PathStep, &str),
    ) -> Value {
        self.put(place, kind.to_owned());
        let mut schemas = self.members(path, place, [(step, name.to_owned())]);
        schemas.pop().unwrap_or_else(json_schema::anything)
    }

    fn members(
        &mut self,
        path: &mut Vec<PathStep>,
        place: &str,
        members: impl IntoIterator<Item = (PathStep, String)>,
    ) -> Vec<Value> {
        let mut schemas = Vec::new();
        for (step, name) in members {
            let name = if place.is_empty() { name.trim_start_matches('.') } else { &name };
            path.push(step);
            schemas.push(self.explore(path, format!("{place}{name}")));
            path.pop();
        }
        schemas
    }

    fn put_leaf(&mut self, place: &str, kind: String) -> Value {
        let schema = json_schema::leaf(&kind);
        self.put(place, kind);
        schema
    }

    fn put_hidden(&mut self, place: &str, why: &str) -> Value {
        self.put(place, format!("{UNTRACED}{why}"));
        json_schema::anything()
    }

    fn put(&mut self, place: &str, kind: String) {
        self.places.insert(around_name(place).to_owned(), kind);
    }
}

fn numbered(
    names: &'static [&'static str],
    step: fn(usize) -> PathStep,
    separator: &'static str,
) -> impl Iterator<Item = (PathStep, String)> {
    let places = names.iter().enumerate();
    places.map(move |(at, name)| (step(at), format!("{separator}{name}")))
}

fn around_name(place: &str) -> &str {
    if place.is_empty() { "." } else { place }
}

#[cfg(test)]
mod tests;

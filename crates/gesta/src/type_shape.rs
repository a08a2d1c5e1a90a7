//! The shape of a type's JSON form, found by asking its `Deserialize` what it expects.
//!
//! Owns: [`TypeShape`]. Always holds: the whole graph of types is covered, also what stands inside
//! an empty list, an absent option or a variant that no value has; what cannot be seen is listed
//! as untraced and never left out. Not here: what a changed shape means (snapshots are ignored,
//! the lock file complains).
//!
//! Each place in the graph costs one short run of `Deserialize`, which is led to that place and
//! then stopped. So no value is ever made, and no check of a value is in the way, except before
//! the value of a map and a later part of a tuple.

mod produce;
mod trace;

use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use trace::{Seen, Step, Tracer};

/// The most places of one type that are looked at.
const PLACES_MAX: usize = 4_096;

/// The deepest place that is looked at.
const DEPTH_MAX: usize = 64;

/// The shape of a type's JSON form: each place in it, and what stands there.
///
/// Names of Rust types are not part of it, only what is written: names of fields and variants, and
/// kinds of values. A place is a path such as `lines[].price` or `status::Paid.at`; `?` is the
/// inside of an option, `{}` a value and `{key}` a key of a map.
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

/// How the kind of a place begins that hides what it holds.
const UNTRACED: &str = "untraced: ";

impl TypeShape {
    /// The shape of a type.
    #[must_use]
    pub fn of<T: DeserializeOwned>() -> Self {
        let mut survey = Survey { run: run::<T>, places: BTreeMap::new(), open: Vec::new() };
        survey.explore(&mut Vec::new(), String::new());
        Self(survey.places)
    }

    /// Each place, sorted, and the kind of value there.
    pub fn places(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(place, kind)| (place.as_str(), kind.as_str()))
    }

    /// The places whose insides cannot be seen, and why: untagged, internally tagged and
    /// flattened types, which read any JSON and sort it out by themselves.
    pub fn untraced(&self) -> impl Iterator<Item = (&str, &str)> {
        self.places().filter_map(|(place, kind)| Some((place, kind.strip_prefix(UNTRACED)?)))
    }

    /// Whether nothing is known of the shape, as of one from before shapes were kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was written in an older shape and cannot be read in this one for sure: places that
    /// are gone or of another kind, and places that are new and have to be there.
    #[must_use]
    pub fn breaks(&self, older: &Self) -> Vec<String> {
        let changed = older.places().filter_map(|(place, then)| match self.0.get(place) {
            None => Some(format!("{place} ({then}) is gone")),
            Some(now) if now != then => Some(format!("{place} was {then} and is {now}")),
            Some(_) => None,
        });
        let added = self.places().filter(|(place, kind)| {
            let inside_of_new = parent(place).is_some_and(|parent| !older.0.contains_key(parent));
            !older.0.contains_key(*place) && !inside_of_new && !self.may_be_absent(place, kind)
        });
        changed.chain(added.map(|(place, kind)| format!("{place} ({kind}) is new"))).collect()
    }

    /// A variant that no stored value has, or an option.
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

/// The place that a place is in: `lines[]` of `lines[].price`, `by` of `by::Pigeon`.
fn parent(place: &str) -> Option<&str> {
    if place == "." {
        return None;
    }
    let end = place.rfind(['.', '[', '?', '{', ':'])?;
    let head = place.get(..end)?.trim_end_matches(':');
    Some(if head.is_empty() { "." } else { head })
}

/// What one run finds at the end of a path.
type Run = fn(&[Step]) -> Option<Seen>;

fn run<T: DeserializeOwned>(path: &[Step]) -> Option<Seen> {
    (0..produce::ATTEMPTS).find_map(|attempt| {
        let tracer = Tracer::new(path, attempt);
        // A conversion that panics on a value that it is tried with hides what is behind it.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(T::deserialize(tracer.clone()))));
        tracer.seen()
    })
}

/// The walk through a graph of types.
struct Survey {
    run: Run,
    places: BTreeMap<String, String>,
    /// The named types around the present place, which end a recursion.
    open: Vec<(String, String)>,
}

impl Survey {
    fn explore(&mut self, path: &mut Vec<Step>, place: String) {
        if path.len() > DEPTH_MAX || self.places.len() >= PLACES_MAX {
            self.put(&place, format!("{UNTRACED}the type is too large"));
            return;
        }
        let seen = (self.run)(path);
        let Some(seen) = seen else {
            self.put(&place, format!("{UNTRACED}its Deserialize ends before it"));
            return;
        };
        match seen {
            Seen::Leaf(kind) => self.put(&place, kind),
            Seen::Hidden(why) => self.put(&place, format!("{UNTRACED}{why}")),
            Seen::Option => self.inside(path, &place, "option", [(Step::Inner, "?")]),
            Seen::List => self.inside(path, &place, "list", [(Step::Inner, "[]")]),
            Seen::Map => {
                self.inside(path, &place, "map", [(Step::Key, "{key}"), (Step::Value, "{}")]);
            }
            Seen::Tuple(length) => {
                self.put(&place, format!("tuple of {length}"));
                self.members(
                    path,
                    &place,
                    (0..length).map(|at| (Step::Part(at), format!(".{at}"))),
                );
            }
            Seen::Newtype(key) => self.named(key, path, place, Self::newtype),
            Seen::Struct { key, fields } => self.named(key, path, place, |this, path, place| {
                this.put(&place, "struct".to_owned());
                this.members(path, &place, numbered(fields, Step::Field, "."));
            }),
            Seen::Enum { key, variants } => self.named(key, path, place, |this, path, place| {
                this.put(&place, "enum".to_owned());
                this.members(path, &place, numbered(variants, Step::Variant, "::"));
            }),
        }
    }

    /// A newtype is written as what it holds.
    fn newtype(&mut self, path: &mut Vec<Step>, place: String) {
        path.push(Step::Inner);
        self.explore(path, place);
        path.pop();
    }

    /// Looks into a type with a name, unless the place is inside of one of the same type already.
    fn named(
        &mut self,
        key: String,
        path: &mut Vec<Step>,
        place: String,
        look: impl FnOnce(&mut Self, &mut Vec<Step>, String),
    ) {
        if let Some((_, around)) = self.open.iter().find(|(open, _)| *open == key) {
            let kind = format!("as {}", around_name(around));
            self.put(&place, kind);
            return;
        }
        self.open.push((key, place.clone()));
        look(self, path, place);
        self.open.pop();
    }

    fn inside<const COUNT: usize>(
        &mut self,
        path: &mut Vec<Step>,
        place: &str,
        kind: &str,
        steps: [(Step, &str); COUNT],
    ) {
        self.put(place, kind.to_owned());
        self.members(path, place, steps.map(|(step, name)| (step, name.to_owned())));
    }

    fn members(
        &mut self,
        path: &mut Vec<Step>,
        place: &str,
        members: impl IntoIterator<Item = (Step, String)>,
    ) {
        for (step, name) in members {
            let name = if place.is_empty() { name.trim_start_matches('.') } else { &name };
            path.push(step);
            self.explore(path, format!("{place}{name}"));
            path.pop();
        }
    }

    fn put(&mut self, place: &str, kind: String) {
        self.places.insert(around_name(place).to_owned(), kind);
    }
}

fn numbered(
    names: &'static [&'static str],
    step: fn(usize) -> Step,
    separator: &'static str,
) -> impl Iterator<Item = (Step, String)> {
    let places = names.iter().enumerate();
    places.map(move |(at, name)| (step(at), format!("{separator}{name}")))
}

fn around_name(place: &str) -> &str {
    if place.is_empty() { "." } else { place }
}

#[cfg(test)]
mod tests;

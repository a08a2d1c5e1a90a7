//! A deserializer that follows a path and reports the kind of value at its end.
//!
//! Invariant: no traced value reaches a caller; every run ends with an error, at the end of the
//! path or before.

use std::{cell::RefCell, fmt, rc::Rc, slice};

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor, value::StrDeserializer,
};

use super::{produce::Producer, stop::TraceStopped};

/// One step from a place to an inner one.
#[derive(Clone, Copy, Debug)]
pub(super) enum PathStep {
    /// Into an option, a list, a newtype, or the only value of a variant.
    Inner,
    Field(usize),
    Variant(usize),
    Part(usize),
    Key,
    Value,
    /// The same struct without this field. The fields before it have trial values.
    Without(usize),
}

/// The kind of value at a place.
#[derive(Clone, Debug)]
pub(super) enum Traced {
    Leaf(String),
    /// A type that buffers any JSON, with the visitor's expectation.
    Hidden(String),
    Option,
    List,
    Map,
    Tuple(usize),
    /// The key distinguishes types of the same name.
    Newtype(String),
    Struct {
        key: String,
        fields: &'static [&'static str],
    },
    Enum {
        key: String,
        variants: &'static [&'static str],
    },
    /// A struct does not deserialize without the field.
    RequiresField,
}

#[derive(Clone)]
pub(super) struct Tracer<'p> {
    path: &'p [PathStep],
    /// Index of the trial values for elements before the path.
    attempt: usize,
    seen: Rc<RefCell<Option<Traced>>>,
}

impl<'p> Tracer<'p> {
    pub(super) fn new(path: &'p [PathStep], attempt: usize) -> Self {
        Self { path, attempt, seen: Rc::default() }
    }

    pub(super) fn seen(&self) -> Option<Traced> {
        self.seen.borrow().clone()
    }

    /// Returns the next step, or ends the run with the kind of value here.
    fn step(&self, here: impl FnOnce() -> Traced) -> Result<(PathStep, Self), TraceStopped> {
        let Some((step, path)) = self.path.split_first() else {
            *self.seen.borrow_mut() = Some(here());
            return Err(TraceStopped::Ended);
        };
        Ok((*step, Self { path, ..self.clone() }))
    }

    fn leaf<T>(&self, kind: impl Into<String>) -> Result<T, TraceStopped> {
        self.step(|| Traced::Leaf(kind.into()))?;
        Err(TraceStopped::Ended)
    }

    fn producer(&self) -> Producer {
        Producer::new(self.attempt)
    }
}

/// Returns the text that a visitor expects.
fn expected<'de>(visitor: &impl Visitor<'de>) -> String {
    struct Expected<'v, V>(&'v V);

    impl<'de, V: Visitor<'de>> fmt::Display for Expected<'_, V> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.expecting(f)
        }
    }

    Expected(visitor).to_string()
}

macro_rules! leaves {
    ($($method:ident $kind:literal),+ $(,)?) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, TraceStopped> {
            self.leaf($kind)
        })+
    };
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = TraceStopped;

    leaves! {
        deserialize_bool "bool",
        deserialize_i8 "i8",
        deserialize_i16 "i16",
        deserialize_i32 "i32",
        deserialize_i64 "i64",
        deserialize_i128 "i128",
        deserialize_u8 "u8",
        deserialize_u16 "u16",
        deserialize_u32 "u32",
        deserialize_u64 "u64",
        deserialize_u128 "u128",
        deserialize_f32 "f32",
        deserialize_f64 "f64",
        deserialize_char "char",
        deserialize_str "text",
        deserialize_string "text",
        deserialize_bytes "bytes",
        deserialize_byte_buf "bytes",
        deserialize_unit "null",
        deserialize_identifier "name",
        deserialize_ignored_any "anything",
    }

    /// Handles a type that accepts any JSON. JSON values have no shape; hand-written types are
    /// identified by their expectation; types derived by serde hide their fields and variants.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceStopped> {
        let expected = expected(&visitor);
        let hides = expected == "any value"
            || ["internally tagged", "struct", "tuple", "unit variant", "untagged"]
                .iter()
                .any(|word| expected.starts_with(word));
        self.step(|| if hides { Traced::Hidden(expected) } else { Traced::Leaf(expected) })?;
        Err(TraceStopped::Ended)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceStopped> {
        let (_, rest) = self.step(|| Traced::Option)?;
        visitor.visit_some(rest)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: V,
    ) -> Result<V::Value, TraceStopped> {
        self.leaf("null")
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, TraceStopped> {
        // Raw JSON and arbitrary-precision numbers use private newtype names.
        if name.starts_with("$serde_json::") {
            return self.leaf("JSON");
        }
        let (_, rest) = self.step(|| Traced::Newtype(std::any::type_name::<V>().to_owned()))?;
        visitor.visit_newtype_struct(rest)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceStopped> {
        let (_, rest) = self.step(|| Traced::List)?;
        visitor.visit_seq(Elements { before: 0, rest })
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, TraceStopped> {
        let (step, rest) = self.step(|| Traced::Tuple(length))?;
        visitor.visit_seq(Elements { before: part(step), rest })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, TraceStopped> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceStopped> {
        let (step, rest) = self.step(|| {
            let expected = expected(&visitor);
            // A struct with a flattened field deserializes as a map.
            if expected.starts_with("struct") { Traced::Hidden(expected) } else { Traced::Map }
        })?;
        visitor.visit_map(MapEntry { step, rest })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TraceStopped> {
        let (step, rest) = self.step(|| {
            let expected = expected(&visitor);
            if expected.starts_with("adjacently tagged") {
                return Traced::Hidden(expected);
            }
            Traced::Struct { key: std::any::type_name::<V>().to_owned(), fields }
        })?;
        if let PathStep::Without(at) = step {
            let (given, name) = (fields.get(..at), fields.get(at).copied());
            let given = given.ok_or(TraceStopped::Ended)?.iter();
            let missing = visitor.visit_map(FieldsBefore { given, value: rest.producer() }).err();
            if matches!(missing, Some(TraceStopped::Missing(field)) if Some(field) == name) {
                *rest.seen.borrow_mut() = Some(Traced::RequiresField);
            }
            return Err(TraceStopped::Ended);
        }
        visitor.visit_map(FieldOf { name: field(fields, step)?, rest })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TraceStopped> {
        let (step, rest) =
            self.step(|| Traced::Enum { key: std::any::type_name::<V>().to_owned(), variants })?;
        let PathStep::Variant(at) = step else { return Err(TraceStopped::Ended) };
        let name = variants.get(at).copied().ok_or(TraceStopped::Ended)?;
        visitor.visit_enum(VariantOf { name, rest })
    }
}

fn field(fields: &'static [&'static str], step: PathStep) -> Result<&'static str, TraceStopped> {
    let PathStep::Field(at) = step else { return Err(TraceStopped::Ended) };
    fields.get(at).copied().ok_or(TraceStopped::Ended)
}

const fn part(step: PathStep) -> usize {
    match step {
        PathStep::Part(at) => at,
        PathStep::Inner
        | PathStep::Field(_)
        | PathStep::Variant(_)
        | PathStep::Key
        | PathStep::Value
        | PathStep::Without(_) => 0,
    }
}

fn text(name: &'static str) -> StrDeserializer<'static, TraceStopped> {
    name.into_deserializer()
}

/// A list or a tuple. Elements before the path get trial values.
struct Elements<'p> {
    before: usize,
    rest: Tracer<'p>,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = TraceStopped;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, TraceStopped> {
        if self.before == 0 {
            // The element on the path: the run ends inside it, so none follows.
            return seed.deserialize(self.rest.clone()).map(Some);
        }
        self.before -= 1;
        seed.deserialize(self.rest.producer()).map(Some)
    }
}

/// A map entry with the path leading to its key or value.
struct MapEntry<'p> {
    step: PathStep,
    rest: Tracer<'p>,
}

impl<'de> MapAccess<'de> for MapEntry<'_> {
    type Error = TraceStopped;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, TraceStopped> {
        match self.step {
            // The value comes after its key, so the key gets a trial value.
            PathStep::Value => seed.deserialize(self.rest.producer()).map(Some),
            _ => seed.deserialize(self.rest.clone()).map(Some),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, TraceStopped> {
        seed.deserialize(self.rest.clone())
    }
}

/// A struct with one field.
struct FieldOf<'p> {
    name: &'static str,
    rest: Tracer<'p>,
}

impl<'de> MapAccess<'de> for FieldOf<'_> {
    type Error = TraceStopped;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, TraceStopped> {
        seed.deserialize(text(self.name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, TraceStopped> {
        seed.deserialize(self.rest.clone())
    }
}

/// A struct with some fields, all with trial values.
struct FieldsBefore {
    given: slice::Iter<'static, &'static str>,
    value: Producer,
}

impl<'de> MapAccess<'de> for FieldsBefore {
    type Error = TraceStopped;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, TraceStopped> {
        self.given.next().map(|name| seed.deserialize(text(name))).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, TraceStopped> {
        // A field that a trial value lacks is not one of this struct.
        seed.deserialize(self.value).map_err(|_| TraceStopped::Ended)
    }
}

/// An enum at this variant.
struct VariantOf<'p> {
    name: &'static str,
    rest: Tracer<'p>,
}

impl<'de, 'p> EnumAccess<'de> for VariantOf<'p> {
    type Error = TraceStopped;
    type Variant = Tracer<'p>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Tracer<'p>), TraceStopped> {
        Ok((seed.deserialize(text(self.name))?, self.rest))
    }
}

impl<'de> VariantAccess<'de> for Tracer<'_> {
    type Error = TraceStopped;

    fn unit_variant(self) -> Result<(), TraceStopped> {
        self.leaf("variant")
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, TraceStopped> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, TraceStopped> {
        self.deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TraceStopped> {
        self.deserialize_struct("", fields, visitor)
    }
}

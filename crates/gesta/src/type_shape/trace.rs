//! A deserializer that is led along a path and tells what stands at its end.
//!
//! Always holds: it never makes a value that anybody gets; a run ends with an error, whether the
//! end of the path was reached or not.

use std::{cell::RefCell, fmt, rc::Rc};

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor, value::StrDeserializer,
};

use super::produce::Producer;

/// Where to go from a place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Into an option, a list, a newtype, or the only value of a variant.
    Inner,
    Field(usize),
    Variant(usize),
    Part(usize),
    Key,
    Value,
}

/// What stands at a place.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    Leaf(String),
    /// Any JSON is read, and sorted out where nobody sees it.
    Hidden(String),
    Option,
    List,
    Map,
    Tuple(usize),
    /// The key tells types of one name apart.
    Newtype(String),
    Struct {
        key: String,
        fields: &'static [&'static str],
    },
    Enum {
        key: String,
        variants: &'static [&'static str],
    },
}

/// The end of a run.
#[derive(Debug)]
pub(super) struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("traced")
    }
}

impl std::error::Error for Stopped {}

impl Error for Stopped {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

#[derive(Clone)]
pub(super) struct Tracer<'p> {
    path: &'p [Step],
    /// Which values are tried where one has to be made on the way.
    attempt: usize,
    seen: Rc<RefCell<Option<Seen>>>,
}

impl<'p> Tracer<'p> {
    pub(super) fn new(path: &'p [Step], attempt: usize) -> Self {
        Self { path, attempt, seen: Rc::default() }
    }

    pub(super) fn seen(&self) -> Option<Seen> {
        self.seen.borrow().clone()
    }

    /// The next step, or the end of the run with what is here.
    fn step(&self, here: impl FnOnce() -> Seen) -> Result<(Step, Self), Stopped> {
        let Some((step, path)) = self.path.split_first() else {
            *self.seen.borrow_mut() = Some(here());
            return Err(Stopped);
        };
        Ok((*step, Self { path, ..self.clone() }))
    }

    fn leaf<T>(&self, kind: impl Into<String>) -> Result<T, Stopped> {
        self.step(|| Seen::Leaf(kind.into()))?;
        Err(Stopped)
    }

    fn producer(&self) -> Producer {
        Producer::new(self.attempt)
    }
}

/// What a visitor says that it expects.
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
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stopped> {
            self.leaf($kind)
        })+
    };
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Stopped;

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

    /// A type that reads whatever comes: JSON values do and have no shape, hand-written ones are
    /// known by what they say; what serde derives so hides its fields and variants.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stopped> {
        let expected = expected(&visitor);
        let hides = expected == "any value"
            || ["internally tagged", "struct", "tuple", "unit variant", "untagged"]
                .iter()
                .any(|word| expected.starts_with(word));
        self.step(|| if hides { Seen::Hidden(expected) } else { Seen::Leaf(expected) })?;
        Err(Stopped)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stopped> {
        let (_, rest) = self.step(|| Seen::Option)?;
        visitor.visit_some(rest)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: V,
    ) -> Result<V::Value, Stopped> {
        self.leaf("null")
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stopped> {
        if name.starts_with("$serde_json::") {
            return self.leaf("JSON");
        }
        let (_, rest) = self.step(|| Seen::Newtype(std::any::type_name::<V>().to_owned()))?;
        visitor.visit_newtype_struct(rest)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stopped> {
        let (_, rest) = self.step(|| Seen::List)?;
        visitor.visit_seq(Parts { before: 0, rest })
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Stopped> {
        let (step, rest) = self.step(|| Seen::Tuple(length))?;
        visitor.visit_seq(Parts { before: part(step), rest })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Stopped> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stopped> {
        let (step, rest) = self.step(|| {
            let expected = expected(&visitor);
            if expected.starts_with("struct") { Seen::Hidden(expected) } else { Seen::Map }
        })?;
        visitor.visit_map(Entry { step, rest })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stopped> {
        let (step, rest) = self.step(|| {
            let expected = expected(&visitor);
            if expected.starts_with("adjacently tagged") {
                return Seen::Hidden(expected);
            }
            Seen::Struct { key: std::any::type_name::<V>().to_owned(), fields }
        })?;
        visitor.visit_map(FieldOf { name: field(fields, step)?, rest })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stopped> {
        let (step, rest) =
            self.step(|| Seen::Enum { key: std::any::type_name::<V>().to_owned(), variants })?;
        let Step::Variant(at) = step else { return Err(Stopped) };
        let name = variants.get(at).copied().ok_or(Stopped)?;
        visitor.visit_enum(VariantOf { name, rest })
    }
}

fn field(fields: &'static [&'static str], step: Step) -> Result<&'static str, Stopped> {
    let Step::Field(at) = step else { return Err(Stopped) };
    fields.get(at).copied().ok_or(Stopped)
}

const fn part(step: Step) -> usize {
    match step {
        Step::Part(at) => at,
        Step::Inner | Step::Field(_) | Step::Variant(_) | Step::Key | Step::Value => 0,
    }
}

fn text(name: &'static str) -> StrDeserializer<'static, Stopped> {
    name.into_deserializer()
}

/// A list or a tuple whose parts before the wanted one are made.
struct Parts<'p> {
    before: usize,
    rest: Tracer<'p>,
}

impl<'de> SeqAccess<'de> for Parts<'_> {
    type Error = Stopped;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Stopped> {
        if self.before == 0 {
            return seed.deserialize(self.rest.clone()).map(Some);
        }
        self.before -= 1;
        seed.deserialize(self.rest.producer()).map(Some)
    }
}

/// An entry of a map, of which the key or the value is wanted.
struct Entry<'p> {
    step: Step,
    rest: Tracer<'p>,
}

impl<'de> MapAccess<'de> for Entry<'_> {
    type Error = Stopped;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Stopped> {
        match self.step {
            Step::Value => seed.deserialize(self.rest.producer()).map(Some),
            _ => seed.deserialize(self.rest.clone()).map(Some),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stopped> {
        seed.deserialize(self.rest.clone())
    }
}

/// A struct that has one field.
struct FieldOf<'p> {
    name: &'static str,
    rest: Tracer<'p>,
}

impl<'de> MapAccess<'de> for FieldOf<'_> {
    type Error = Stopped;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Stopped> {
        seed.deserialize(text(self.name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stopped> {
        seed.deserialize(self.rest.clone())
    }
}

/// An enum that is this variant.
struct VariantOf<'p> {
    name: &'static str,
    rest: Tracer<'p>,
}

impl<'de, 'p> EnumAccess<'de> for VariantOf<'p> {
    type Error = Stopped;
    type Variant = Tracer<'p>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Tracer<'p>), Stopped> {
        Ok((seed.deserialize(text(self.name))?, self.rest))
    }
}

impl<'de> VariantAccess<'de> for Tracer<'_> {
    type Error = Stopped;

    fn unit_variant(self) -> Result<(), Stopped> {
        self.leaf("variant")
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Stopped> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Stopped> {
        self.deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stopped> {
        self.deserialize_struct("", fields, visitor)
    }
}

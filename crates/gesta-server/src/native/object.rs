//! Objects of bodies and frames.
//!
//! Owns: [`Object`]. Invariant: a list in place of an object is refused. serde reads a list as the
//! fields of a struct in their order, which no document of this interface promises.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A struct that is read from an object only.
#[derive(Clone, Debug, Default)]
pub(super) struct Object<Fields>(pub(super) Fields);

impl<'de, Fields: Deserialize<'de>> Deserialize<'de> for Object<Fields> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

struct ObjectVisitor<Fields>(PhantomData<Fields>);

impl<'de, Fields: Deserialize<'de>> Visitor<'de> for ObjectVisitor<Fields> {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Fields, A::Error> {
        Fields::deserialize(MapAccessDeserializer::new(map))
    }
}

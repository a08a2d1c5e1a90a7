//! A deserializer that produces trial values, for elements before the path.
//!
//! Invariant: each attempt produces the same values every time. Another attempt tries other texts
//! and numbers, since a type may reject some.

use serde::{
    de::{
        DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
        VariantAccess, Visitor,
    },
    forward_to_deserialize_any,
};

use super::stop::TraceStopped;

/// Texts that string types tend to accept.
const TEXTS: [&str; 12] = [
    "a",
    "1",
    "67e55044-10b1-426f-9247-bb680e5fe0c8",
    "1970-01-01T00:00:00Z",
    "1970-01-01",
    "00:00:00",
    "PT1S",
    "EUR",
    "a@example.org",
    "127.0.0.1",
    "https://example.org/",
    "",
];

/// Number of attempts.
pub(super) const ATTEMPTS: usize = TEXTS.len();

/// Maximum depth of a trial value.
const DEPTH_MAX: u8 = 16;

#[derive(Clone, Copy)]
pub(super) struct Producer {
    attempt: usize,
    depth: u8,
}

impl Producer {
    pub(super) const fn new(attempt: usize) -> Self {
        Self { attempt, depth: 0 }
    }

    const fn deeper(self) -> Result<Self, TraceStopped> {
        if self.depth == DEPTH_MAX {
            return Err(TraceStopped::Ended);
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn text(self) -> &'static str {
        TEXTS.get(self.attempt).copied().unwrap_or_default()
    }

    /// Returns 1, then 0, 2, 3 and so on.
    const fn number(self) -> u8 {
        match self.attempt {
            0 => 1,
            1 => 0,
            more => more as u8,
        }
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident),+ $(,)?) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceStopped> {
            visitor.$visit(self.number().into())
        })+
    };
}

impl<'de> Deserializer<'de> for Producer {
    type Error = TraceStopped;

    numbers! {
        deserialize_i16 visit_i16,
        deserialize_i32 visit_i32,
        deserialize_i64 visit_i64,
        deserialize_i128 visit_i128,
        deserialize_u8 visit_u8,
        deserialize_u16 visit_u16,
        deserialize_u32 visit_u32,
        deserialize_u64 visit_u64,
        deserialize_u128 visit_u128,
        deserialize_f32 visit_f32,
        deserialize_f64 visit_f64,
        deserialize_char visit_char,
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceStopped> {
        visitor.visit_u8(self.number())
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceStopped> {
        visitor.visit_str(self.text())
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceStopped> {
        visitor.visit_bool(self.attempt == 1)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceStopped> {
        visitor.visit_bytes(b"")
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceStopped> {
        visitor.visit_bytes(b"")
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceStopped> {
        visitor.visit_none()
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceStopped> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, TraceStopped> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, TraceStopped> {
        if name.starts_with(RAW_JSON) {
            return visitor.visit_map(RawNumber { name: Some(name), number: self.number() });
        }
        visitor.visit_newtype_struct(self.deeper()?)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TraceStopped> {
        visitor.visit_seq(MadeList { left: 0, part: self })
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, TraceStopped> {
        visitor.visit_seq(MadeList { left: length, part: self.deeper()? })
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
        visitor.visit_map(EmptyMap)
    }

    /// Produces a sequence of fields: it needs no names, and an alias among them would repeat a
    /// field.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TraceStopped> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TraceStopped> {
        let at = self.attempt.checked_rem(variants.len()).ok_or(TraceStopped::Ended)?;
        let name = variants.get(at).copied().ok_or(TraceStopped::Ended)?;
        visitor.visit_enum(MadeVariant { name, part: self.deeper()? })
    }

    forward_to_deserialize_any! { str string identifier ignored_any }
}

/// A sequence of a given length.
struct MadeList {
    left: usize,
    part: Producer,
}

impl<'de> SeqAccess<'de> for MadeList {
    type Error = TraceStopped;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, TraceStopped> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(self.part).map(Some)
    }
}

/// Beginning of the private names by which raw JSON deserializes.
const RAW_JSON: &str = "$serde_json::";

/// A number as raw JSON: a map of its private name to its text.
struct RawNumber {
    name: Option<&'static str>,
    number: u8,
}

impl<'de> MapAccess<'de> for RawNumber {
    type Error = TraceStopped;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, TraceStopped> {
        let Some(name) = self.name.take() else { return Ok(None) };
        let name: serde::de::value::StrDeserializer<'_, TraceStopped> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, TraceStopped> {
        let text = self.number.to_string();
        let text: serde::de::value::StringDeserializer<TraceStopped> = text.into_deserializer();
        seed.deserialize(text)
    }
}

/// A map without entries.
struct EmptyMap;

impl<'de> MapAccess<'de> for EmptyMap {
    type Error = TraceStopped;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        _: K,
    ) -> Result<Option<K::Value>, TraceStopped> {
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, _: V) -> Result<V::Value, TraceStopped> {
        Err(TraceStopped::Ended)
    }
}

struct MadeVariant {
    name: &'static str,
    part: Producer,
}

impl<'de> EnumAccess<'de> for MadeVariant {
    type Error = TraceStopped;
    type Variant = Producer;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Producer), TraceStopped> {
        let name: serde::de::value::StrDeserializer<'_, TraceStopped> =
            self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self.part))
    }
}

impl<'de> VariantAccess<'de> for Producer {
    type Error = TraceStopped;

    fn unit_variant(self) -> Result<(), TraceStopped> {
        Ok(())
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
        self.deserialize_tuple(fields.len(), visitor)
    }
}

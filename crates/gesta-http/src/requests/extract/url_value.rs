//! A serde deserializer of values of a URL.
//!
//! Invariants: a value is read as the type of its field; numbers are digits with an optional minus.
//! Only a list has several values.

use std::fmt;

use serde::{
    Deserializer,
    de::{
        Error as _, IntoDeserializer, Visitor,
        value::{Error, SeqDeserializer},
    },
    forward_to_deserialize_any,
};

/// The values of one name in a URL, in order. One is read as a text, a number or a boolean.
#[derive(Clone, Debug)]
pub(super) struct UrlValues<'p> {
    pub(super) name: &'p str,
    pub(super) values: Vec<&'p str>,
}

impl<'de> IntoDeserializer<'de, Error> for UrlValues<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'p> UrlValues<'p> {
    /// Returns the only value. The error is that of serde for a field that is there twice.
    fn text(&self) -> Result<&'p str, Error> {
        match self.values.as_slice() {
            [only] => Ok(only),
            _ => Err(Error::custom(format!("duplicate field `{}`", self.name))),
        }
    }

    fn number<N: std::str::FromStr + fmt::Display>(&self, min: N, max: N) -> Result<N, Error> {
        let text = self.text()?;
        // `parse` alone would accept a leading `+`.
        let digits = text.strip_prefix('-').unwrap_or(text);
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| plain);
        number.ok_or_else(|| {
            Error::custom(format!("must be a whole number from {min} to {max}; got `{text}`"))
        })
    }
}

macro_rules! numbers {
    ($($read:ident => $visit:ident($kind:ty)),+) => { $(
        fn $read<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit(self.number(<$kind>::MIN, <$kind>::MAX)?)
        }
    )+ };
}

impl<'de> Deserializer<'de> for UrlValues<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        // A URL has only texts; a type that accepts any value gets one.
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        // An absent parameter has no value to read, so this one is present, even if empty.
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Self { name, values } = self;
        let each = values.into_iter().map(|value| Self { name, values: vec![value] });
        visitor.visit_seq(SeqDeserializer::new(each))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.text()? {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            text => Err(Error::custom(format!("must be `true` or `false`; got `{text}`"))),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self.text()?.into_deserializer())
    }

    numbers! {
        deserialize_u8 => visit_u8(u8), deserialize_u16 => visit_u16(u16),
        deserialize_u32 => visit_u32(u32), deserialize_u64 => visit_u64(u64),
        deserialize_i8 => visit_i8(i8), deserialize_i16 => visit_i16(i16),
        deserialize_i32 => visit_i32(i32), deserialize_i64 => visit_i64(i64)
    }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple tuple_struct
        map struct identifier ignored_any
    }
}

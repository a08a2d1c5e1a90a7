//! A serializer wrapper that rejects values that could not be decoded.
//!
//! Invariant: every number and every nesting at any depth passes it, since nested values are
//! wrapped. The fault is returned in a cell next to the error, because the error's type belongs to
//! the inner serializer.

use std::cell::Cell;

use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// Maximum nesting of arrays and objects, one level less than `serde_json` rejects on reading.
pub(super) const DEPTH_MAX: u8 = 127;

/// The reason of a rejection.
#[derive(Clone, Copy, Debug)]
pub(super) enum GuardFault {
    NotFinite(f64),
    TooDeep,
}

/// A serializer that passes on valid values.
pub(super) struct Guard<'f, S> {
    inner: S,
    context: Context<'f>,
}

/// Nesting depth of a value, and the cell that receives a fault.
#[derive(Clone, Copy)]
struct Context<'f> {
    depth: u8,
    fault: &'f Cell<Option<GuardFault>>,
}

/// A nested value, guarded as well.
struct Nested<'f, 'v, T: ?Sized> {
    value: &'v T,
    context: Context<'f>,
}

/// An array or object being serialized.
pub(super) struct Compound<'f, S> {
    inner: S,
    context: Context<'f>,
}

impl<'f, S: Serializer> Guard<'f, S> {
    pub(super) fn new(inner: S, fault: &'f Cell<Option<GuardFault>>) -> Self {
        Self { inner, context: Context { depth: 0, fault } }
    }

    fn finite(&self, value: f64) -> Result<(), S::Error> {
        if value.is_finite() {
            return Ok(());
        }
        self.context.fault.set(Some(GuardFault::NotFinite(value)));
        Err(S::Error::custom("a number that is not finite"))
    }

    /// Returns the context at `levels` levels deeper.
    fn inside(&self, levels: u8) -> Result<Context<'f>, S::Error> {
        let depth = self.context.depth + levels;
        if depth <= DEPTH_MAX {
            return Ok(Context { depth, ..self.context });
        }
        self.context.fault.set(Some(GuardFault::TooDeep));
        Err(S::Error::custom("a value that is nested too deep"))
    }
}

impl<'f> Context<'f> {
    fn nested<T: ?Sized>(self, value: &T) -> Nested<'f, '_, T> {
        Nested { value, context: self }
    }
}

impl<T: Serialize + ?Sized> Serialize for Nested<'_, '_, T> {
    fn serialize<S: Serializer>(&self, inner: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Guard { inner, context: self.context })
    }
}

macro_rules! pass_on {
    ($($method:ident($kind:ty)),+ $(,)?) => {
        $(fn $method(self, value: $kind) -> Result<S::Ok, S::Error> {
            self.inner.$method(value)
        })+
    };
}

impl<'f, S: Serializer> Serializer for Guard<'f, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Compound<'f, S::SerializeSeq>;
    type SerializeTuple = Compound<'f, S::SerializeTuple>;
    type SerializeTupleStruct = Compound<'f, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Compound<'f, S::SerializeTupleVariant>;
    type SerializeMap = Compound<'f, S::SerializeMap>;
    type SerializeStruct = Compound<'f, S::SerializeStruct>;
    type SerializeStructVariant = Compound<'f, S::SerializeStructVariant>;

    pass_on! {
        serialize_bool(bool),
        serialize_i8(i8),
        serialize_i16(i16),
        serialize_i32(i32),
        serialize_i64(i64),
        serialize_i128(i128),
        serialize_u8(u8),
        serialize_u16(u16),
        serialize_u32(u32),
        serialize_u64(u64),
        serialize_u128(u128),
        serialize_char(char),
        serialize_str(&str),
        serialize_bytes(&[u8]),
        serialize_unit_struct(&'static str),
    }

    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        self.finite(value.into())?;
        self.inner.serialize_f32(value)
    }

    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        self.finite(value)?;
        self.inner.serialize_f64(value)
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_none()
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.serialize_some(&self.context.nested(value))
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_variant(name, index, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        // Written as its content, so it adds no level.
        self.inner.serialize_newtype_struct(name, &self.context.nested(value))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let context = self.inside(1)?;
        self.inner.serialize_newtype_variant(name, index, variant, &context.nested(value))
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        let context = self.inside(1)?;
        Ok(Compound { inner: self.inner.serialize_seq(length)?, context })
    }

    fn serialize_tuple(self, length: usize) -> Result<Self::SerializeTuple, S::Error> {
        let context = self.inside(1)?;
        Ok(Compound { inner: self.inner.serialize_tuple(length)?, context })
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        let context = self.inside(1)?;
        Ok(Compound { inner: self.inner.serialize_tuple_struct(name, length)?, context })
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        // A tuple variant is an object with the variant's name that contains an array.
        let context = self.inside(2)?;
        let inner = self.inner.serialize_tuple_variant(name, index, variant, length)?;
        Ok(Compound { inner, context })
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        let context = self.inside(1)?;
        Ok(Compound { inner: self.inner.serialize_map(length)?, context })
    }

    fn serialize_struct(
        self,
        name: &'static str,
        length: usize,
    ) -> Result<Self::SerializeStruct, S::Error> {
        let context = self.inside(1)?;
        Ok(Compound { inner: self.inner.serialize_struct(name, length)?, context })
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        let context = self.inside(2)?;
        // An object with the variant's name that contains an object.
        let inner = self.inner.serialize_struct_variant(name, index, variant, length)?;
        Ok(Compound { inner, context })
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! elements {
    ($($part:ident $method:ident),+ $(,)?) => {
        $(impl<S: $part> $part for Compound<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                self.inner.$method(&self.context.nested(value))
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        })+
    };
}

elements! {
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field,
}

macro_rules! fields {
    ($($part:ident),+) => {
        $(impl<S: $part> $part for Compound<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), S::Error> {
                self.inner.serialize_field(key, &self.context.nested(value))
            }

            fn skip_field(&mut self, key: &'static str) -> Result<(), S::Error> {
                self.inner.skip_field(key)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        })+
    };
}

fields!(SerializeStruct, SerializeStructVariant);

impl<S: SerializeMap> SerializeMap for Compound<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.inner.serialize_key(&self.context.nested(key))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.inner.serialize_value(&self.context.nested(value))
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.inner.end()
    }
}

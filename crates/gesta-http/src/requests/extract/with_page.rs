//! Query parameters of a list: its own, and those of its pages.
//!
//! Invariant: a parameter that neither the list nor its pages have is refused, and the refusal
//! names those of both.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeSeed, Error as _, IntoDeserializer, MapAccess, Visitor,
        value::{MapAccessDeserializer, StrDeserializer},
    },
};

use crate::{Cursor, Field, Fields, PageLimit, Schemas};

/// The parameters of a list, with those of its pages.
#[derive(Debug)]
pub(crate) struct WithPage<T> {
    pub(crate) parameters: T,
    pub(crate) page: PageParameters,
}

/// The parameters that every list has.
#[derive(Debug, Default)]
pub(crate) struct PageParameters {
    pub(crate) cursor: Option<Cursor>,
    pub(crate) limit: Option<PageLimit>,
}

/// The parameters of an operation that has none.
#[derive(Debug)]
pub struct NoParameters;

impl Fields for NoParameters {
    const NAME: &'static str = "NoParameters";
    const DESCRIPTION: &'static str = "";

    fn fields(_: &mut Schemas) -> Vec<Field> {
        Vec::new()
    }
}

impl<'de> Deserialize<'de> for NoParameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Empty {}

        Empty::deserialize(deserializer).map(|Empty {}| Self)
    }
}

impl<T: Fields> Fields for WithPage<T> {
    const NAME: &'static str = T::NAME;
    const DESCRIPTION: &'static str = T::DESCRIPTION;

    fn fields(schemas: &mut Schemas) -> Vec<Field> {
        let mut fields = T::fields(schemas);
        fields.push(Field::named::<Option<Cursor>>(
            "cursor",
            "Value of `next` from the previous page.",
            schemas,
        ));
        fields.push(Field::named::<Option<PageLimit>>(
            "limit",
            "Maximum number of entries per page.",
            schemas,
        ));
        fields
    }
}

impl<'de, T: Deserialize<'de> + Fields> Deserialize<'de> for WithPage<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(WithPageVisitor(PhantomData))
    }
}

struct WithPageVisitor<T>(PhantomData<fn() -> T>);

impl<'de, T: Deserialize<'de> + Fields> Visitor<'de> for WithPageVisitor<T> {
    type Value = WithPage<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the parameters of a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WithPage<T>, A::Error> {
        let fields = WithPage::<T>::fields(&mut Schemas::default());
        let names = fields.into_iter().map(|field| field.name).collect();
        let mut page = PageParameters::default();
        // The page's parameters are taken on the way; `T` sees only its own.
        let others = OtherParameters { map, names, page: &mut page };
        let parameters = T::deserialize(MapAccessDeserializer::new(others))?;
        Ok(WithPage { parameters, page })
    }
}

/// The parameters other than those of pages.
struct OtherParameters<'p, A> {
    map: A,
    names: Vec<String>,
    page: &'p mut PageParameters,
}

impl<A> OtherParameters<'_, A> {
    /// Returns the error text of an unknown parameter, as serde writes it.
    fn unknown(&self, name: &str) -> String {
        let quoted: Vec<_> = self.names.iter().map(|name| format!("`{name}`")).collect();
        let known = match quoted.as_slice() {
            [first, second] => format!("{first} or {second}"),
            more => format!("one of {}", more.join(", ")),
        };
        format!("unknown field `{name}`, expected {known}")
    }
}

fn set_once<T, E: serde::de::Error>(
    slot: &mut Option<T>,
    name: &'static str,
    value: T,
) -> Result<(), E> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::duplicate_field(name)),
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for OtherParameters<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        while let Some(name) = self.map.next_key::<String>()? {
            match name.as_str() {
                "cursor" => {
                    let cursor = self.map.next_value()?;
                    set_once(&mut self.page.cursor, "cursor", cursor)?;
                }
                "limit" => set_once(&mut self.page.limit, "limit", self.map.next_value()?)?,
                own if self.names.iter().any(|name| name == own) => {
                    let name: StrDeserializer<'_, A::Error> = own.into_deserializer();
                    return seed.deserialize(name).map(Some);
                }
                unknown => return Err(A::Error::custom(self.unknown(unknown))),
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

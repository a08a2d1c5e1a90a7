//! Shapes of types that programs may have, with their untraced places.

use std::collections::{BTreeMap, HashMap};

use serde_json::json;
use uuid::Uuid;

use super::*;

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape is looked at")]
struct Cart {
    lines: Vec<Line>,
    by_code: BTreeMap<Code, Option<Line>>,
    by_id: HashMap<Wrapped, Status>,
    pair: (Code, Status, [u8; 2]),
}

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String")]
struct Code(String);

impl TryFrom<String> for Code {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "EUR" { Ok(Self(text)) } else { Err("is no currency") }
    }
}

#[derive(Deserialize, PartialEq, Eq, Hash)]
#[serde(try_from = "String")]
struct Wrapped(Uuid);

impl TryFrom<String> for Wrapped {
    type Error = &'static str;

    /// Panics on invalid input, as careless programs do.
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Ok(Self(text.parse().expect("an id")))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its shape is looked at")]
struct Line {
    unit_price: u32,
    #[serde(default)]
    note: Option<String>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape is looked at")]
enum Status {
    Open,
    Paid { at: u64 },
    Moved(Box<Status>),
    Split(Line, u8),
}

fn kinds<T: DeserializeOwned>() -> BTreeMap<String, String> {
    TypeShape::of::<T>().0
}

#[test]
fn types_inside_of_empty_lists_options_maps_and_unused_variants_are_seen() {
    let kinds = kinds::<Cart>();
    for (place, kind) in [
        (".", "struct"),
        ("lines[].unitPrice", "u32"),
        ("lines[].note?", "text"),
        ("by_code{key}", "text"),
        ("by_code{}?.unitPrice", "u32"),
        ("by_id{}::Open", "variant"),
        ("by_id{}::Paid.at", "u64"),
        ("by_id{}::Moved", "as by_id{}"),
        ("by_id{}::Split", "tuple of 2"),
        ("pair.1::Split.0.unitPrice", "u32"),
        ("pair.2.1", "u8"),
    ] {
        assert_eq!(kinds.get(place).map(String::as_str), Some(kind), "{place}: {kinds:#?}");
    }
    assert_eq!(TypeShape::of::<Cart>().untraced().count(), 0, "{kinds:#?}");
}

#[test]
fn a_recursive_type_ends() {
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    struct Tree {
        children: Vec<Tree>,
        named: BTreeMap<String, Tree>,
    }
    let kinds = kinds::<Tree>();
    assert_eq!(kinds["children[]"], "as .");
    assert_eq!(kinds["named{}"], "as .");
}

#[test]
fn what_hides_its_shape_is_listed() {
    #[derive(Deserialize)]
    #[serde(tag = "kind")]
    #[expect(dead_code, reason = "only its shape is looked at")]
    enum Tagged {
        One { a: u8 },
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    enum Untagged {
        One { a: u8 },
    }
    #[derive(Deserialize)]
    #[serde(tag = "kind", content = "value")]
    #[expect(dead_code, reason = "only its shape is looked at")]
    enum Adjacent {
        One(Line),
    }
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    struct Flat {
        #[serde(flatten)]
        rest: Line,
    }
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    struct Holds {
        tagged: Vec<Tagged>,
        untagged: Untagged,
        adjacent: Adjacent,
        flat: Flat,
        json: serde_json::Value,
        raw: Box<serde_json::value::RawValue>,
        after: u8,
    }
    let shape = TypeShape::of::<Holds>();
    let hidden: Vec<&str> = shape.untraced().map(|(place, _)| place).collect();
    assert_eq!(hidden, ["adjacent", "flat", "tagged[]", "untagged"], "{shape}");
    assert_eq!(shape.0["after"], "u8");
}

#[test]
fn names_of_types_do_not_matter_and_names_of_variants_do() {
    mod renamed {
        use super::{Code, Deserialize};

        #[derive(Deserialize)]
        #[expect(dead_code, reason = "only its shape is looked at")]
        pub(super) struct Before {
            pub(super) by: Carrier,
            pub(super) code: Code,
        }

        #[derive(Deserialize)]
        #[expect(dead_code, reason = "only its shape is looked at")]
        pub(super) enum Carrier {
            Pigeon { name: String },
        }
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    struct Now {
        by: Renamed,
        code: Code,
    }
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    enum Renamed {
        Pigeon { name: String },
    }
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    struct Grown {
        by: GrownCarrier,
        code: Code,
        note: Option<Line>,
    }
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    enum GrownCarrier {
        Pigeon { name: String },
        Drone { rotors: u8 },
    }
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    struct Changed {
        by: ChangedCarrier,
        code: Code,
        must: u8,
    }
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    enum ChangedCarrier {
        Dove { name: String },
    }
    let before = TypeShape::of::<renamed::Before>();
    assert_eq!(TypeShape::of::<Now>(), before);
    assert_eq!(TypeShape::of::<Grown>().breaks(&before), Vec::<String>::new());
    assert_eq!(
        TypeShape::of::<Changed>().breaks(&before),
        ["by::Pigeon (struct) is gone", "by::Pigeon.name (text) is gone", "must (u8) is new",]
    );
}

/// Returns the schema of a place.
fn schema_at(schema: &Value, pointer: &str) -> Value {
    schema.pointer(pointer).unwrap_or_else(|| panic!("{pointer} in {schema}")).clone()
}

#[test]
fn a_schema_has_each_place_with_its_kind_of_value() {
    let (shape, schema) = TypeShape::with_schema::<Cart>();
    assert_eq!(shape, TypeShape::of::<Cart>());
    let at = |pointer: &str| schema_at(&schema, pointer);
    assert_eq!(at("/required"), json!(["lines", "by_code", "by_id", "pair"]));
    let line = "/properties/lines/items";
    assert_eq!(at(&format!("{line}/required")), json!(["unitPrice"]), "a note may be absent");
    let price = json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX });
    assert_eq!(at(&format!("{line}/properties/unitPrice")), price);
    let note = json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] });
    assert_eq!(at(&format!("{line}/properties/note")), note);
    let status = "/properties/by_id/additionalProperties/anyOf";
    assert_eq!(at(&format!("{status}/0/enum")), json!(["Open"]));
    assert_eq!(at(&format!("{status}/1/required")), json!(["Paid"]));
    assert_eq!(at(&format!("{status}/2/properties/Moved")), json!({}), "a status in a status");
    assert_eq!(at("/properties/pair/prefixItems/2/maxItems"), json!(2));
}

#[test]
fn a_schema_requires_what_the_type_cannot_be_read_without() {
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    struct Order {
        amount: Box<serde_json::value::RawValue>,
        #[serde(default)]
        lines: Vec<Line>,
        currency: Code,
        note: Option<String>,
        never: Never,
        after: u8,
    }
    #[derive(Deserialize)]
    #[serde(try_from = "String")]
    #[expect(dead_code, reason = "only its shape is looked at")]
    struct Never(String);
    impl TryFrom<String> for Never {
        type Error = &'static str;

        fn try_from(_: String) -> Result<Self, Self::Error> {
            Err("is never right")
        }
    }
    let (_, schema) = TypeShape::with_schema::<Order>();
    let required = schema_at(&schema, "/required");
    assert_eq!(required, json!(["amount", "currency", "never"]), "`after` comes after a mystery");
}

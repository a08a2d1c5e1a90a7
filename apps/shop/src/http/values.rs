//! JSON forms of the shop's values in requests and responses.
//!
//! Invariant: the schema of a request type accepts exactly what its deserialization accepts. In
//! requests an id is printable ASCII, and an amount has one spelling, apart from trailing zeros.

use std::fmt;

use gesta_http::{PathId, Repeated, Schema, Schemas};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Value, json, value::RawValue};

use crate::{
    accounts::Currency,
    checks,
    id::{AccountId, CreditNoteId, CustomerId, ID_BYTES_MAX, OrderId, ProductId, UserId},
    money::Money,
    quantity::Quantity,
};

/// An id in requests: visible ASCII and inner spaces, first a letter or digit.
#[derive(Clone, Debug)]
pub(crate) struct Id<T>(pub(crate) T);

impl<'de, T: TryFrom<String, Error: fmt::Display>> Deserialize<'de> for Id<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // Narrower than the rules of ids: the id appears in paths and headers, and a pattern of
        // JSON Schema can express ASCII exactly. Stored ids from an import may have more.
        let inside = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if !inside || !text.starts_with(|first: char| first.is_ascii_alphanumeric()) {
            let odd = "must be an id in printable ASCII that begins with a letter or digit";
            return Err(D::Error::custom(odd));
        }
        T::try_from(text).map(Self).map_err(D::Error::custom)
    }
}

/// Returns the ids that a parameter names.
pub(crate) fn ids_of<T: From<Id<T>>>(parameter: Option<Repeated<Id<T>>>) -> Vec<T> {
    let ids = parameter.map(Repeated::into_vec).unwrap_or_default();
    ids.into_iter().map(T::from).collect()
}

impl<T> Schema for Id<T> {
    fn schema(_: &mut Schemas) -> Value {
        // The first and the last character are matched separately: no space at an end.
        let inside = ID_BYTES_MAX - 2;
        json!({
            "type": "string",
            "pattern": format!("^[0-9A-Za-z]([ -~]{{0,{inside}}}[!-~])?$"),
        })
    }
}

/// A text in requests, as [`checks::text`] accepts it.
#[derive(Clone, Debug)]
pub(crate) struct Text(pub(crate) String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The framework adds the name of the field, which is not known here.
        match checks::text("text", &text) {
            Ok(()) => Ok(Self(text)),
            Err(invalid) => Err(D::Error::custom(invalid.reason)),
        }
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.0
    }
}

impl Schema for Text {
    fn schema(schemas: &mut Schemas) -> Value {
        schemas.component("Text", |_| {
            // The characters of `char::is_control` and `char::is_whitespace`.
            let control = r"\u0000-\u001F\u007F-\u009F";
            let blank = r" \u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000";
            json!({
                "type": "string",
                "minLength": 1,
                "maxLength": checks::TEXT_CHARS_MAX,
                "pattern": format!("^[^{control}]*[^{control}{blank}][^{control}]*$"),
            })
        })
    }
}

/// Words of a search.
#[derive(Clone, Debug)]
pub(crate) struct Words(pub(crate) String);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.chars().count() > checks::TEXT_CHARS_MAX {
            return Err(D::Error::custom(format!(
                "must have at most {} characters; has {}",
                checks::TEXT_CHARS_MAX,
                text.chars().count()
            )));
        }
        Ok(Self(text))
    }
}

impl Schema for Words {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "string", "maxLength": checks::TEXT_CHARS_MAX })
    }
}

/// A list of `MIN` to `MAX` entries.
#[derive(Clone, Debug)]
pub(crate) struct List<T, const MIN: usize, const MAX: usize>(pub(crate) Vec<T>);

impl<'de, T: Deserialize<'de>, const MIN: usize, const MAX: usize> Deserialize<'de>
    for List<T, MIN, MAX>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The body's size limit bounds the number of entries that are read before this check.
        let entries = Vec::deserialize(deserializer)?;
        if (MIN..=MAX).contains(&entries.len()) {
            return Ok(Self(entries));
        }
        let odd = format!("must have between {MIN} and {MAX} entries; has {}", entries.len());
        Err(D::Error::custom(odd))
    }
}

impl<T, U: From<T>, const MIN: usize, const MAX: usize> From<List<T, MIN, MAX>> for Vec<U> {
    fn from(list: List<T, MIN, MAX>) -> Self {
        list.0.into_iter().map(U::from).collect()
    }
}

impl<T: Schema, const MIN: usize, const MAX: usize> Schema for List<T, MIN, MAX> {
    fn schema(schemas: &mut Schemas) -> Value {
        let items = T::schema(schemas);
        json!({ "type": "array", "items": items, "minItems": MIN, "maxItems": MAX })
    }

    fn example() -> Option<Value> {
        Vec::<T>::example()
    }
}

impl Schema for Quantity {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "integer", "minimum": 1, "maximum": Self::MAX })
    }
}

/// A whole number, even if written as `4.0` or `1e3`: JSON Schema does not distinguish them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whole(pub(crate) i64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The digits themselves, before any number type has rounded them.
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        // Parsed as a decimal, since `f64` is not exact and the integer parser refuses `4.0`.
        let whole: Option<Money> = raw.get().parse().ok().filter(|it: &Money| it.decimals() == 0);
        let digits = whole.map(|whole| whole.to_string());
        let number = digits.and_then(|digits| digits.parse().ok());
        number.map(Self).ok_or_else(|| {
            D::Error::custom("must be a whole number that fits into 64 bits, such as 3")
        })
    }
}

/// Converts a number of a request; the error is the text for the client.
pub(crate) fn quantity(number: i64) -> Result<Quantity, String> {
    // The framework's own error would name the type; this one names the range.
    let quantity = u64::try_from(number).ok().and_then(|number| Quantity::new(number).ok());
    let max = Quantity::MAX;
    quantity.ok_or_else(|| format!("must be between 1 and {max}; got {number}"))
}

/// A quantity in requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pieces(pub(crate) Quantity);

impl<'de> Deserialize<'de> for Pieces {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Whole(number) = Whole::deserialize(deserializer)?;
        quantity(number).map(Self).map_err(D::Error::custom)
    }
}

impl From<Pieces> for Quantity {
    fn from(pieces: Pieces) -> Self {
        pieces.0
    }
}

impl Schema for Pieces {
    fn schema(schemas: &mut Schemas) -> Value {
        Quantity::schema(schemas)
    }

    fn example() -> Option<Value> {
        Some(json!(2))
    }
}

/// Reads a string or number of less than 1,000,000,000 with up to four decimal places.
fn read_amount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Money, D::Error> {
    let odd = || {
        D::Error::custom(
            "must be an amount such as \"3.39\", below 1,000,000,000 and with at most four decimal \
             places",
        )
    };
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    // A string must have the one spelling of the schema's pattern; a number may be `1e2`.
    let amount: Money = match raw.get().starts_with('"') {
        true => {
            let text: String = serde_json::from_str(raw.get()).map_err(D::Error::custom)?;
            let plain = is_plain(&text);
            text.parse().ok().filter(|_| plain).ok_or_else(odd)?
        }
        false => raw.get().parse().map_err(|_| odd())?,
    };
    // Stricter by one than `checks::amount`, which allows the maximum itself: a pattern can limit
    // the number of digits and not the value.
    let fits =
        amount.abs() < checks::AMOUNT_MAX && amount.decimals() <= checks::AMOUNT_DECIMALS_MAX;
    if fits { Ok(amount) } else { Err(odd()) }
}

/// Returns whether a text has digits and up to four decimal places, without leading zeros.
fn is_plain(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, decimals) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = whole == "0" || !whole.starts_with('0');
    digits(whole) && digits(decimals) && canonical && decimals.len() <= 4
}

// Patterns and bounds of the amounts that `read_amount` accepts.
const WHOLE: &str = "(0|[1-9][0-9]{0,8})";
const DECIMALS: &str = r"(\.[0-9]{1,4})?";
// Without zero: the digits before the point, or those after it, are not all zeros.
const POSITIVE: &str = r"([1-9][0-9]{0,8}(\.[0-9]{1,4})?|0\.([1-9][0-9]{0,3}|0[1-9][0-9]{0,2}|00[1-9][0-9]?|000[1-9]))";
const NUMBER_MAX: f64 = 999_999_999.999_9;
const STEP: f64 = 0.0001;

macro_rules! amount {
    ($(#[doc = $doc:literal])* $name:ident, $admits:expr, $pattern:expr, $bound:literal: $least:expr) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name(pub(crate) Money);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let amount = read_amount(deserializer)?;
                // The type annotation lets the closure in the macro's argument infer its parameter.
                let admits: fn(Money) -> bool = $admits;
                if admits(amount) {
                    return Ok(Self(amount));
                }
                // The type's summary is also the text for clients: "must be an amount of …".
                Err(D::Error::custom(concat!("must be", $($doc),*)))
            }
        }

        impl From<$name> for Money {
            fn from(amount: $name) -> Self {
                amount.0
            }
        }

        impl Schema for $name {
            fn schema(schemas: &mut Schemas) -> Value {
                schemas.component(stringify!($name), |_| {
                    let number = json!({
                        "type": "number",
                        $bound: $least,
                        "maximum": NUMBER_MAX,
                        "multipleOf": STEP,
                    });
                    let text = json!({ "type": "string", "pattern": $pattern });
                    // Strings are preferred and come first; numbers are accepted for convenience.
                    json!({ "anyOf": [text, number] })
                })
            }

            fn example() -> Option<Value> {
                Some(json!("2.50"))
            }
        }
    };
}

amount! {
    /// an amount
    AnyAmount, |_| true, format!("^-?{WHOLE}{DECIMALS}$"), "minimum": -NUMBER_MAX
}
amount! {
    /// an amount of zero or more
    AmountFromZero, |amount| amount >= Money::ZERO, format!("^{WHOLE}{DECIMALS}$"), "minimum": 0
}
amount! {
    /// an amount of more than zero
    PositiveAmount, |amount| amount > Money::ZERO, format!("^{POSITIVE}$"), "exclusiveMinimum": 0
}

/// Accepts every amount in responses, without the limits of requests.
impl Schema for Money {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$" })
    }
}

impl Schema for Currency {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "string", "pattern": "^[A-Z]{3}$" })
    }

    fn example() -> Option<Value> {
        Some(json!("GBP"))
    }
}

macro_rules! ids {
    ($($id:ident: $description:literal),+) => { $(
        impl From<Id<$id>> for $id {
            fn from(id: Id<$id>) -> Self {
                id.0
            }
        }

        impl PathId for Id<$id> {
            const DESCRIPTION: &'static str = $description;
        }

        /// Accepts every id in responses: the import and other clients are not limited to ASCII.
        impl Schema for $id {
            fn schema(_: &mut Schemas) -> Value {
                json!({ "type": "string", "minLength": 1, "maxLength": ID_BYTES_MAX })
            }
        }
    )+ };
}
ids! {
    UserId: "Id of the user.",
    ProductId: "Code of the product.",
    OrderId: "Id of the order.",
    CustomerId: "Id of the customer.",
    CreditNoteId: "Id of the credit note.",
    AccountId: "Id of the account."
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads<T: for<'de> Deserialize<'de>>(json: &str) -> bool {
        serde_json::from_str::<T>(json).is_ok()
    }

    #[test]
    fn an_id_is_plain_ascii_that_a_path_can_carry() {
        for fine in ["71053", "BANK CHARGES", "a/b", "C536379", "x"] {
            assert!(reads::<Id<ProductId>>(&format!("\"{fine}\"")), "{fine}");
        }
        for odd in ["", ".", "..", " a", "a ", "é", "-a", &"a".repeat(101)] {
            assert!(!reads::<Id<ProductId>>(&format!("\"{odd}\"")), "{odd}");
        }
    }

    #[test]
    fn an_amount_is_a_string_or_a_number_of_the_same_digits() {
        for fine in ["3.39", "0", "0.0001", "999999999.9999", "10.50"] {
            assert!(reads::<AmountFromZero>(&format!("\"{fine}\"")), "{fine}");
            assert!(reads::<AmountFromZero>(fine), "{fine}");
        }
        assert!(reads::<AmountFromZero>("1e2"), "JSON may spell a number like this");
        for odd in ["1e2", "00", "01", ".5", "5.", "+1", " 1", "1_0", "-1", "1000000000", "1.00000"]
        {
            assert!(!reads::<AmountFromZero>(&format!("\"{odd}\"")), "{odd}");
        }
        assert!(!reads::<AmountFromZero>("0.00001"));
        assert!(!reads::<PositiveAmount>("\"0.0\""));
        assert!(reads::<AnyAmount>("\"-5.2\""));
        assert!(!reads::<AnyAmount>("null"));
    }

    #[test]
    fn a_number_of_pieces_is_whole_however_it_is_spelled() {
        for fine in ["1", "4.0", "1e3", "1000000"] {
            assert!(reads::<Pieces>(fine), "{fine}");
        }
        for odd in ["0", "-1", "1.5", "1000001", "\"1\"", "1e99", "null"] {
            assert!(!reads::<Pieces>(odd), "{odd}");
        }
    }
}

//! Cursors: the place of a document in the order of a search.
//!
//! Invariant: documents are ordered by their rank, then by id. A rank is a number of 64 bits that
//! keeps the order of the value that is sorted by, for each engine alike.

use std::{fmt, str::FromStr};

/// The place after which a page begins. Its text is opaque, and may be kept by clients.
///
/// ```
/// use gesta_search::{Cursor, InvalidCursor};
///
/// assert!("what".parse::<Cursor>().is_err());
/// let error = "what".parse::<Cursor>().unwrap_err();
/// assert_eq!(error, InvalidCursor);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Order of the page before.
    pub(crate) order: Order,
    pub(crate) rank: u64,
    pub(crate) id: String,
}

/// The kind and direction of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Relevance,
    NumberUp,
    NumberDown,
    DateUp,
    DateDown,
    Id,
}

/// The error for a text that is no cursor. Pass on what a page returned, or begin without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of a search; pass the cursor that the page before has returned")]
pub struct InvalidCursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:016x}.{}", self.order.letter(), self.rank, self.id)
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let mut letters = text.chars();
        let order = letters.next().and_then(Order::of).ok_or(InvalidCursor)?;
        let (rank, id) = letters.as_str().split_once('.').ok_or(InvalidCursor)?;
        let is_rank = rank.len() == 16 && rank.bytes().all(|byte| byte.is_ascii_hexdigit());
        let rank = u64::from_str_radix(rank, 16).map_err(|_| InvalidCursor)?;
        if is_rank && !id.is_empty() {
            Ok(Self { order, rank, id: id.to_owned() })
        } else {
            Err(InvalidCursor)
        }
    }
}

impl Order {
    const fn letter(self) -> char {
        match self {
            Self::Relevance => 'r',
            Self::NumberUp => 'n',
            Self::NumberDown => 'm',
            Self::DateUp => 'd',
            Self::DateDown => 'e',
            Self::Id => 'i',
        }
    }

    fn of(letter: char) -> Option<Self> {
        let all = [
            Self::Relevance,
            Self::NumberUp,
            Self::NumberDown,
            Self::DateUp,
            Self::DateDown,
            Self::Id,
        ];
        all.into_iter().find(|order| order.letter() == letter)
    }
}

/// The rank of a score: the greatest is first.
pub(crate) fn rank_of_score(score: f32) -> u64 {
    !rank_of_number(f64::from(score))
}

pub(crate) fn score_of_rank(rank: u64) -> f64 {
    number_of_rank(!rank)
}

/// Keeps the order of numbers: the sign bit is flipped, and all bits of negative ones.
pub(crate) fn rank_of_number(number: f64) -> u64 {
    let bits = number.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | (1 << 63) }
}

pub(crate) fn number_of_rank(rank: u64) -> f64 {
    f64::from_bits(if rank >> 63 == 1 { rank & !(1 << 63) } else { !rank })
}

pub(crate) const fn rank_of_date(micros: i64) -> u64 {
    micros.cast_unsigned() ^ (1 << 63)
}

pub(crate) const fn date_of_rank(rank: u64) -> i64 {
    (rank ^ (1 << 63)).cast_signed()
}

/// The rank of a document without the value: it is last in both directions.
pub(crate) fn rank_without_value(order: Order) -> u64 {
    match order {
        Order::NumberUp => rank_of_number(f64::INFINITY),
        Order::NumberDown => !rank_of_number(f64::NEG_INFINITY),
        Order::DateUp | Order::DateDown | Order::Relevance | Order::Id => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_keep_the_order_and_can_be_read_back() {
        let numbers = [f64::NEG_INFINITY, -2.5, -0.5, 0.0, 0.5, 1e300, f64::INFINITY];
        let ranks = numbers.map(rank_of_number);
        assert!(ranks.is_sorted() && ranks.map(number_of_rank) == numbers);
        let dates = [i64::MIN, -1, 0, 1, i64::MAX];
        let ranks = dates.map(rank_of_date);
        assert!(ranks.is_sorted() && ranks.map(date_of_rank) == dates);
        assert!(rank_of_score(2.0) < rank_of_score(1.5));
        assert_eq!(score_of_rank(rank_of_score(1.5)), 1.5);
    }

    #[test]
    fn a_cursor_comes_back_from_its_text() {
        for (order, id) in [(Order::Relevance, "1"), (Order::DateDown, "a.b é"), (Order::Id, "x")]
        {
            let cursor = Cursor { order, rank: 77, id: id.to_owned() };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for text in ["", "r", "r12.a", "r000000000000004d.", "x000000000000004d.a", "é"] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text}");
        }
    }
}

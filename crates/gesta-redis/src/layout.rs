//! The bytes of marks and answers.
//!
//! | value | bytes |
//! | --- | --- |
//! | mark | epoch (16 hexadecimal digits), position (20 digits) |
//! | answer | position (20 digits), an epoch for each mark, the encoded answer |
//! | turn to load | token (32 hexadecimal digits), position (20 digits) |
//!
//! Positions have all digits of the greatest one, so that scripts compare them as texts. The
//! scripts in `scripts/` know these lengths.

use bytes::Bytes;
use gesta_store::{CachedAnswer, Position};

pub(crate) const EPOCH_LENGTH: usize = 16;
const POSITION_LENGTH: usize = 20;
pub(crate) const TOKEN_LENGTH: usize = 32;

/// Returns the digits of a position.
pub(crate) fn digits(position: Position) -> String {
    format!("{:020}", position.number())
}

fn position_of(digits: &[u8]) -> Option<Position> {
    let digits = str::from_utf8(digits).ok()?;
    digits.parse().ok().map(Position::new)
}

/// Returns the stored form of an answer.
pub(crate) fn write_answer(answer: &CachedAnswer, epochs: &[u8]) -> Vec<u8> {
    [digits(answer.position).as_bytes(), epochs, &answer.bytes].concat()
}

/// Reads an answer that depends on this many marks, without judging it.
pub(crate) fn read_answer(stored: Bytes, marks: usize) -> Option<CachedAnswer> {
    let position = position_of(stored.get(..POSITION_LENGTH)?)?;
    let header = POSITION_LENGTH + marks * EPOCH_LENGTH;
    let bytes = (stored.len() >= header).then(|| stored.slice(header..))?;
    Some(CachedAnswer { position, bytes })
}

/// Reads an answer, unless one of its marks is gone, was made anew, or is at a later position.
pub(crate) fn valid_answer(stored: Bytes, marks: &[Option<Vec<u8>>]) -> Option<CachedAnswer> {
    let position = position_of(stored.get(..POSITION_LENGTH)?)?;
    for (index, mark) in marks.iter().enumerate() {
        let start = POSITION_LENGTH + index * EPOCH_LENGTH;
        let (epoch, set_to) = mark.as_ref()?.split_at_checked(EPOCH_LENGTH)?;
        if stored.get(start..start + EPOCH_LENGTH)? != epoch || position_of(set_to)? > position {
            return None;
        }
    }
    read_answer(stored, marks.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(epoch: u64, position: u64) -> Option<Vec<u8>> {
        Some(format!("{epoch:016x}{position:020}").into_bytes())
    }

    #[test]
    fn an_answer_is_judged_by_its_marks() {
        let answer = CachedAnswer { position: Position::new(7), bytes: "{}".into() };
        let epochs = format!("{:016x}{:016x}", 1, 2);
        let stored = Bytes::from(write_answer(&answer, epochs.as_bytes()));
        for (marks, is_valid) in [
            (vec![mark(1, 0), mark(2, 7)], true),
            (vec![mark(1, 0), mark(2, 8)], false),
            (vec![mark(1, 0), mark(3, 7)], false),
            (vec![mark(1, 0), None], false),
            (vec![mark(1, 0), Some(b"damaged".to_vec())], false),
        ] {
            let found = valid_answer(stored.clone(), &marks);
            assert_eq!(found, is_valid.then(|| answer.clone()), "{marks:?}");
        }
    }

    #[test]
    fn bytes_of_another_form_are_no_answer() {
        for stored in ["", "7", "0000000000000000000x", "00000000000000000007"] {
            assert_eq!(valid_answer(stored.into(), &[mark(1, 0)]), None, "{stored}");
        }
        let last = CachedAnswer { position: Position::new(u64::MAX), bytes: Bytes::new() };
        assert_eq!(read_answer(write_answer(&last, b"").into(), 0), Some(last));
    }
}

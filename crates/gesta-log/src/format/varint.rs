//! Variable-length integers (LEB128). Decoding accepts arbitrary bytes and never panics.

use super::{Fields, Malformed};

/// Appends a number, seven bits per byte, the lowest first. All bytes but the last have the top bit
/// set.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads a number written by [`put_varint`].
pub(crate) fn varint(fields: &mut Fields<'_>) -> Result<u64, Malformed> {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = fields.u8()?;
        let bits = u64::from(byte & 0x7f);
        // Bits beyond 64 would be lost.
        if bits.leading_zeros() < shift {
            return Err(Malformed::Field("number"));
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Malformed::Field("number"))
}

//! Numbers in seven bits a byte.
//!
//! Always holds: reading takes any bytes without panicking.

use super::{Fields, Malformed};

/// Appends a number, seven bits a byte, the lowest first; all bytes but the last have the top bit.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads what [`put_varint`] wrote.
pub(crate) fn varint(fields: &mut Fields<'_>) -> Result<u64, Malformed> {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = fields.u8()?;
        let bits = u64::from(byte & 0x7f);
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

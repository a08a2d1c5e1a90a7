//! Filters: which terms are surely not in a run, and in which block of terms another one would be.
//!
//! Always holds: a filter stands for all terms of the blocks that it lists, which follow each other
//! in the order of hashes; so one block answers for a hash, and no term that is there is missed.

use super::{block::BODY_BYTES, term::TermHash};
use crate::format::{Fields, Malformed};

/// Blocks of terms that one filter stands for, at most.
const LISTED_MAX: usize = 20;
const HEADER_BYTES: usize = 3;
const LIST_BYTES: usize = LISTED_MAX * (TermHash::BYTES + 4);
const BITS_BYTES: usize = BODY_BYTES - HEADER_BYTES - LIST_BYTES;
const BITS: u64 = 8 * BITS_BYTES as u64;
/// Bits that are set for a term. Seven are best at ten bits a term: one miss in 120 passes.
const PROBES: u32 = 7;
/// A filter with this many terms takes no further block, so that there are ten bits for each.
const TERMS_ENOUGH: usize = 2_700;

/// A filter being filled.
#[derive(Debug)]
pub(super) struct FilterBlock {
    listed: Vec<(TermHash, u32)>,
    terms: usize,
    bits: Vec<u8>,
}

impl FilterBlock {
    pub(super) fn new() -> Self {
        Self { listed: Vec::new(), terms: 0, bits: vec![0; BITS_BYTES] }
    }

    /// Adds a term of the block that is listed next.
    pub(super) fn add(&mut self, hash: TermHash) {
        self.terms += 1;
        for (byte, bit) in probes(hash) {
            *self.bits.get_mut(byte).expect("a probe is within the bits") |= bit;
        }
    }

    /// Lists the block of terms that has those added since the last one.
    pub(super) fn list(&mut self, first: TermHash, block: u32) {
        self.listed.push((first, block));
    }

    pub(super) fn is_full(&self) -> bool {
        self.terms >= TERMS_ENOUGH || self.listed.len() >= LISTED_MAX
    }

    /// The first hash and the body, if there is anything; the filter is empty afterwards.
    pub(super) fn take(&mut self) -> Option<(TermHash, Vec<u8>)> {
        let (first, _) = *self.listed.first()?;
        let mut body = Vec::with_capacity(BODY_BYTES);
        body.push(self.listed.len() as u8);
        body.extend_from_slice(&(self.terms as u16).to_le_bytes());
        for (hash, block) in &self.listed {
            body.extend_from_slice(&hash.to_bytes());
            body.extend_from_slice(&block.to_le_bytes());
        }
        body.resize(HEADER_BYTES + LIST_BYTES, 0);
        body.extend_from_slice(&self.bits);
        *self = Self::new();
        Some((first, body))
    }
}

/// Which bits a term sets: byte, and bit in it. The upper part of a hash chose the filter, so they
/// come from the lower part.
fn probes(hash: TermHash) -> impl Iterator<Item = (usize, u8)> {
    let bits = hash.bits();
    let (start, step) = (bits as u32, (bits >> 32) as u32 | 1);
    (0..PROBES).map(move |probe| {
        let mixed = start.wrapping_add(step.wrapping_mul(probe));
        let bit = (u64::from(mixed) * BITS) >> 32;
        ((bit / 8) as usize, 1 << (bit % 8))
    })
}

/// The block of terms where a hash would be; none if it surely is in none.
pub(super) fn block_for(body: &[u8], hash: TermHash) -> Result<Option<u32>, Malformed> {
    let bits = body.get(HEADER_BYTES + LIST_BYTES..).ok_or(Malformed::Short)?;
    for (byte, bit) in probes(hash) {
        if bits.get(byte).ok_or(Malformed::Short)? & bit == 0 {
            return Ok(None);
        }
    }
    let mut fields = Fields(body);
    let (listed, _terms) = (fields.u8()?, fields.u16()?);
    let mut found = None;
    for _ in 0..listed {
        let (first, block) = (TermHash::from_bytes(fields.array()?), fields.u32()?);
        if first > hash {
            break;
        }
        found = Some(block);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> TermHash {
        let [a, b, c, d, e, f, g, h, i, j, k, l, ..] =
            *blake3::hash(&number.to_le_bytes()).as_bytes();
        TermHash::from_bytes([a, b, c, d, e, f, g, h, i, j, k, l])
    }

    #[test]
    fn no_term_is_missed_and_few_others_pass() {
        let mut filter = FilterBlock::new();
        let mut hashes: Vec<_> = (0..3_000).map(hash).collect();
        hashes.sort();
        for (block, hashes) in hashes.chunks(300).enumerate() {
            assert!(!filter.is_full() || block == 9);
            hashes.iter().for_each(|hash| filter.add(*hash));
            filter.list(hashes[0], 100 + block as u32);
        }
        assert!(filter.is_full());
        let (first, body) = filter.take().unwrap();
        assert_eq!(first, hashes[0]);
        for (at, hash) in hashes.iter().enumerate() {
            assert_eq!(block_for(&body, *hash), Ok(Some(100 + at as u32 / 300)));
        }
        let others = (3_000..103_000).map(hash).filter(|hash| *hash > first);
        let passed = others.filter(|hash| block_for(&body, *hash) != Ok(None)).count();
        assert!(passed < 1_200, "{passed} of 100,000 pass");
        assert_eq!(filter.take(), None);
    }
}

//! Blocked Bloom filters over a run's terms.
//!
//! A filter covers all terms of consecutive term blocks, and lists these blocks. A probe therefore
//! either excludes a term or yields the one block that may have it. All bits of a term are in one
//! cache line: each append probes every run, and the cost is cache misses. The filter to probe is
//! found in [`filter_directory`](super::filter_directory).

use super::{
    block::{BLOCK_BYTES, BODY_BYTES},
    term_hash::TermHash,
};
use crate::format::{Fields, Malformed};

/// Maximum number of term blocks that a filter covers.
const LISTED_MAX: usize = 19;
/// Offset of the body in the block.
const BODY_AT: usize = 1;
/// Offset of the first line in the body; aligned to the line size in the block.
const LINES_AT: usize = 5 * LINE_BYTES - BODY_AT;
const LINE_BYTES: usize = 64;
const LINES: usize = (BODY_BYTES - LINES_AT) / LINE_BYTES;
/// Bits set for each term.
const PROBES: u32 = 7;
/// Number of terms after which no further block is added to a filter: about ten bits for each term.
const TERMS_TARGET: usize = 2_650;

/// A Bloom filter being filled.
#[derive(Debug)]
pub(super) struct BloomFilterBuilder {
    listed: Vec<(TermHash, u32)>,
    terms: usize,
    lines: Vec<u8>,
}

impl BloomFilterBuilder {
    pub(super) fn new() -> Self {
        Self { listed: Vec::new(), terms: 0, lines: vec![0; LINES * LINE_BYTES] }
    }

    /// Adds a term of the block that is listed next.
    pub(super) fn add(&mut self, hash: TermHash) {
        self.terms += 1;
        let BloomProbe { line, bits, .. } = BloomProbe::of(hash);
        let line =
            self.lines.get_mut(line * LINE_BYTES..).expect("a probe's line is within the filter");
        line.iter_mut().zip(bits).for_each(|(byte, bits)| *byte |= bits);
    }

    /// Lists the term block with the terms that were added since the last call.
    pub(super) fn list(&mut self, first: TermHash, block: u32) {
        debug_assert!(self.listed.last().is_none_or(|(last, _)| *last < first), "hashes ascend");
        self.listed.push((first, block));
    }

    pub(super) fn is_full(&self) -> bool {
        self.terms >= TERMS_TARGET || self.listed.len() >= LISTED_MAX
    }

    /// Returns the first hash and the body, and resets the filter. `None` if it is empty.
    pub(super) fn take(&mut self) -> Option<(TermHash, Vec<u8>)> {
        let (first, _) = *self.listed.first()?;
        let mut body = Vec::with_capacity(BODY_BYTES);
        // Both counts fit: at most 19 blocks, of at most 512 terms each.
        body.push(self.listed.len() as u8);
        body.extend_from_slice(&(self.terms as u16).to_le_bytes());
        for (hash, block) in &self.listed {
            body.extend_from_slice(&hash.to_bytes());
            body.extend_from_slice(&block.to_le_bytes());
        }
        // Padding up to a cache line of the block.
        body.resize(LINES_AT, 0);
        body.extend_from_slice(&self.lines);
        *self = Self::new();
        Some((first, body))
    }
}

/// A line of a filter; the size of a cache line.
pub(in crate::index) type Line = [u8; LINE_BYTES];

/// A term's line and bits. They are the same in all filters, so they are computed once for all
/// runs.
#[derive(Clone, Copy, Debug)]
pub(in crate::index) struct BloomProbe {
    pub(super) hash: TermHash,
    /// Index of the line with the term's bits. From the low part of the hash: a filter covers a
    /// range of hashes, so the high part is nearly constant within it.
    line: usize,
    /// The term's bits within the line.
    bits: Line,
}

impl BloomProbe {
    pub(in crate::index) fn of(hash: TermHash) -> Self {
        let low = u64::from(hash.bits() as u32);
        // Multiply-shift instead of a division.
        let line = ((low * LINES as u64) >> 32) as usize;
        let mixed = (hash.bits() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut bits = [0; LINE_BYTES];
        // Nine bits of the mixed hash for each of the 512 bits of a line.
        for probe in 1..=PROBES {
            let bit = (mixed >> (64 - 9 * probe)) & 511;
            *bits.get_mut((bit / 8) as usize).expect("a probe is within the line") |=
                1 << (bit % 8);
        }
        Self { hash, line, bits }
    }

    /// Returns whether all of the term's bits are set. Branch-free, so that it can be
    /// vectorized.
    pub(in crate::index) fn may_match(&self, line: &Line) -> bool {
        let pairs = line.iter().zip(&self.bits);
        pairs.fold(0, |missing, (line, bits)| missing | (!line & bits)) == 0
    }

    fn line_of<'a>(&self, body: &'a [u8]) -> Option<&'a Line> {
        body.get(LINES_AT + self.line * LINE_BYTES..)?.first_chunk()
    }
}

/// Returns the term block that may contain the hash, or `None` if the filter excludes it.
pub(super) fn find_term_block(body: &[u8], probe: &BloomProbe) -> Result<Option<u32>, Malformed> {
    if !probe.may_match(probe.line_of(body).ok_or(Malformed::Short)?) {
        return Ok(None);
    }
    let mut fields = Fields(body);
    let (listed, _terms) = (fields.u8()?, fields.u16()?);
    let mut found = None;
    for _ in 0..listed {
        let (first, block) = (TermHash::from_bytes(fields.array()?), fields.u32()?);
        // The list ascends and has at most 19 entries.
        if first > probe.hash {
            break;
        }
        found = Some(block);
    }
    Ok(found)
}

/// A filter that is cached in memory, aligned so that its lines are cache lines.
#[derive(Debug)]
pub(super) struct CachedFilter(Box<AlignedPage>);

#[derive(Debug)]
#[repr(align(64))]
struct AlignedPage([u8; BLOCK_BYTES]);

impl CachedFilter {
    pub(super) fn new(body: &[u8]) -> Self {
        let mut page = Box::new(AlignedPage([0; BLOCK_BYTES]));
        let place = page.0.iter_mut().skip(BODY_AT);
        place.zip(body).for_each(|(to, from)| *to = *from);
        Self(page)
    }

    pub(super) fn body(&self) -> &[u8] {
        let AlignedPage(bytes) = &*self.0;
        bytes.get(BODY_AT..).unwrap_or_default()
    }

    /// Returns the line that the probe has to test.
    pub(super) fn line(&self, probe: &BloomProbe) -> Option<&Line> {
        probe.line_of(self.body())
    }
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
        let mut filter = BloomFilterBuilder::new();
        let mut hashes: Vec<_> = (0..3_000).map(hash).collect();
        hashes.sort();
        for (block, hashes) in hashes.chunks(300).enumerate() {
            assert!(!filter.is_full() || block == 9);
            hashes.iter().for_each(|hash| filter.add(*hash));
            filter.list(hashes[0], 100 + block as u32);
        }
        assert!(filter.is_full());
        let (first, body) = filter.take().unwrap();
        let kept = CachedFilter::new(&body);
        assert_eq!(first, hashes[0]);
        for (at, hash) in hashes.iter().enumerate() {
            let block = Ok(Some(100 + at as u32 / 300));
            assert_eq!(find_term_block(&body, &BloomProbe::of(*hash)), block);
            assert_eq!(find_term_block(kept.body(), &BloomProbe::of(*hash)), block);
        }
        let others = (3_000..103_000).map(hash).filter(|hash| *hash > first);
        let passed = others
            .filter(|hash| find_term_block(&body, &BloomProbe::of(*hash)) != Ok(None))
            .count();
        assert!(passed < 1_200, "{passed} of 100,000 pass");
        assert_eq!(filter.take(), None);
        for cut in 0..body.len() {
            let _ = find_term_block(&body[..cut], &BloomProbe::of(first));
        }
    }
}

//! FilterDirectory: which terms are surely not in a run, and in which block of terms another one would be.
//!
//! Always holds: a filter stands for all terms of the blocks that it lists, which follow each other
//! in the order of hashes; so one block answers for a hash, and no term that is there is missed. All
//! bits of a term are in one line of the processor's cache: every append asks every run, and mostly
//! waits for memory. Not here: which filter of a run to ask ([`filters`](super::filter_directory)).

use super::{
    block::{BLOCK_BYTES, BODY_BYTES},
    term_hash::TermHash,
};
use crate::format::{Fields, Malformed};

/// BlockSource of terms that one filter stands for, at most.
const LISTED_MAX: usize = 19;
/// Where in the block the body begins.
const BODY_AT: usize = 1;
/// Where in the body the lines begin: at a multiple of their size in the block.
const LINES_AT: usize = 5 * LINE_BYTES - BODY_AT;
const LINE_BYTES: usize = 64;
const LINES: usize = (BODY_BYTES - LINES_AT) / LINE_BYTES;
/// Bits that are set for a term.
const PROBES: u32 = 7;
/// A filter with this many terms takes no further block, so that there are ten bits for each.
const TERMS_ENOUGH: usize = 2_650;

/// A filter being filled.
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
        let line = self.lines.get_mut(line * LINE_BYTES..).expect("there is such a line");
        line.iter_mut().zip(bits).for_each(|(byte, bits)| *byte |= bits);
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
        body.resize(LINES_AT, 0);
        body.extend_from_slice(&self.lines);
        *self = Self::new();
        Some((first, body))
    }
}

/// A line of a filter.
pub(in crate::index) type Line = [u8; LINE_BYTES];

/// What a filter is asked for a term: the same in all filters of all runs.
#[derive(Clone, Copy, Debug)]
pub(in crate::index) struct BloomProbe {
    pub(super) hash: TermHash,
    /// Which line has the term's bits. The upper part of a hash chose the filter, so all of this comes
    /// from the lower part.
    line: usize,
    /// Which bits of its line the term sets.
    bits: Line,
}

impl BloomProbe {
    pub(in crate::index) fn of(hash: TermHash) -> Self {
        let low = u64::from(hash.bits() as u32);
        let line = ((low * LINES as u64) >> 32) as usize;
        let mixed = (hash.bits() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut bits = [0; LINE_BYTES];
        for probe in 1..=PROBES {
            let bit = (mixed >> (64 - 9 * probe)) & 511;
            *bits.get_mut((bit / 8) as usize).expect("a probe is within the line") |=
                1 << (bit % 8);
        }
        Self { hash, line, bits }
    }

    /// Whether the term may be where this line is from: all of its bits are set. All are looked at,
    /// without a branch, for they lie next to each other.
    pub(in crate::index) fn may_be_in(&self, line: &Line) -> bool {
        let pairs = line.iter().zip(&self.bits);
        pairs.fold(0, |missing, (line, bits)| missing | (!line & bits)) == 0
    }

    fn line_of<'a>(&self, body: &'a [u8]) -> Option<&'a Line> {
        body.get(LINES_AT + self.line * LINE_BYTES..)?.first_chunk()
    }
}

/// The block of terms where a hash would be, as a filter's body says; none if it surely is in none.
pub(super) fn block_for(body: &[u8], probe: &BloomProbe) -> Result<Option<u32>, Malformed> {
    if !probe.may_be_in(probe.line_of(body).ok_or(Malformed::Short)?) {
        return Ok(None);
    }
    let mut fields = Fields(body);
    let (listed, _terms) = (fields.u8()?, fields.u16()?);
    let mut found = None;
    for _ in 0..listed {
        let (first, block) = (TermHash::from_bytes(fields.array()?), fields.u32()?);
        if first > probe.hash {
            break;
        }
        found = Some(block);
    }
    Ok(found)
}

/// A filter's body that is kept in memory, laid so that its lines are lines of the processor's cache.
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

    /// The line that says whether a term may be there.
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
            assert_eq!(block_for(&body, &BloomProbe::of(*hash)), block);
            assert_eq!(block_for(kept.body(), &BloomProbe::of(*hash)), block);
        }
        let others = (3_000..103_000).map(hash).filter(|hash| *hash > first);
        let passed =
            others.filter(|hash| block_for(&body, &BloomProbe::of(*hash)) != Ok(None)).count();
        assert!(passed < 1_200, "{passed} of 100,000 pass");
        assert_eq!(filter.take(), None);
        for cut in 0..body.len() {
            let _ = block_for(&body[..cut], &BloomProbe::of(first));
        }
    }
}

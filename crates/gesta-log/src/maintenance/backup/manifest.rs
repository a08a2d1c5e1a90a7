//! The manifest of a backup: the list of its segments, with a hash of each.
//!
//! Plain text with one fact per line; the last line is a checksum of the others. It states how many
//! bytes of each file belong to the backup, so a file that a later backup has extended still
//! matches.

use std::fmt::Write as _;

use gesta_store::{Incarnation, Position};
use uuid::Uuid;

use super::source::SegmentPart;
use crate::format::Chain;

/// The manifest's file name.
pub(super) const MANIFEST: &str = "MANIFEST";
const TITLE: &str = "gesta backup 1";

/// The contents of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) store: [u8; 16],
    /// The store's incarnation at the time of the backup.
    pub(super) incarnation: Incarnation,
    /// The last event's position.
    pub(super) end: Position,
    /// The chain value after the last event.
    pub(super) chain: Chain,
    pub(super) segments: Vec<CopiedSegment>,
}

/// A segment in a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CopiedSegment {
    pub(super) number: u64,
    pub(super) salt: [u8; 16],
    /// Number of bytes that belong to the log. The rest of the segment is zeros.
    pub(super) bytes: u64,
    /// The segment's preallocated length, in bytes.
    pub(super) length: u64,
    pub(super) hash: blake3::Hash,
}

impl CopiedSegment {
    pub(super) fn new(part: &SegmentPart, hash: blake3::Hash) -> Self {
        let SegmentPart { number, salt, bytes, length, .. } = *part;
        Self { number, salt, bytes, length, hash }
    }

    pub(super) fn file(&self) -> String {
        file_name(self.number, self.salt)
    }
}

/// Returns the file name of a segment's copy. It includes the salt, so that the copy of a rewritten
/// segment does not replace the one that an earlier manifest names.
pub(super) fn file_name(number: u64, salt: [u8; 16]) -> String {
    format!("{number:016}-{}{SUFFIX}", hex(&salt))
}

pub(super) const SUFFIX: &str = ".segment";

impl Manifest {
    pub(super) fn encode(&self) -> String {
        let mut text = format!("{TITLE}\n");
        let mut line =
            |line: String| writeln!(text, "{line}").expect("writing to a string does not fail");
        line(format!("store {}", hex(&self.store)));
        line(format!("incarnation {}", self.incarnation.as_uuid()));
        line(format!("end {}", self.end.number()));
        line(format!("chain {}", hex(&self.chain.0)));
        for CopiedSegment { number, salt, bytes, length, hash } in &self.segments {
            let salt = hex(salt);
            line(format!("segment {number} {salt} {bytes} {length} {hash}"));
        }
        let hash = blake3::hash(text.as_bytes());
        text.push_str(&format!("blake3 {hash}\n"));
        text
    }

    /// Returns `None` if the checksum does not match.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (before, _) = text.rsplit_once("blake3 ")?;
        let hash = blake3::hash(before.as_bytes());
        // Compare the whole text, so that trailing bytes are found, too.
        if text != format!("{before}blake3 {hash}\n") {
            return None;
        }
        let mut lines = before.lines();
        if lines.next()? != TITLE {
            return None;
        }
        let mut field = |name| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        Some(Self {
            store: unhex(field("store")?)?,
            incarnation: Incarnation::new(Uuid::parse_str(field("incarnation")?).ok()?),
            end: Position::new(field("end")?.parse().ok()?),
            chain: Chain(unhex(field("chain")?)?),
            segments: lines.map(copied).collect::<Option<_>>()?,
        })
    }
}

fn copied(line: &str) -> Option<CopiedSegment> {
    let mut words = line.split(' ');
    let mut word = || words.next();
    (word()? == "segment").then_some(())?;
    Some(CopiedSegment {
        number: word()?.parse().ok()?,
        salt: unhex(word()?)?,
        bytes: word()?.parse().ok()?,
        length: word()?.parse().ok()?,
        hash: blake3::Hash::from_hex(word()?).ok()?,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let copied = |number| CopiedSegment {
            number,
            salt: [7; 16],
            bytes: 5_000,
            length: 1 << 20,
            hash: blake3::hash(b"bytes"),
        };
        Manifest {
            store: [1; 16],
            incarnation: Incarnation::new(Uuid::from_u128(2)),
            end: Position::new(17),
            chain: Chain([4; 32]),
            segments: vec![copied(1), copied(3)],
        }
    }

    #[test]
    fn a_manifest_reads_as_it_was_written() {
        assert_eq!(Manifest::decode(manifest().encode().as_bytes()), Some(manifest()));
        let empty = Manifest { segments: Vec::new(), ..manifest() };
        assert_eq!(Manifest::decode(empty.encode().as_bytes()), Some(empty));
    }

    #[test]
    fn any_flipped_bit_and_any_cut_of_a_manifest_is_found() {
        let good = manifest().encode().into_bytes();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Manifest::decode(&bad), None, "bit {bit}");
        }
        for length in 0..good.len() {
            assert_eq!(Manifest::decode(&good[..length]), None, "length {length}");
        }
    }
}

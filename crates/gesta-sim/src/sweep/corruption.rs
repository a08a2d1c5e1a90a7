//! All corruptions of a store's bytes, one at a time.
//!
//! Invariant: the list is complete for each kind: every bit, every sector, every length, every pair
//! of frames.

use bytes::Bytes;

use super::{
    files::{ChangedFiles, Files, is_segment},
    frames::find_frames,
};
use crate::{disk::SECTOR_BYTES, rng::SimRng};

/// Limit of sources that are copied over a sector; a small store uses all.
const COPIES_MAX: usize = 128;

/// Size of a segment's header and opening frame, as specified in `docs/format.md`.
const HEADER_BYTES: usize = 4_096 + 72 + 32;

/// A change to the bytes of a store.
#[derive(Clone, Debug)]
pub(super) enum Corruption {
    FlippedBit {
        file: String,
        bit: usize,
    },
    ZeroedSector {
        file: String,
        sector: usize,
    },
    Cut {
        file: String,
        length: usize,
    },
    /// A sector in another one's place: a misdirected or a stale write.
    CopiedSector {
        from: (String, usize),
        to: (String, usize),
    },
    SwappedSectors {
        file: String,
        sectors: (usize, usize),
    },
    /// Two frames exchanged; each is given by its begin and end.
    SwappedFrames {
        file: String,
        first: (usize, usize),
        second: (usize, usize),
    },
    LostFile {
        file: String,
    },
    SwappedFiles {
        files: (String, String),
    },
}

/// Labels of the kinds of corruption, by [`Corruption::kind`].
pub(super) const KINDS: [&str; 8] = [
    "flipped bits",
    "zeroed sectors",
    "cuts",
    "sectors copied over others",
    "swapped sectors",
    "swapped frames",
    "lost files",
    "swapped files",
];

impl Corruption {
    /// Returns whether bytes in two places change.
    pub(super) const fn changes_two_places(&self) -> bool {
        match self {
            Self::SwappedSectors { .. }
            | Self::SwappedFrames { .. }
            | Self::SwappedFiles { .. } => true,
            Self::FlippedBit { .. }
            | Self::ZeroedSector { .. }
            | Self::Cut { .. }
            | Self::CopiedSector { .. }
            | Self::LostFile { .. } => false,
        }
    }

    /// Returns whether this is a flipped bit or a cut within a segment's header or opening frame
    /// that is not among the eighth of them that is always tried.
    pub(super) const fn is_redundant_in_header(&self) -> bool {
        match self {
            Self::FlippedBit { bit, .. } => *bit < HEADER_BYTES * 8 && *bit % 8 != *bit / 8 * 5 % 8,
            Self::Cut { length, .. } => *length < HEADER_BYTES && *length % 8 != 0,
            Self::ZeroedSector { .. }
            | Self::CopiedSector { .. }
            | Self::SwappedSectors { .. }
            | Self::SwappedFrames { .. }
            | Self::LostFile { .. }
            | Self::SwappedFiles { .. } => false,
        }
    }

    pub(super) const fn kind(&self) -> usize {
        match self {
            Self::FlippedBit { .. } => 0,
            Self::ZeroedSector { .. } => 1,
            Self::Cut { .. } => 2,
            Self::CopiedSector { .. } => 3,
            Self::SwappedSectors { .. } => 4,
            Self::SwappedFrames { .. } => 5,
            Self::LostFile { .. } => 6,
            Self::SwappedFiles { .. } => 7,
        }
    }

    /// Returns the files that differ once this corruption is applied.
    pub(super) fn apply(&self, files: &Files) -> ChangedFiles {
        let bytes = |file: &String| files.get(file).expect("a file of the store").to_vec();
        let (file, changed) = match self {
            Self::FlippedBit { file, bit } => {
                let mut changed = bytes(file);
                *changed.get_mut(bit / 8).expect("a bit of the file") ^= 1 << (bit % 8);
                (file, changed)
            }
            Self::ZeroedSector { file, sector } => {
                let mut changed = bytes(file);
                sector_of(&mut changed, *sector).fill(0);
                (file, changed)
            }
            Self::Cut { file, length } => {
                let mut changed = bytes(file);
                changed.truncate(*length);
                (file, changed)
            }
            Self::CopiedSector { from: (from, source), to: (file, target) } => {
                let content = sector_of(&mut bytes(from), *source).to_vec();
                // Copied first: source and target may be the same file.
                let mut changed = bytes(file);
                sector_of(&mut changed, *target).copy_from_slice(&content);
                (file, changed)
            }
            Self::SwappedSectors { file, sectors: (one, other) } => {
                let mut changed = bytes(file);
                let content = sector_of(&mut changed, *one).to_vec();
                let there = sector_of(&mut changed, *other).to_vec();
                sector_of(&mut changed, *other).copy_from_slice(&content);
                sector_of(&mut changed, *one).copy_from_slice(&there);
                (file, changed)
            }
            Self::SwappedFrames { file, first, second } => {
                let (whole, mut changed) = (bytes(file), bytes(file));
                // Frames keep their bytes and change places; a longer one overwrites what follows.
                for (from, to) in [(first, second.0), (second, first.0)] {
                    let frame = whole.get(from.0..from.1).expect("a frame of the file");
                    let free_bytes = changed.get_mut(to..).expect("a place in the file");
                    free_bytes.iter_mut().zip(frame).for_each(|(place, byte)| *place = *byte);
                }
                (file, changed)
            }
            // `None` removes the file.
            Self::LostFile { file } => return [(file.clone(), None)].into(),
            Self::SwappedFiles { files: (one, other) } => {
                let swapped = [(one, bytes(other)), (other, bytes(one))];
                return swapped.map(|(file, bytes)| (file.clone(), Some(bytes.into()))).into();
            }
        };
        [(file.clone(), Some(Bytes::from(changed)))].into()
    }
}

fn sector_of(bytes: &mut [u8], sector: usize) -> &mut [u8] {
    let start = sector * SECTOR_BYTES;
    bytes.get_mut(start..start + SECTOR_BYTES).expect("segments are made of whole sectors")
}

/// Returns all corruptions of these segments; of bits and cuts, one in `step`.
///
/// `last`, the last segment with frames, is never lost as a whole: nothing on disk proves that it
/// existed.
pub(super) fn corruptions<'a>(
    files: &'a Files,
    segments: &'a [String],
    last: &'a str,
    step: usize,
) -> impl Iterator<Item = Corruption> + 'a {
    let length = |file: &String| files.get(file).map_or(0, Bytes::len);
    segments.iter().flat_map(move |file| {
        // The bit varies from byte to byte.
        let bits = (0..length(file) * 8 / step)
            .map(move |n| n * step + n * 5 % step)
            .map(|bit| Corruption::FlippedBit { file: file.clone(), bit });
        let sectors = (0..length(file) / SECTOR_BYTES)
            .map(|sector| Corruption::ZeroedSector { file: file.clone(), sector });
        let cuts = (0..length(file))
            .step_by(step)
            .map(|length| Corruption::Cut { file: file.clone(), length });
        let lost = (file != last).then(|| Corruption::LostFile { file: file.clone() });
        let files_after = segments.iter().filter(move |other| *other > file);
        let swapped = files_after
            .map(|other| Corruption::SwappedFiles { files: (file.clone(), other.clone()) });
        let few = bits.chain(sectors).chain(cuts).chain(lost).chain(swapped);
        few.chain(sector_corruptions(files, file)).chain(frame_swaps(files, file))
    })
}

/// Each sector of a file overwritten with others of the store, and exchanged with others of the
/// file.
fn sector_corruptions<'a>(
    files: &'a Files,
    file: &'a str,
) -> impl Iterator<Item = Corruption> + 'a {
    let places = |file: &String, bytes: &Bytes| {
        let file = file.clone();
        (0..bytes.len() / SECTOR_BYTES).map(move |sector| (file.clone(), sector))
    };
    // Sectors of all segments are sources, including segments that are not corrupted themselves.
    let all: Vec<(String, usize)> = files
        .iter()
        .filter(|(file, _)| is_segment(file))
        .flat_map(|(file, bytes)| places(file, bytes))
        .collect();
    let here: Vec<_> = all.iter().filter(|(of, _)| of == file).cloned().collect();
    // A fixed seed: the same copies in every sweep.
    let mut rng = SimRng::from_seed(3);
    here.into_iter().flat_map(move |to| {
        let picked: Vec<_> = if all.len() <= COPIES_MAX {
            all.clone()
        } else {
            (0..COPIES_MAX).map(|_| rng.pick(&all)).collect()
        };
        picked.into_iter().filter(|from| *from != to).collect::<Vec<_>>().into_iter().flat_map(
            move |from| {
                // Each pair of sectors of a file is exchanged once.
                let swapped = (from.0 == to.0 && from.1 < to.1).then(|| {
                    Corruption::SwappedSectors { file: to.0.clone(), sectors: (from.1, to.1) }
                });
                swapped.into_iter().chain([Corruption::CopiedSector { from, to: to.clone() }])
            },
        )
    })
}

/// Each pair of frames of a file, exchanged.
fn frame_swaps(files: &Files, file: &str) -> impl Iterator<Item = Corruption> {
    let frames = files.get(file).map_or(Vec::new(), |bytes| find_frames(bytes));
    let file = file.to_owned();
    let frames: Vec<_> = frames.iter().map(|frame| (frame.begin, frame.end)).collect();
    let pairs: Vec<_> = frames
        .iter()
        .enumerate()
        .flat_map(|(n, first)| frames.iter().skip(n + 1).map(move |second| (*first, *second)))
        .collect();
    pairs.into_iter().map(move |(first, second)| Corruption::SwappedFrames {
        file: file.clone(),
        first,
        second,
    })
}

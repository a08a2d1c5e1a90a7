//! Every way in which the bytes of a store are damaged, one at a time.
//!
//! Always holds: what is listed is complete for its kind: every bit, every sector, every length,
//! every two frames.

use bytes::Bytes;

use super::{
    frames::frames_of,
    still::{Changed, Files},
    written::is_segment,
};
use crate::{chance::Chance, disk::SECTOR_BYTES};

/// Where sectors are copied to at most, each; all there are in a small store.
const COPIES_MAX: usize = 128;

/// A segment's header and opening frame, as `docs/format.md` has them.
const BEGINNING_BYTES: usize = 4_096 + 72 + 32;

/// One change to the bytes of a store.
#[derive(Clone, Debug)]
pub(super) enum Wound {
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
    /// A sector lies where another one should: a misdirected write, or a stale one.
    CopiedSector {
        from: (String, usize),
        to: (String, usize),
    },
    SwappedSectors {
        file: String,
        sectors: (usize, usize),
    },
    /// Two frames, from where to where, were each written where the other one belongs.
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

/// How many there are of each kind, so that a summary is short.
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

impl Wound {
    /// Whether bytes in two places changed.
    pub(super) const fn is_in_two_places(&self) -> bool {
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

    /// Whether it flips a bit or cuts within a segment's header or opening frame, and not where others
    /// do the same to each eighth bit or length.
    pub(super) const fn is_one_of_many_in_a_beginning(&self) -> bool {
        match self {
            Self::FlippedBit { bit, .. } => {
                *bit < BEGINNING_BYTES * 8 && *bit % 8 != *bit / 8 * 5 % 8
            }
            Self::Cut { length, .. } => *length < BEGINNING_BYTES && *length % 8 != 0,
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

    /// What of the store is otherwise with this damage.
    pub(super) fn inflict(&self, files: &Files) -> Changed {
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
                for (from, to) in [(first, second.0), (second, first.0)] {
                    let frame = whole.get(from.0..from.1).expect("a frame of the file");
                    let room = changed.get_mut(to..).expect("a place in the file");
                    room.iter_mut().zip(frame).for_each(|(place, byte)| *place = *byte);
                }
                (file, changed)
            }
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

/// All wounds of these segments of a store, whose last one with frames is `last`; of bits and of cuts,
/// one in `step`. That whole last segment is not lost: nothing on disk can tell that it was there.
pub(super) fn wounds<'a>(
    files: &'a Files,
    segments: &'a [String],
    last: &'a str,
    step: usize,
) -> impl Iterator<Item = Wound> + 'a {
    let length = |file: &String| files.get(file).map_or(0, Bytes::len);
    segments.iter().flat_map(move |file| {
        // Not the same bit of each byte.
        let bits = (0..length(file) * 8 / step)
            .map(move |n| n * step + n * 5 % step)
            .map(|bit| Wound::FlippedBit { file: file.clone(), bit });
        let sectors = (0..length(file) / SECTOR_BYTES)
            .map(|sector| Wound::ZeroedSector { file: file.clone(), sector });
        let cuts =
            (0..length(file)).step_by(step).map(|length| Wound::Cut { file: file.clone(), length });
        let lost = (file != last).then(|| Wound::LostFile { file: file.clone() });
        let files_after = segments.iter().filter(move |other| *other > file);
        let swapped =
            files_after.map(|other| Wound::SwappedFiles { files: (file.clone(), other.clone()) });
        let few = bits.chain(sectors).chain(cuts).chain(lost).chain(swapped);
        few.chain(of_sectors(files, file)).chain(of_frames(files, file))
    })
}

/// Each sector of a file over others of the store, and exchanged with others of the file.
fn of_sectors<'a>(files: &'a Files, file: &'a str) -> impl Iterator<Item = Wound> + 'a {
    let places = |file: &String, bytes: &Bytes| {
        let file = file.clone();
        (0..bytes.len() / SECTOR_BYTES).map(move |sector| (file.clone(), sector))
    };
    let all: Vec<(String, usize)> = files
        .iter()
        .filter(|(file, _)| is_segment(file))
        .flat_map(|(file, bytes)| places(file, bytes))
        .collect();
    let here: Vec<_> = all.iter().filter(|(of, _)| of == file).cloned().collect();
    let mut chance = Chance::seeded(3);
    here.into_iter().flat_map(move |to| {
        let picked: Vec<_> = if all.len() <= COPIES_MAX {
            all.clone()
        } else {
            (0..COPIES_MAX).map(|_| chance.pick(&all)).collect()
        };
        picked.into_iter().filter(|from| *from != to).collect::<Vec<_>>().into_iter().flat_map(
            move |from| {
                let swapped = (from.0 == to.0 && from.1 < to.1)
                    .then(|| Wound::SwappedSectors { file: to.0.clone(), sectors: (from.1, to.1) });
                swapped.into_iter().chain([Wound::CopiedSector { from, to: to.clone() }])
            },
        )
    })
}

/// Every two frames of a file, exchanged.
fn of_frames(files: &Files, file: &str) -> impl Iterator<Item = Wound> {
    let frames = files.get(file).map_or(Vec::new(), |bytes| frames_of(bytes));
    let file = file.to_owned();
    let frames: Vec<_> = frames.iter().map(|frame| (frame.begin, frame.end)).collect();
    let pairs: Vec<_> = frames
        .iter()
        .enumerate()
        .flat_map(|(n, first)| frames.iter().skip(n + 1).map(move |second| (*first, *second)))
        .collect();
    pairs.into_iter().map(move |(first, second)| Wound::SwappedFrames {
        file: file.clone(),
        first,
        second,
    })
}

//! Preallocation of the next segment: zeros, header, sync, name, sync of the directory.
//!
//! Invariants:
//! - A segment gets its name only once its header and zeros are durable, and frames only once its
//!   name is.
//! - Zeros are written at twice the rate at which the active segment fills, in chunks that are
//!   synced one by one, so that a group never waits behind a whole file of zeros.
//! - An abandoned preallocation leaves no file with a segment's name.
//!
//! Elsewhere: opening frames, which are written with the first group.

use std::io;

use bytes::Bytes;

use super::action::{Action, Task};
use crate::{
    clock::Rng,
    disk::{Lane, Operation},
    format::{HEADER_BYTES, Opening, Seed, SegmentHeader},
    mutations::mutated,
    options::Options,
    recovery::LogEnd,
    segment::{segment_file, unfinished_preallocation},
};

/// Bytes of zeros in one write.
const CHUNK_BYTES: u64 = 1 << 20;
/// Size of a segment relative to its predecessor, up to `Options::segment_bytes_max`.
const GROWTH: u64 = 4;
/// Record offsets have 32 bits in the index; half of them leave room for one large append.
const SEGMENT_BYTES_MAX: u64 = 1 << 31;

/// A segment file that is durable, empty and ready for frames.
#[derive(Debug)]
pub(super) struct PreallocatedSegment {
    pub(super) number: u64,
    pub(super) salt: [u8; 16],
    pub(super) seed: Seed,
    /// Length of the file, all of it written.
    pub(super) bytes: u64,
}

impl PreallocatedSegment {
    pub(super) fn file(&self) -> String {
        segment_file(self.number)
    }

    fn unfinished_file(&self) -> String {
        if mutated!(NoTemporaryName) {
            return self.file();
        }
        unfinished_preallocation(self.number, self.salt)
    }

    /// The opening of the segment that follows this one.
    pub(super) fn as_predecessor(&self, adopted_length: u64) -> Opening {
        Opening { predecessor: self.number, adopted_length, salt: self.salt }
    }
}

/// The next step of a preallocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Create,
    Zeros(u64),
    /// Sync of the zeros before this offset; more follow.
    SyncZeros(u64),
    Sync,
    Rename,
    SyncDirectory,
}

#[derive(Debug)]
enum State {
    Nothing,
    Making { segment: PreallocatedSegment, stage: Stage, busy: bool },
    Ready(PreallocatedSegment),
}

/// The state of the preallocation of the next segment.
#[derive(Debug)]
pub(super) struct Preallocation {
    state: State,
    next_number: u64,
    next_bytes: u64,
    bytes_max: u64,
    /// Bytes of an append that waits for the segment: proceed without pacing.
    hurry: Option<u64>,
    /// The last attempt failed; the next one starts when an append needs the segment.
    failed: bool,
    /// A chunk of zeros that all writes share, allocated once.
    zeros: Bytes,
}

impl Preallocation {
    pub(super) fn new(next_number: u64, options: &Options) -> Self {
        Self {
            state: State::Nothing,
            next_number,
            next_bytes: options
                .segment_bytes_first
                .min(options.segment_bytes_max)
                .min(SEGMENT_BYTES_MAX),
            bytes_max: options.segment_bytes_max.min(SEGMENT_BYTES_MAX),
            hurry: None,
            failed: false,
            zeros: Bytes::new(),
        }
    }

    /// Takes the next segment, if it is ready. One without room for `wanted` bytes is discarded:
    /// appending beyond the preallocated length would make every sync update the file's metadata.
    pub(super) fn take_ready(
        &mut self,
        wanted: u64,
        actions: &mut Vec<Action>,
    ) -> Option<PreallocatedSegment> {
        match std::mem::replace(&mut self.state, State::Nothing) {
            State::Ready(segment) if segment.bytes < with_marks(wanted) => {
                let remove = Operation::Remove { file: segment.file() };
                actions.push(Action::Submit(Task::Discard, remove, Lane::Background));
                None
            }
            State::Ready(segment) => {
                self.hurry = None;
                self.failed = false;
                Some(segment)
            }
            other => {
                self.state = other;
                None
            }
        }
    }

    /// Reverts [`take_ready`](Self::take_ready).
    pub(super) fn put_back(&mut self, segment: PreallocatedSegment) {
        self.state = State::Ready(segment);
    }

    /// Requests a segment with room for `wanted` bytes as soon as possible.
    pub(super) fn hurry(&mut self, wanted: u64) {
        self.hurry = Some(wanted);
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready(_))
    }

    pub(super) fn is_hurried(&self) -> bool {
        self.hurry.is_some()
    }

    pub(super) fn relax(&mut self) {
        self.hurry = None;
    }

    /// Submits the next operation if it is due. `filled` holds used and total bytes of the active
    /// segment.
    pub(super) fn step(
        &mut self,
        filled: Option<(u64, u64)>,
        rng: &mut Box<dyn Rng>,
        end: &LogEnd,
        actions: &mut Vec<Action>,
    ) {
        // Begin once the active segment is half full. After a failure, wait until an append needs
        // the segment: retrying on every step would load a device that is full.
        let half_full = filled.is_some_and(|(used, bytes)| used > bytes / 2);
        let needed = self.is_hurried() || (half_full && !self.failed);
        if matches!(self.state, State::Nothing) && needed {
            self.begin(rng);
        }
        let hurried = self.is_hurried();
        let State::Making { segment, stage, busy } = &mut self.state else { return };
        if *busy || !(hurried || is_paced_step_due(*stage, segment.bytes, filled)) {
            return;
        }
        // One operation at a time, so that each is durable before the next is submitted. An append
        // that waits must not queue behind background work.
        *busy = true;
        let lane = if hurried { Lane::Foreground } else { Lane::Background };
        let operation = operation(segment, *stage, end, &mut self.zeros);
        actions.push(Action::Submit(Task::Prepare, operation, lane));
    }

    /// Chooses number, salt and size of the next segment.
    fn begin(&mut self, rng: &mut Box<dyn Rng>) {
        let number = self.next_number;
        let salt = rng.bytes();
        let wanted = with_marks(self.hurry.unwrap_or(0));
        let bytes = self.next_bytes.max(wanted).next_multiple_of(HEADER_BYTES);
        let segment = PreallocatedSegment { number, salt, seed: Seed::new(salt, number), bytes };
        // A number is never reused: a failed attempt may have left a file under it.
        self.next_number += 1;
        self.next_bytes = (self.next_bytes * GROWTH).min(self.bytes_max);
        self.state = State::Making { segment, stage: Stage::Create, busy: false };
    }

    /// The submitted operation succeeded.
    pub(super) fn advance(&mut self) {
        let State::Making { segment, mut stage, .. } =
            std::mem::replace(&mut self.state, State::Nothing)
        else {
            return;
        };
        // Zeros are synced chunk by chunk, so that the final sync does not stall other writes to
        // the device. Only a durable file gets a segment's name, and only a durable name is used.
        stage = match stage {
            Stage::Create => Stage::Zeros(0),
            Stage::Zeros(from) if from + CHUNK_BYTES < segment.bytes => {
                let next = from + CHUNK_BYTES;
                if self.is_hurried() { Stage::Zeros(next) } else { Stage::SyncZeros(next) }
            }
            Stage::SyncZeros(from) => Stage::Zeros(from),
            Stage::Zeros(_) if mutated!(NoSyncBeforeName) => Stage::Rename,
            Stage::Zeros(_) => Stage::Sync,
            Stage::Sync => Stage::Rename,
            Stage::Rename if !mutated!(NoDirectorySync) => Stage::SyncDirectory,
            Stage::Rename | Stage::SyncDirectory => {
                self.state = State::Ready(segment);
                return;
            }
        };
        self.state = State::Making { segment, stage, busy: false };
    }

    /// The submitted operation failed: abandons the segment. Its number is not used again.
    pub(super) fn abandon(&mut self, error: &io::Error, actions: &mut Vec<Action>) {
        let State::Making { segment, stage, .. } =
            std::mem::replace(&mut self.state, State::Nothing)
        else {
            return;
        };
        if error.kind() != io::ErrorKind::AlreadyExists {
            // Try a smaller segment next: the device may be nearly full.
            self.next_bytes = (self.next_bytes / GROWTH).max(HEADER_BYTES);
        }
        self.failed = true;
        let file = match stage {
            Stage::Create | Stage::Zeros(_) | Stage::SyncZeros(_) | Stage::Sync | Stage::Rename => {
                segment.unfinished_file()
            }
            // The rename may be durable or not. Recovery ignores a segment without an opening
            // frame.
            Stage::SyncDirectory => return,
        };
        // Frees the space. If it fails the file stays, without a segment's name.
        let remove = Operation::Remove { file };
        actions.push(Action::Submit(Task::Discard, remove, Lane::Background));
    }
}

/// The length of a segment for `wanted` bytes of frames: its header before, marks after them.
fn with_marks(wanted: u64) -> u64 {
    wanted.saturating_add(2 * HEADER_BYTES)
}

/// Returns whether the step is due without hurry: zeros are written twice as fast as the active
/// segment fills after its first half.
fn is_paced_step_due(stage: Stage, bytes: u64, filled: Option<(u64, u64)>) -> bool {
    let (Stage::Zeros(from), Some((used, active))) = (stage, filled) else { return true };
    // Compare `from / bytes` with twice the share of the second half that is used, without
    // division.
    let half = active / 2;
    let beyond = u128::from(used.saturating_sub(half)) * 2;
    u128::from(from) * u128::from(half.max(1)) <= beyond * u128::from(bytes)
}

fn operation(
    segment: &PreallocatedSegment,
    stage: Stage,
    end: &LogEnd,
    zeros: &mut Bytes,
) -> Operation {
    let file = segment.unfinished_file();
    match stage {
        Stage::Create => Operation::Create { file },
        Stage::Zeros(from) => {
            let length = CHUNK_BYTES.min(segment.bytes - from) as usize;
            // The header is part of the first chunk.
            if from == 0 {
                let mut bytes = header(segment, end).encode();
                bytes.resize(length, 0);
                return Operation::Write { file, offset: from, bytes: Bytes::from(bytes) };
            }
            if zeros.is_empty() {
                *zeros = Bytes::from(vec![0; CHUNK_BYTES as usize]);
            }
            Operation::Write { file, offset: from, bytes: zeros.slice(..length) }
        }
        Stage::SyncZeros(_) | Stage::Sync => Operation::Sync { file },
        Stage::Rename if mutated!(NoTemporaryName) => {
            Operation::Rename { from: file, to: segment.file() }
        }
        Stage::Rename => Operation::RenameNoReplace { from: file, to: segment.file() },
        Stage::SyncDirectory => Operation::SyncDirectory,
    }
}

fn header(segment: &PreallocatedSegment, end: &LogEnd) -> SegmentHeader {
    SegmentHeader {
        store: end.store,
        incarnation: *end.incarnation.as_uuid().as_bytes(),
        number: segment.number,
        salt: segment.salt,
        bytes: segment.bytes,
        rewritten: None,
    }
}

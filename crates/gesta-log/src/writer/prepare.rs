//! Making the next segment: zeros, header, sync, name, sync of the directory.
//!
//! Always holds: a segment has its name only once its header and zeros are durable, and takes no
//! frame before its name is; zeros are written in step with the filling of the active segment, so
//! that preparing never outruns its need, and each piece is synced before the next, so that a group
//! never waits behind a whole file of zeros on its way to the device; an abandoned preparation leaves nothing that counts.
//! Not here: opening frames, which come with the first group.

use std::io;

use bytes::Bytes;

use super::{Action, Task};
use crate::{
    clock::Rng,
    disk::{Lane, Operation},
    format::{HEADER_BYTES, Opening, Seed, SegmentHeader},
    options::Options,
    planted::{self, Bug},
    recovery::{LogEnd, segment_file},
};

/// Zeros that one operation writes.
const CHUNK_BYTES: u64 = 1 << 20;
/// How many times as large as one segment the next is.
const GROWTH: u64 = 4;
/// Offsets of records are kept in 32 bits.
const SEGMENT_BYTES_MAX: u64 = 1 << 31;

/// A segment that is ready for frames.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) number: u64,
    pub(super) salt: [u8; 16],
    pub(super) seed: Seed,
    /// How far it was written with zeros.
    pub(super) bytes: u64,
}

impl Prepared {
    pub(super) fn file(&self) -> String {
        segment_file(self.number)
    }

    fn unfinished_file(&self) -> String {
        if planted::is(Bug::NoTemporaryName) {
            return self.file();
        }
        // Of this process alone, should another one make a segment of the same number.
        let [a, b, c, d, ..] = self.salt;
        format!("{:016}-{:08x}.new", self.number, u32::from_be_bytes([a, b, c, d]))
    }

    /// How the next segment names this one.
    pub(super) fn as_predecessor(&self, adopted_length: u64) -> Opening {
        Opening { predecessor: self.number, adopted_length, salt: self.salt }
    }
}

/// What is done next to a segment that is being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Create,
    Zeros(u64),
    /// What was written before this offset, where more follows.
    SyncZeros(u64),
    Sync,
    Rename,
    SyncDirectory,
}

#[derive(Debug)]
enum State {
    Nothing,
    Making { segment: Prepared, stage: Stage, busy: bool },
    Ready(Prepared),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Preparation {
    state: State,
    next_number: u64,
    next_bytes: u64,
    bytes_max: u64,
    /// Somebody waits for it: go on without pacing, with room for so many bytes.
    hurry: Option<u64>,
    /// The last try failed; the next one waits until somebody needs it.
    failed: bool,
    /// What pieces of zeros are cut from, once there was one: memory that the system has to find but
    /// once.
    zeros: Bytes,
}

impl Preparation {
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

    /// The next segment, if it is ready. One without room for so many bytes is given up: an append
    /// must not make a file grow that was written with zeros to spare it that.
    pub(super) fn take_ready(
        &mut self,
        wanted: u64,
        actions: &mut Vec<Action>,
    ) -> Option<Prepared> {
        match std::mem::replace(&mut self.state, State::Nothing) {
            State::Ready(prepared) if prepared.bytes < with_marks(wanted) => {
                let remove = Operation::Remove { file: prepared.file() };
                actions.push(Action::Submit(Task::Discard, remove, Lane::Background));
                None
            }
            State::Ready(prepared) => {
                self.hurry = None;
                self.failed = false;
                Some(prepared)
            }
            other => {
                self.state = other;
                None
            }
        }
    }

    /// Undoes [`take_ready`](Self::take_ready).
    pub(super) fn put_back(&mut self, prepared: Prepared) {
        self.state = State::Ready(prepared);
    }

    /// Somebody waits for a segment with room for so many bytes.
    pub(super) fn hurry(&mut self, wanted: u64) {
        self.hurry = Some(wanted);
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready(_))
    }

    pub(super) fn hurried(&self) -> bool {
        self.hurry.is_some()
    }

    pub(super) fn relax(&mut self) {
        self.hurry = None;
    }

    /// Submits the next operation, if its time has come.
    pub(super) fn step(
        &mut self,
        filled: Option<(u64, u64)>,
        rng: &mut Box<dyn Rng>,
        end: &LogEnd,
        actions: &mut Vec<Action>,
    ) {
        let half_full = filled.is_some_and(|(used, bytes)| used > bytes / 2);
        let needed = self.hurried() || (half_full && !self.failed);
        if matches!(self.state, State::Nothing) && needed {
            self.begin(rng);
        }
        let hurried = self.hurried();
        let State::Making { segment, stage, busy } = &mut self.state else { return };
        if *busy || !(hurried || in_step(*stage, segment.bytes, filled)) {
            return;
        }
        *busy = true;
        let lane = if hurried { Lane::Foreground } else { Lane::Background };
        let operation = operation(segment, *stage, end, &mut self.zeros);
        actions.push(Action::Submit(Task::Prepare, operation, lane));
    }

    fn begin(&mut self, rng: &mut Box<dyn Rng>) {
        let number = self.next_number;
        let salt = rng.bytes();
        let wanted = with_marks(self.hurry.unwrap_or(0));
        let bytes = self.next_bytes.max(wanted).next_multiple_of(HEADER_BYTES);
        let segment = Prepared { number, salt, seed: Seed::new(salt, number), bytes };
        self.next_number += 1;
        self.next_bytes = (self.next_bytes * GROWTH).min(self.bytes_max);
        self.state = State::Making { segment, stage: Stage::Create, busy: false };
    }

    /// The submitted operation is done.
    pub(super) fn advance(&mut self) {
        let State::Making { segment, mut stage, .. } =
            std::mem::replace(&mut self.state, State::Nothing)
        else {
            return;
        };
        stage = match stage {
            Stage::Create => Stage::Zeros(0),
            Stage::Zeros(from) if from + CHUNK_BYTES < segment.bytes => {
                let next = from + CHUNK_BYTES;
                if self.hurried() { Stage::Zeros(next) } else { Stage::SyncZeros(next) }
            }
            Stage::SyncZeros(from) => Stage::Zeros(from),
            Stage::Zeros(_) if planted::is(Bug::NoSyncBeforeName) => Stage::Rename,
            Stage::Zeros(_) => Stage::Sync,
            Stage::Sync => Stage::Rename,
            Stage::Rename if !planted::is(Bug::NoDirectorySync) => Stage::SyncDirectory,
            Stage::Rename | Stage::SyncDirectory => {
                self.state = State::Ready(segment);
                return;
            }
        };
        self.state = State::Making { segment, stage, busy: false };
    }

    /// The submitted operation failed: gives the segment up. Its number is not used again.
    pub(super) fn abandon(&mut self, error: &io::Error, actions: &mut Vec<Action>) {
        let State::Making { segment, stage, .. } =
            std::mem::replace(&mut self.state, State::Nothing)
        else {
            return;
        };
        if error.kind() != io::ErrorKind::AlreadyExists {
            // Not larger for one large append; smaller where there may be no room.
            self.next_bytes = (self.next_bytes / GROWTH).max(HEADER_BYTES);
        }
        self.failed = true;
        let file = match stage {
            Stage::Create | Stage::Zeros(_) | Stage::SyncZeros(_) | Stage::Sync | Stage::Rename => {
                segment.unfinished_file()
            }
            Stage::SyncDirectory => return,
        };
        // Gives the space back. Should it fail, the file stays; it has no segment's name.
        let remove = Operation::Remove { file };
        actions.push(Action::Submit(Task::Discard, remove, Lane::Background));
    }
}

/// Whether a file is a segment that a process did not finish.
pub(crate) fn is_unfinished(file: &str) -> bool {
    let Some(name) = file.strip_suffix(".new") else { return false };
    // Earlier versions named them by the number alone.
    let (number, salt) = name.split_once('-').unwrap_or((name, "00000000"));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_salt = salt.len() == 8 && salt.bytes().all(|byte| byte.is_ascii_hexdigit());
    number.len() >= 16 && are_digits(number) && is_salt
}

/// What a segment needs for so many bytes of frames: its header before, marks after them.
fn with_marks(wanted: u64) -> u64 {
    wanted.saturating_add(2 * HEADER_BYTES)
}

/// Whether zeros may be written already: twice as fast as the active segment fills after its
/// first half.
fn in_step(stage: Stage, bytes: u64, filled: Option<(u64, u64)>) -> bool {
    let (Stage::Zeros(from), Some((used, active))) = (stage, filled) else { return true };
    let half = active / 2;
    let beyond = u128::from(used.saturating_sub(half)) * 2;
    u128::from(from) * u128::from(half.max(1)) <= beyond * u128::from(bytes)
}

fn operation(segment: &Prepared, stage: Stage, end: &LogEnd, zeros: &mut Bytes) -> Operation {
    let file = segment.unfinished_file();
    match stage {
        Stage::Create => Operation::Create { file },
        Stage::Zeros(from) => {
            let length = CHUNK_BYTES.min(segment.bytes - from) as usize;
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
        Stage::Rename if planted::is(Bug::NoTemporaryName) => {
            Operation::Rename { from: file, to: segment.file() }
        }
        Stage::Rename => Operation::RenameNoReplace { from: file, to: segment.file() },
        Stage::SyncDirectory => Operation::SyncDirectory,
    }
}

fn header(segment: &Prepared, end: &LogEnd) -> SegmentHeader {
    SegmentHeader {
        store: end.store,
        incarnation: *end.incarnation.as_uuid().as_bytes(),
        number: segment.number,
        salt: segment.salt,
        bytes: segment.bytes,
        rewritten: None,
    }
}

//! Frames of an undamaged segment.
//!
//! Invariant: frames are found according to `docs/format.md`, without the engine.

/// A frame, as specified in `docs/format.md`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) begin: usize,
    pub(super) end: usize,
    pub(super) records: usize,
    pub(super) durable_mark: usize,
}

/// Returns the frames of an undamaged segment.
pub(super) fn find_frames(bytes: &[u8]) -> Vec<Frame> {
    let begins = (0..bytes.len()).step_by(8).filter(|at| bytes.get(*at..at + 4) == Some(b"GFRM"));
    begins.filter_map(|begin| frame_at(bytes, begin)).collect()
}

fn frame_at(bytes: &[u8], begin: usize) -> Option<Frame> {
    let number = |at: usize, length: usize| {
        let field = bytes.get(begin + at..begin + at + length)?;
        Some(field.iter().rev().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte)))
    };
    let end = begin + number(8, 4)?;
    let frame = Frame { begin, end, records: number(12, 4)?, durable_mark: number(24, 8)? };
    (end <= bytes.len()).then_some(frame)
}

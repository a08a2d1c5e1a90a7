//! Segment files: their names, and the scan of one segment's frames.
//!
//! Elsewhere: the bytes of frames ([`format`](crate::format)), the order of segments in the log
//! ([`recovery`](crate::recovery)).

mod names;
pub(crate) mod scan;

pub(crate) use names::{
    SegmentName, is_unfinished_preallocation, is_unfinished_rewrite, segment_file, segment_numbers,
    unfinished_preallocation, unfinished_rewrite,
};

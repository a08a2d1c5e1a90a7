//! Write-through: bytes are on the device when the call returns.
//!
//! Chooses the mechanism. `O_DIRECT` with `O_DSYNC` bypasses the page cache where the file system
//! supports it: one call, no copy in the kernel, and no stale page after a failure. Otherwise, and
//! for large writes, a plain write and a sync.
//!
//! Invariants: bytes before the write are unchanged; bytes after it, to the end of its block, are
//! zeros, as in the preallocated file.

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

/// Alignment of direct writes; a multiple of every device's block size.
const BLOCK_BYTES: usize = 4_096;
/// Larger writes go through the page cache: copying them to an aligned buffer would cost more than
/// it saves.
const DIRECT_BYTES_MAX: usize = 1 << 20;

/// A file that is written through.
#[derive(Debug)]
pub(super) struct WriteThrough {
    name: String,
    /// The file's only handle through the page cache.
    file: Arc<File>,
    direct: Option<DirectFile>,
}

/// A second handle of the file, which bypasses the page cache.
#[derive(Debug)]
struct DirectFile {
    file: File,
    /// Buffer for an aligned copy. Begins with the block in which the next write continues, as the
    /// last write left it.
    buffer: Vec<u8>,
    /// Offset of that block in the file, and the number of bytes written in it; the rest is zeros.
    /// `None` if unknown.
    last_block: Option<(u64, usize)>,
}

impl WriteThrough {
    /// Creates a writer from the file's page cache handle and, where supported, a handle from
    /// [`open_direct`](super::platform::open_direct).
    pub(super) fn new(name: &str, file: Arc<File>, direct: Option<File>) -> Self {
        let direct = direct.map(|file| DirectFile { file, buffer: Vec::new(), last_block: None });
        Self { name: name.to_owned(), file, direct }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let Some(direct) = &mut self.direct {
            if bytes.len() <= DIRECT_BYTES_MAX {
                match direct.write(&self.file, offset, bytes) {
                    // Some file systems open such a handle and then refuse to write with it.
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                    result => return result,
                }
                self.direct = None;
            } else {
                // The write below bypasses the buffer, so its block is no longer known.
                direct.last_block = None;
            }
        }
        self.file.write_all_at(bytes, offset)?;
        self.file.sync_data()
    }
}

impl DirectFile {
    fn write(&mut self, file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let block = offset - offset % BLOCK_BYTES as u64;
        let within = usize::try_from(offset - block).unwrap_or(0);
        let end = within + bytes.len();
        let length = end.next_multiple_of(BLOCK_BYTES);
        let last_block = self.last_block.take();
        let continues = last_block.is_some_and(|(known, used)| known == block && used <= within);
        let aligned = aligned(&mut self.buffer, length);
        debug_assert_eq!(aligned.as_ptr().align_offset(BLOCK_BYTES), 0, "O_DIRECT needs alignment");
        let (before, rest) = aligned.split_at_mut(within);
        let (body, after) = rest.split_at_mut(bytes.len());
        // Read the block's beginning only if the buffer does not hold it already.
        if !continues {
            // The block has other bytes before this write, which have to be written again.
            file.read_exact_at(before, block)?;
        }
        body.copy_from_slice(bytes);
        // The buffer may still hold bytes of an earlier write here.
        after.fill(0);
        self.file.write_all_at(aligned, block)?;
        // The block in which the next write continues.
        let last = end - end % BLOCK_BYTES;
        if last > 0 {
            // Keep the last block at the front of the buffer: the next write continues in it.
            aligned.copy_within(last.., 0);
            let used = length - last;
            aligned.get_mut(used..BLOCK_BYTES).unwrap_or_default().fill(0);
        }
        self.last_block = Some((block + last as u64, end - last));
        Ok(())
    }
}

/// Returns the block-aligned part of a buffer. The first block is kept if the buffer has to grow.
fn aligned(buffer: &mut Vec<u8>, length: usize) -> &mut [u8] {
    let start = |buffer: &[u8]| buffer.as_ptr().align_offset(BLOCK_BYTES).min(BLOCK_BYTES);
    if buffer.len() < length + BLOCK_BYTES {
        let mut larger = vec![0; length + BLOCK_BYTES];
        let (from, to) = (start(buffer), start(&larger));
        if let Some(first) = buffer.get(from..from + BLOCK_BYTES) {
            larger.get_mut(to..to + BLOCK_BYTES).unwrap_or_default().copy_from_slice(first);
        }
        *buffer = larger;
    }
    let start = start(buffer);
    buffer.get_mut(start..start + length).expect("there is a block of room to align in")
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;
    use crate::disk::platform::open_direct;

    #[test]
    fn what_is_written_through_stands_where_it_belongs_and_nothing_else_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, vec![0; 64 << 10]).unwrap();
        let open = || {
            let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
            WriteThrough::new("file", Arc::new(file), open_direct(&path).ok())
        };
        let mut through = open();
        let mut expected = vec![0_u8; 64 << 10];
        let mut offset = 4_096;
        for (n, length) in [(1, 100), (2, 4_000), (3, 9_000), (4, 1), (5, 4_095)] {
            if n == 4 {
                through = open(); // knows nothing of the earlier writes
                offset += 512; // a mark leaves a gap
            }
            through.write(offset as u64, &vec![n; length]).unwrap();
            expected[offset..offset + length].fill(n);
            offset += length;
        }
        assert!(std::fs::read(&path).unwrap() == expected);
    }
}

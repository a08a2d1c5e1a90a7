//! WriterThreads through: bytes that are on the device when the call returns.
//!
//! Owns: the choice of mechanism. Past the page cache where the file system can (`O_DIRECT` with
//! `O_DSYNC`: one call, no copy in the kernel, and after a failure no page that lies); otherwise, and
//! for large writes, a plain write and a sync. Always holds: bytes before the write keep what they
//! were; bytes after it, to the end of its block, are zeros, as the file was made.
//! Not here: threads; which file is written.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use rustix::fs::OFlags;

/// What direct writes begin and end at; a multiple of every device's block.
const BLOCK_BYTES: usize = 4_096;
/// Larger writes go through the page cache: copying them here would cost more than it spares.
const DIRECT_BYTES_MAX: usize = 1 << 20;

/// A file that is written through.
#[derive(Debug)]
pub(super) struct WriteThrough {
    name: String,
    /// Through the page cache; the one handle of the file.
    file: Arc<File>,
    direct: Option<DirectFile>,
}

/// A second handle of the file, past the page cache.
#[derive(Debug)]
struct DirectFile {
    file: File,
    /// Room for an aligned copy of what is written. It begins with the block that the next write
    /// goes on in, as the last one left it.
    buffer: Vec<u8>,
    /// Where that block stands in the file, and how much of it was written; the rest is zeros.
    stands: Option<(u64, usize)>,
}

impl WriteThrough {
    /// By the one handle of the file, and by one of [`open_direct`] where there is such a thing.
    pub(super) fn new(name: &str, file: Arc<File>, direct: Option<File>) -> Self {
        let direct = direct.map(|file| DirectFile { file, buffer: Vec::new(), stands: None });
        Self { name: name.to_owned(), file, direct }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let Some(direct) = &mut self.direct {
            if bytes.len() <= DIRECT_BYTES_MAX {
                match direct.write(&self.file, offset, bytes) {
                    // Some file systems open such a handle and then refuse to write by it.
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                    result => return result,
                }
                self.direct = None;
            } else {
                direct.stands = None;
            }
        }
        self.file.write_all_at(bytes, offset)?;
        self.file.sync_data()
    }
}

/// Opens a file past the page cache.
pub(super) fn open_direct(path: &Path) -> io::Result<File> {
    let flags = (OFlags::DIRECT | OFlags::DSYNC).bits();
    let flags = i32::try_from(flags).map_err(io::Error::other)?;
    OpenOptions::new().write(true).custom_flags(flags).open(path)
}

impl DirectFile {
    fn write(&mut self, file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let block = offset - offset % BLOCK_BYTES as u64;
        let within = usize::try_from(offset - block).unwrap_or(0);
        let end = within + bytes.len();
        let length = end.next_multiple_of(BLOCK_BYTES);
        let stands = self.stands.take();
        let goes_on = stands.is_some_and(|(known, used)| known == block && used <= within);
        let aligned = aligned(&mut self.buffer, length);
        let (before, rest) = aligned.split_at_mut(within);
        let (body, after) = rest.split_at_mut(bytes.len());
        if !goes_on {
            file.read_exact_at(before, block)?;
        }
        body.copy_from_slice(bytes);
        after.fill(0);
        self.file.write_all_at(aligned, block)?;
        let last = end - end % BLOCK_BYTES;
        if last > 0 {
            // The last block comes first: it is where the next write goes on.
            aligned.copy_within(last.., 0);
            let used = length - last;
            aligned.get_mut(used..BLOCK_BYTES).unwrap_or_default().fill(0);
        }
        self.stands = Some((block + last as u64, end - last));
        Ok(())
    }
}

/// The part of a buffer that begins at a multiple of the block in memory. Its first block stays what
/// it was where the buffer has to grow.
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
    use super::*;

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
                through = open(); // knows nothing of what stands there
                offset += 512; // a mark leaves a gap
            }
            through.write(offset as u64, &vec![n; length]).unwrap();
            expected[offset..offset + length].fill(n);
            offset += length;
        }
        assert!(std::fs::read(&path).unwrap() == expected);
    }
}

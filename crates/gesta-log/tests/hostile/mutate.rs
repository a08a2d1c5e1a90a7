//! Seeded changes of files.

use std::collections::BTreeMap;

use crate::draws::Draws;

/// Files by name.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// The most severe kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Damage {
    /// Bytes within one sector of a file.
    Bytes,
    /// Bytes of adjacent sectors: the last frame and its mark look like a torn write.
    Sectors,
    /// Files are missing, cut, or renamed.
    Names,
    /// Bytes with corrected checksums.
    Forged,
}

/// A mark and the frame that it covers never share a sector.
const SECTOR: usize = 512;

/// Changes a store, mostly in one place.
pub(crate) fn mutate(files: &mut Files, draws: &mut Draws) -> Damage {
    let name = pick_name(files, draws);
    match draws.below(10) {
        0 => {
            change_names(files, &name, draws);
            Damage::Names
        }
        1..=3 => {
            let bytes = files.get_mut(&name).expect("it was picked");
            for _ in 0..=draws.below(2) {
                forge(bytes, draws);
            }
            Damage::Forged
        }
        _ => {
            let bytes = files.get_mut(&name).expect("it was picked");
            change_bytes(bytes, draws)
        }
    }
}

fn pick_name(files: &Files, draws: &mut Draws) -> String {
    let at = draws.below(files.len() as u64) as usize;
    files.keys().nth(at).expect("it is below the length").clone()
}

fn change_names(files: &mut Files, name: &str, draws: &mut Draws) {
    let other = pick_name(files, draws);
    match draws.below(5) {
        0 => drop(files.remove(name)),
        1 => {
            let bytes = files.remove(name).expect("it was picked");
            files.insert(other, bytes);
        }
        2 => {
            let bytes = files[name].clone();
            let number = draws.below(20);
            files.insert(format!("{number:016}.seg"), bytes);
        }
        3 => {
            let bytes = files.get_mut(name).expect("it was picked");
            let length = draws.below(bytes.len() as u64 + 1) as usize;
            bytes.truncate(length);
        }
        _ => {
            let length = draws.below(20_000);
            let noise = (0..length).map(|_| draws.next() as u8).collect();
            let name = ["INDEX", "RESTORED", "RESTORING", "0000000000000099.seg", "INDEX.new"];
            files.insert(name[draws.below(5) as usize].to_owned(), noise);
        }
    }
}

fn place(bytes: &[u8], draws: &mut Draws) -> usize {
    draws.below(bytes.len().max(1) as u64) as usize
}

fn change_bytes(bytes: &mut [u8], draws: &mut Draws) -> Damage {
    // A copy of an open store may contain a file that was only just created.
    if bytes.is_empty() {
        return Damage::Bytes;
    }
    let at = place(bytes, draws);
    let drawn_length = 1 + draws.below(200) as usize;
    let kind = draws.below(6);
    // The first two kinds change a single byte.
    let length = if kind < 2 { 1 } else { drawn_length };
    let end = bytes.len().min(at + length);
    match kind {
        0 => bytes[at] ^= 1 << draws.below(8),
        1 => bytes[at] = draws.next() as u8,
        2 => bytes[at..end].fill(0),
        3 => bytes[at..end].fill(0xff),
        4 => bytes[at..end].fill_with(|| draws.next() as u8),
        _ => {
            // A part of the file itself, as a misdirected write leaves it.
            let from = place(bytes, draws).min(bytes.len() - (end - at));
            bytes.copy_within(from..from + (end - at), at);
        }
    }
    if at / SECTOR == end.saturating_sub(1) / SECTOR { Damage::Bytes } else { Damage::Sectors }
}

/// Changes a field and corrects its checksum.
fn forge(bytes: &mut [u8], draws: &mut Draws) {
    if bytes.starts_with(b"GESTALOG") {
        match draws.below(4) {
            0 => {
                change_within(bytes, 8, 96, draws);
                seal(bytes, 0, 4_092, 4_092, &[]);
            }
            1 => forge_frame(bytes, draws),
            _ => forge_record(bytes, draws),
        }
    } else if bytes.starts_with(b"GESTAIDX") {
        let end = bytes.len() - 4;
        change_within(bytes, 8, end, draws);
        seal(bytes, 0, end, end, &[]);
    } else if bytes.len() >= 8_192 && bytes.len().is_multiple_of(4_096) {
        forge_block(bytes, draws);
    } else {
        _ = change_bytes(bytes, draws);
    }
}

fn change_within(bytes: &mut [u8], from: usize, to: usize, draws: &mut Draws) {
    for _ in 0..=draws.below(3) {
        let at = from + draws.below((to - from) as u64) as usize;
        bytes[at] = match draws.below(4) {
            0 => 0,
            1 => 0xff,
            2 => bytes[at].wrapping_add(1),
            _ => draws.next() as u8,
        };
    }
}

/// Writes the checksum of `before` and a range at an offset.
fn seal(bytes: &mut [u8], from: usize, to: usize, at: usize, before: &[u8]) {
    let checksum = crc32c::crc32c_append(crc32c::crc32c(before), &bytes[from..to]);
    bytes[at..at + 4].copy_from_slice(&checksum.to_le_bytes());
}

/// Salt, number and offset, which start the checksums of segments.
fn seed(bytes: &[u8], offset: usize) -> Vec<u8> {
    [&bytes[72..88], &bytes[64..72], &(offset as u64).to_le_bytes()].concat()
}

/// Offsets of frames, by their magic number.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let starts = (4_096..bytes.len().saturating_sub(72)).step_by(8);
    starts.filter(|at| bytes[*at..].starts_with(b"GFRM")).collect()
}

fn forge_frame(bytes: &mut [u8], draws: &mut Draws) {
    let frames = frames(bytes);
    let Some(frame) = frames.get(draws.below(frames.len().max(1) as u64) as usize) else { return };
    change_within(bytes, frame + 4, frame + 68, draws);
    let before = seed(bytes, *frame);
    seal(bytes, *frame, frame + 68, frame + 68, &before);
}

fn forge_record(bytes: &mut [u8], draws: &mut Draws) {
    let frames = frames(bytes);
    let Some(frame) = frames.get(draws.below(frames.len().max(1) as u64) as usize) else { return };
    let record = frame + 72;
    let Some(length) = bytes.get(record..record + 4) else { return };
    let length = u32::from_le_bytes(length.try_into().expect("it has four bytes")) as usize;
    if length < 68 || record + length > bytes.len() {
        return;
    }
    change_within(bytes, record + 8, record + length, draws);
    let before = seed(bytes, record);
    seal(bytes, record + 8, record + length, record + 4, &before);
}

/// Changes a block of a run: its kind and body, under the run's salt; the footer without a salt.
fn forge_block(bytes: &mut [u8], draws: &mut Draws) {
    let blocks = bytes.len() / 4_096;
    let footer = (blocks - 1) * 4_096;
    let block = draws.below(blocks as u64) as usize * 4_096;
    // The lengths and counts are at the beginning of a body.
    let end = if draws.below(2) == 0 { block + 60 } else { block + 4_092 };
    change_within(bytes, block, end, draws);
    let mut before = vec![0; 24];
    if block != footer {
        // Salt and number of the first segment, after magic, version, features and store id.
        before[..24].copy_from_slice(&bytes[footer + 45..footer + 69]);
    }
    before.extend_from_slice(&(block as u64).to_le_bytes());
    seal(bytes, block, block + 4_092, block + 4_092, &before);
}

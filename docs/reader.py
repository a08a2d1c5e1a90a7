#!/usr/bin/env python3
"""Lists every event of a store as JSON lines: python3 reader.py DIRECTORY

Written from docs/format.md with Python's standard library alone: the directory and that page are
enough to read the events. The store must not be appended to in the meantime. All checksums and the
chain are verified; damage is reported on stderr, and the exit status is then 1.
"""
import base64, json, re, sys, uuid
from pathlib import Path
from struct import pack, unpack, unpack_from

MASK, HEADER_BYTES, FRAME_BYTES, RECORD_BYTES, SECTOR_BYTES = 0xFFFFFFFF, 4096, 72, 68, 512
OPENING, EVENTS, CLOSE, SEAL, GAP = 1, 2, 3, 4, 5

def demand(holds, otherwise):
    if not holds:
        raise ValueError(otherwise)
CRC_TABLE = list(range(256))
for _ in range(8):
    CRC_TABLE = [crc >> 1 ^ (0x82F63B78 if crc & 1 else 0) for crc in CRC_TABLE]
def crc32c(data, before=0):
    crc = before ^ MASK
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ MASK
IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
MIXED = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
         (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8
def compress(chaining, words, counter, length, flags):
    v = [*chaining, *IV[:4], counter & MASK, counter >> 32, length, flags]
    for _ in range(7):
        for n, (a, b, c, d) in enumerate(MIXED):
            for word, first, second in ((words[2 * n], 16, 12), (words[2 * n + 1], 8, 7)):
                v[a] = (v[a] + v[b] + word) & MASK
                x = v[d] ^ v[a]
                v[d] = (x >> first | x << 32 - first) & MASK
                v[c] = (v[c] + v[d]) & MASK
                x = v[b] ^ v[c]
                v[b] = (x >> second | x << 32 - second) & MASK
        words = [words[n] for n in PERMUTATION]
    return tuple(v[n] ^ v[n + 8] for n in range(8))
def subtree(data, chunk, root):
    if len(data) <= 1024:
        chaining, last = IV, max(len(data) - 1, 0) // 64
        for n in range(last + 1):
            block = data[64 * n:64 * n + 64]
            flags = (CHUNK_START if n == 0 else 0) | (CHUNK_END | root if n == last else 0)
            chaining = compress(chaining, unpack("<16I", block.ljust(64, b"\0")), chunk, len(block), flags)
        return chaining
    left = 1024 << ((len(data) - 1) // 1024).bit_length() - 1
    pair = subtree(data[:left], chunk, 0) + subtree(data[left:], chunk + left // 1024, 0)
    return compress(IV, pair, 0, 64, PARENT | root)
def blake3(data):
    return pack("<8I", *subtree(data, 0, ROOT))

class Segment:
    def __init__(self, path):
        self.file, self.data, self.opening = path.name, path.read_bytes(), None
        head = self.data[:HEADER_BYTES]
        demand(head[:8] == b"GESTALOG" and head[4092:] == pack("<I", crc32c(head[:4092])), "no valid segment header")
        (major, _, length, features, _, self.store, _, self.number, self.salt, self.made,
         named) = unpack_from("<HHIQQ16s16sQ16sQ16s", head, 8)
        self.rewritten, self.named = features & 1, named if features & 1 else self.salt
        if major != 2 or length != HEADER_BYTES or features > 3:
            sys.exit(f"{self.file} was written by another version")
        demand(self.number == int(path.stem), "the header names another segment")
        self.seed = crc32c(self.salt + pack("<Q", self.number))
    def checksum(self, at, covered):
        return pack("<I", crc32c(pack("<Q", at) + covered, self.seed))
    def header(self, at):
        raw = self.data[at:at + FRAME_BYTES]
        demand(raw[:4] == b"GFRM" and at % 8 == 0 and self.checksum(at, raw[:68]) == raw[68:], "no frame begins here")
        kind, zeros, length, records, first, mark, chain, body = unpack_from("<4xB3sIIQQ32s4s", raw)
        whole = length % 8 == 0 and length >= FRAME_BYTES + RECORD_BYTES * records
        demand(whole and 1 <= kind <= 5 and zeros == bytes(3) and mark <= at, "frame header cannot be")
        return kind, length, records, first, mark, chain, body
    def frame(self, at, chain, position):
        """The verified frame at an offset; the chain and the position before it may not be known."""
        kind, length, records, first, _, after, checksum = self.header(at)
        body, said, events = self.data[at + FRAME_BYTES:at + length], b"", []
        demand(len(body) == length - FRAME_BYTES, "the file ends in a frame")
        demand(position in (None, first) and (kind == OPENING) == (at == HEADER_BYTES), "the frame is out of place")
        if kind == OPENING:
            demand(self.checksum(at + FRAME_BYTES, body) == checksum, "opening frame checksum does not match")
            self.opening, self.first = unpack("<QQ16s", body), first
        demand((records > 0) == (kind == EVENTS) or kind == GAP, "frame cannot be")
        stands_for, used = unpack("<II", body[:8]) if kind == GAP else (records, 0)
        demand(kind != GAP or self.checksum(at + FRAME_BYTES, body[:used]) == checksum, "gap frame checksum")
        for n in range(records):
            size, = unpack("<I", body[used:used + 4].ljust(4, b"\0"))
            record = body[used:used + size]
            valid = RECORD_BYTES <= size == len(record)
            demand(valid and self.checksum(at + FRAME_BYTES + used, record[8:]) == record[4:8], "record checksum")
            events.append(decode(record))
            demand(n <= events[-1]["position"] - first < stands_for - records + n + 1, "position")
            said, used = said + record[8:], used + size
        demand(kind == OPENING or (len(body) - used < 8 and not any(body[used:])), "padding")
        demand(kind != EVENTS or not record[59], "an append does not end")
        demand(chain is None or kind == GAP or after == (blake3(chain + said) if events else chain), "chain")
        return kind, at + length, after, events, first + stands_for
    def next_frame(self, at, chain, position):
        """The frame right here, or a close frame or seal after zeros at the next multiple of 512."""
        try:
            return self.frame(at, chain, position)
        except ValueError:
            sector = -(-at // SECTOR_BYTES) * SECTOR_BYTES
            if sector == at or any(self.data[at:sector]):
                raise
            demand(self.header(sector)[0] in (CLOSE, SEAL), "no frame begins here")
            return self.frame(sector, chain, position)
    def later(self, at):
        """Offset, length, first position and durable mark of each valid frame header, starting at an offset."""
        for found in re.compile(b"GFRM").finditer(self.data, at):
            try:
                _, length, _, first, mark, _, _ = self.header(found.start())
                yield found.start(), length, first, mark
            except ValueError:
                pass

def decode(record):
    (position, revision, recorded_at, event_id, version, content, encoding, *lengths, tags, correlation, causation,
     flags, metadata, data) = unpack_from("<QQQ16sHBBHBBBBBBII", record, 8)
    demand(encoding == 0 and flags < 2 and content < 3, "written by another version")
    rest = record[RECORD_BYTES:]
    def take(length):
        nonlocal rest
        demand(length <= len(rest), "record length")
        taken, rest = rest[:length], rest[length:]
        return taken
    stream, event_type, named = (take(length).decode() for length in lengths)
    event = {"position": position, "stream": stream, "revision": revision, "recordedAtMicros": recorded_at,
             "id": str(uuid.UUID(bytes=event_id)), "type": event_type, "schemaVersion": version,
             "tags": [take(take(1)[0]).decode() for _ in range(tags)],
             "correlationId": take(correlation).decode() or None, "causationId": take(causation).decode() or None,
             "contentType": (named, "application/json", "application/octet-stream")[content],
             "metadataBase64": base64.b64encode(take(metadata)).decode(),
             "dataBase64": base64.b64encode(take(data)).decode()}
    demand(not rest, "record length")
    return event

def walk(segment, chain, position, adopted, damage):
    """The events of a segment, as far as its successor says, and what the next segment continues."""
    end, kind, events = HEADER_BYTES, None, []
    while end < (len(segment.data) if adopted is None else adopted) and kind != SEAL:
        try:
            kind, end, chain, found, position = segment.next_frame(end, chain, position)
            events += found
        except ValueError as bad:
            later = list(segment.later(end))
            durable = max([mark for *_, mark in later], default=0) if adopted is None else adopted
            if durable <= end:
                break  # a write that was never acknowledged
            damage(segment.file, end, bad)
            behind = [-(-(at + length) // n) * n for at, length, *_ in later if at == end for n in (1, SECTOR_BYTES)]
            chain, end = None, min([at for at, *_ in later if at > end], default=len(segment.data))
            if end >= durable and end not in behind:
                break  # nothing says that what follows belongs
            position = max([position] + [first for at, _, first, _ in later if at == end])
    return events, chain, position

def segments(directory, damage):
    """The segments of the log: the last one that has an opening frame, the one that it names, and so on."""
    log = []
    for path in sorted(directory.glob("[0-9]" * 16 + ".seg"), reverse=True):
        if log and int(path.stem) > log[0].opening[0]:
            continue  # given up
        segment = None
        try:
            segment = Segment(path)
            segment.frame(HEADER_BYTES, None, None)
            log.insert(0, segment)
        except ValueError as bad:
            if not segment or any(mark > HEADER_BYTES for *_, mark in segment.later(HEADER_BYTES)):
                damage(path.name, HEADER_BYTES, bad)  # else it was never used
        if segment and len(segment.data) < segment.made:
            damage(path.name, len(segment.data), f"the file is truncated; it was created with {segment.made} bytes")
    return log

def main(directory):
    damaged, before, chain, position = [], (0, bytes(16)), None, 1
    def damage(file, offset, what):
        damaged.append(file)
        print(f"{file} at offset {offset}: {what}", file=sys.stderr)
    log = segments(directory, damage)
    for segment, successor in zip(log, log[1:] + [None]):
        if segment.opening[::2] != before:
            damage(segment.file, HEADER_BYTES, "the segment before this one is missing")
        chain = chain if before[0] else blake3(segment.store)
        if segment.first != position:  # after damage
            chain, position = None, max(position, segment.first)
        adopted = segment.made if segment.rewritten else successor and successor.opening[1]
        events, chain, position = walk(segment, chain, position, adopted, damage)
        for event in events:
            print(json.dumps(event, ensure_ascii=False, separators=(",", ":")))
        before = (segment.number, segment.named)
    return 1 if damaged else 0

if __name__ == "__main__": sys.exit(main(Path(sys.argv[1])))

//! The partition of a stream: the hash that Java clients of Kafka use for keys.
//!
//! Invariant: the same stream is in the same partition of a topic for as long as the topic keeps
//! its number of partitions. Producers in other languages agree if they use `murmur2`, which is the
//! default of the Java client and `murmur2_random` in librdkafka.

use gesta_store::StreamName;

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;

/// Returns the partition of a stream in a topic with this number of partitions.
///
/// `partitions` of 0 counts as 1.
///
/// ```
/// use gesta_kafka::partition_of;
/// use gesta_store::StreamName;
///
/// let account = StreamName::new("account-7")?;
/// assert_eq!(partition_of(&account, 4), partition_of(&account, 4));
/// assert!(partition_of(&account, 4) < 4);
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[must_use]
pub fn partition_of(stream: &StreamName, partitions: u32) -> u32 {
    // Java clears the sign instead of taking the hash as an unsigned number.
    (murmur2(stream.as_str().as_bytes()) & 0x7fff_ffff) % partitions.max(1)
}

/// MurmurHash2 with the seed of Kafka's clients.
fn murmur2(key: &[u8]) -> u32 {
    // Java's lengths are signed numbers of 32 bits; keys are names of at most 1,024 bytes.
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let (words, rest) = key.as_chunks::<4>();
    let mut hash = SEED ^ length;
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        mixed ^= mixed >> 24;
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed.wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0, |tail, byte| tail << 8 | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_hashes_of_the_java_client() {
        // From the tests of Apache Kafka's `Utils.murmur2`.
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn streams_are_spread_over_all_partitions() {
        let mut counts = [0; 4];
        for number in 0..1_000 {
            let stream = StreamName::new(format!("account-{number}")).unwrap();
            counts[partition_of(&stream, 4) as usize] += 1;
        }
        assert!(counts.iter().all(|count| *count > 150), "{counts:?}");
    }
}

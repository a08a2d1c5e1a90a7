//! The key in a `SubjectPublicKeyInfo` (RFC 5280), and the form of RSA keys (RFC 8017).
//!
//! Invariant: any bytes give a value or `None`. Not here: signatures.

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_ID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

const RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];
const ELLIPTIC_CURVE: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
const P256: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
const ED25519: &[u8] = &[0x2B, 0x65, 0x70];

/// A public key, in the form that signatures are verified with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PublicKey {
    Rsa(Vec<u8>),
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// Elements that were not read yet.
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = if *first < 0x80 {
            (usize::from(*first), rest)
        } else {
            // The long form: the number of bytes of the length, then these.
            let bytes = usize::from(first & 0x7F);
            if bytes == 0 || bytes > 4 {
                return None;
            }
            let (length, rest) = rest.split_at_checked(bytes)?;
            (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        (*tag == wanted).then_some(content)
    }
}

/// Returns the key of a `SubjectPublicKeyInfo`, if its kind is known.
pub(crate) fn public_key(info: &[u8]) -> Option<PublicKey> {
    let mut info = Elements(Elements(info).expect(SEQUENCE)?);
    let mut algorithm = Elements(info.expect(SEQUENCE)?);
    // The first byte counts the unused bits, of which keys have none.
    let (0, key) = info.expect(BIT_STRING)?.split_first()? else { return None };
    let key = key.to_vec();
    match algorithm.expect(OBJECT_ID)? {
        RSA => Some(PublicKey::Rsa(key)),
        ED25519 => Some(PublicKey::Ed25519(key)),
        ELLIPTIC_CURVE if algorithm.expect(OBJECT_ID)? == P256 => Some(PublicKey::P256(key)),
        _ => None,
    }
}

/// Returns the `RSAPublicKey` with this modulus and exponent, both big-endian.
pub(crate) fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let mut numbers = element(INTEGER, &unsigned(modulus));
    numbers.extend(element(INTEGER, &unsigned(exponent)));
    element(SEQUENCE, &numbers)
}

/// Returns a number without leading zeros, and with one if it would be read as negative.
fn unsigned(number: &[u8]) -> Vec<u8> {
    let begin = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    let digits = number.get(begin..).unwrap_or_default();
    let sign = digits.first().is_none_or(|first| *first >= 0x80).then_some(0);
    sign.into_iter().chain(digits.iter().copied()).collect()
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    let length = content.len().to_be_bytes();
    let begin = length.iter().position(|byte| *byte != 0).unwrap_or(length.len());
    let length = length.get(begin..).unwrap_or_default();
    match length {
        [] => bytes.push(0),
        [short] if *short < 0x80 => bytes.push(*short),
        long => {
            // At most eight bytes, so the number fits into seven bits.
            bytes.push(0x80 | u8::try_from(long.len()).unwrap_or(8));
            bytes.extend(long);
        }
    }
    bytes.extend(content);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_shortest_form() {
        assert_eq!(rsa_public_key(&[0, 0x7F], &[0x80]), [0x30, 7, 2, 1, 0x7F, 2, 2, 0, 0x80]);
        let long = rsa_public_key(&[0x80; 256], &[1, 0, 1]);
        assert_eq!(long.get(..8), Some(&[0x30, 0x82, 1, 10, 2, 0x82, 1, 1][..]));
    }

    #[test]
    fn truncated_and_changed_bytes_have_an_answer() {
        let mut info = vec![0x30, 0x2A, 0x30, 5, 6, 3, 0x2B, 0x65, 0x70, 3, 0x21, 0];
        info.extend([7; 32]);
        assert_eq!(public_key(&info), Some(PublicKey::Ed25519(vec![7; 32])));
        for end in 0..info.len() {
            assert_eq!(public_key(info.get(..end).unwrap_or_default()), None);
        }
        for at in 0..info.len() {
            let mut changed = info.clone();
            if let Some(byte) = changed.get_mut(at) {
                *byte ^= 0xFF;
            }
            drop(public_key(&changed));
        }
    }
}

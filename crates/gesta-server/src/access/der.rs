//! The few parts of DER that certificates and public keys need.
//!
//! Owns: reading tags and lengths; the common name of a certificate; the key in a
//! `SubjectPublicKeyInfo`. Invariant: any bytes give a value or `None`. Not here: whether a
//! certificate is valid, which rustls decides before.

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_ID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0C;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// The version of a certificate.
const CONTEXT_0: u8 = 0xA0;

const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];
const ELLIPTIC_CURVE: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
const P256: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];

/// The public key of a `SubjectPublicKeyInfo`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PublicKey {
    Rsa(Vec<u8>),
    P256(Vec<u8>),
}

/// Elements that were not read yet.
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
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
        Some((*tag, content))
    }

    fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, content)| content)
    }
}

/// Returns the common name of a certificate's subject, if it has exactly one.
pub(super) fn common_name(certificate: &[u8]) -> Option<String> {
    let certificate = Elements(certificate).expect(SEQUENCE)?;
    let mut fields = Elements(Elements(certificate).expect(SEQUENCE)?);
    // Version, which is optional, then serial number, algorithm, issuer, validity and subject.
    let (first, _) = fields.next()?;
    if first == CONTEXT_0 {
        fields.expect(INTEGER)?;
    }
    for _ in 0..3 {
        fields.expect(SEQUENCE)?;
    }
    let mut subject = Elements(fields.expect(SEQUENCE)?);
    let mut found = None;
    while let Some((SET, names)) = subject.next() {
        let mut names = Elements(names);
        while let Some((SEQUENCE, name)) = names.next() {
            let mut name = Elements(name);
            if name.expect(OBJECT_ID)? != COMMON_NAME {
                continue;
            }
            let (UTF8_STRING | PRINTABLE_STRING | IA5_STRING, text) = name.next()? else {
                return None;
            };
            if found.replace(std::str::from_utf8(text).ok()?.to_owned()).is_some() {
                return None;
            }
        }
    }
    found
}

/// Returns the key of a `SubjectPublicKeyInfo` in the form that signatures are verified with.
pub(super) fn public_key(info: &[u8]) -> Option<PublicKey> {
    let mut info = Elements(Elements(info).expect(SEQUENCE)?);
    let mut algorithm = Elements(info.expect(SEQUENCE)?);
    // The first byte counts the unused bits, of which keys have none.
    let (0, key) = info.expect(BIT_STRING)?.split_first()? else { return None };
    match algorithm.expect(OBJECT_ID)? {
        RSA => Some(PublicKey::Rsa(key.to_vec())),
        ELLIPTIC_CURVE if algorithm.expect(OBJECT_ID)? == P256 => {
            Some(PublicKey::P256(key.to_vec()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData as _};

    use super::*;

    fn certificate_of(names: &[(DnType, &str)]) -> Vec<u8> {
        let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.distinguished_name = DistinguishedName::new();
        for (kind, name) in names {
            parameters.distinguished_name.push(kind.clone(), *name);
        }
        parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_common_name_of_a_certificate_is_found() {
        let names = [(DnType::OrganizationName, "Gesta"), (DnType::CommonName, "ann")];
        assert_eq!(common_name(&certificate_of(&names)).as_deref(), Some("ann"));
        let organization = [(DnType::OrganizationName, "Gesta")];
        assert_eq!(common_name(&certificate_of(&organization)), None);
    }

    #[test]
    fn truncated_and_changed_bytes_have_an_answer() {
        let certificate = certificate_of(&[(DnType::CommonName, "ann")]);
        for end in 0..certificate.len() {
            assert_eq!(common_name(&certificate[..end]), None);
        }
        for at in 0..certificate.len() {
            let mut changed = certificate.clone();
            changed[at] ^= 0xFF;
            drop((common_name(&changed), public_key(&changed)));
        }
    }

    #[test]
    fn a_public_key_is_known_by_its_algorithm() {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let info = pair.subject_public_key_info();
        assert_eq!(public_key(&info), Some(PublicKey::P256(pair.public_key_raw().to_vec())));
        let other = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        assert_eq!(public_key(&other.subject_public_key_info()), None);
    }
}

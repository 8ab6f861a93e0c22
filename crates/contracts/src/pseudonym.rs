//! Keyed pseudonyms: HMAC-SM3 (GB/T 32905-2016 in RFC 2104), a key for each purpose.
//!
//! The same identifier has the same pseudonym within a purpose, so that it can be counted, and another in every
//! other purpose, so that it cannot be followed.

use std::{collections::BTreeMap, fmt};

use hmac::{Hmac, KeyInit, Mac};
use sm3::Sm3;

use crate::text::fold;

const PREFIX: &str = "sm3:";
const HEX: usize = 64;

/// The keys of the installation, by purpose. Never shown.
#[derive(Clone, Default)]
pub struct PseudonymKeys(BTreeMap<String, Vec<u8>>);

/// Shorter keys could be guessed.
pub const SHORTEST_KEY_BYTES: usize = 16;

impl PseudonymKeys {
    /// None where a key is shorter than [`SHORTEST_KEY_BYTES`].
    pub fn new(keys: impl IntoIterator<Item = (String, Vec<u8>)>) -> Option<Self> {
        let keys: BTreeMap<_, _> = keys.into_iter().collect();
        keys.values().all(|key| key.len() >= SHORTEST_KEY_BYTES).then_some(Self(keys))
    }

    pub(crate) fn get(&self, purpose: &str) -> Option<&[u8]> {
        self.0.get(purpose).map(Vec::as_slice)
    }
}

impl fmt::Debug for PseudonymKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// `sm3:` and 64 hexadecimal digits. The value is folded first (an identity number in full-width digits is the
/// same number); what is a pseudonym already stays, so that a record can pass a door twice.
pub(crate) fn pseudonym(key: &[u8], value: &str) -> String {
    let value = fold(value);
    if is_pseudonym(&value) {
        return value.into_owned();
    }
    let mut mac = Hmac::<Sm3>::new_from_slice(key).expect("invariant: HMAC takes keys of any length");
    mac.update(value.to_ascii_uppercase().as_bytes());
    let mut text = String::with_capacity(PREFIX.len() + HEX);
    text.push_str(PREFIX);
    for byte in mac.finalize().into_bytes() {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
    text
}

fn is_pseudonym(text: &str) -> bool {
    text.strip_prefix(PREFIX)
        .is_some_and(|hex| hex.len() == HEX && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudonym_is_stable_within_a_purpose_and_another_in_another() {
        let (a, b) = ([1; 16], [2; 16]);
        let one = pseudonym(&a, "32010620000101001x");
        assert_eq!(one, pseudonym(&a, " ３２０１０６２０００010１001Ｘ"));
        assert_ne!(one, pseudonym(&b, "32010620000101001x"));
        assert_eq!(pseudonym(&a, &one), one);
        assert_eq!(one.len(), 68);
    }

    #[test]
    fn hmac_sm3_agrees_with_a_published_vector() {
        // GM/T 0042-2015, annex D.3, test 1.
        let key: Vec<u8> = (1..=32).collect();
        let message = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".repeat(2);
        let mut mac = Hmac::<Sm3>::new_from_slice(&key).expect("any length");
        mac.update(message.as_bytes());
        let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "ca05e144ed05d1857840d1f318a4a8669e559fc8391f414485bfdf7bb408963a");
    }

    #[test]
    fn short_keys_are_refused_and_keys_are_never_shown() {
        assert!(PseudonymKeys::new([("a".to_owned(), vec![1; 15])]).is_none());
        let keys = PseudonymKeys::new([("rental".to_owned(), b"0123456789abcdef".to_vec())]);
        assert_eq!(format!("{keys:?}"), "Some({\"rental\"})");
    }
}

//! The cluster's secret: who holds it is a host of the cluster, and root on a host is its administrator.
//!
//! A secret is 32 random bytes. As text it begins with its version and ends with a checksum, so that a damaged copy is
//! recognised as such: `longshore-secret-1-` and 58 characters of base32. Two keys are derived from it by HKDF-SHA256,
//! each under a label of its own, so that neither reveals the other: the key that seals datagrams ([`crate::seal`]),
//! and the seed of the Ed25519 key of the cluster's certificate authority.
//!
//! A [`Keyring`] holds one or more secrets. The first one seals and issues; all of them open and are trusted. A secret
//! is thus replaced on a live cluster in three steps, each on all hosts before the next: append the new one, move it to
//! the front, remove the old one. [`Rotating`] is one host's part in that.
//!
//! No error and no `Debug` contains any part of a secret, and its memory is overwritten when it is dropped.

mod keyring;
mod rotating;

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use data_encoding::{Encoding, Specification};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

pub use keyring::{Keyring, KeyringError};
pub use rotating::{Rotating, Step, StepError};

const NAME: &str = "longshore-secret-";
const PREFIX: &str = "longshore-secret-1-";
const BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 4;

/// RFC 4648 in lower case. What is read aloud or copied by hand may be in upper case, and have the three digits that
/// the alphabet lacks because they look like letters.
static BASE32: LazyLock<Option<Encoding>> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    specification.translate.from.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZ018");
    specification.translate.to.push_str("abcdefghijklmnopqrstuvwxyzolb");
    specification.encoding().ok()
});

/// A key or a seed derived from a secret.
pub type DerivedKey = Zeroizing<[u8; 32]>;

/// The secret of a cluster.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; BYTES]);

/// Why a text is not a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It does not begin as a secret does.
    #[error("not a cluster secret: it must begin with {PREFIX}")]
    Prefix,
    /// It begins as a secret of another version.
    #[error("a cluster secret of another version than 1: this release cannot read it")]
    Version,
    /// It is shorter or longer than a secret.
    #[error("an incomplete cluster secret: expected {expected} characters, found {found}")]
    Length {
        /// How many characters a secret has.
        expected: usize,
        /// How many the text has.
        found: usize,
    },
    /// It has a character that base32 does not have.
    #[error("a mistyped cluster secret: only letters and digits may follow {PREFIX}")]
    Character,
    /// The checksum is of other bytes.
    #[error("a mistyped cluster secret: its checksum does not match; copy it again")]
    Checksum,
}

impl Secret {
    /// Creates a secret from 32 bytes, which must come from the operating system's random generator.
    pub const fn new(random: [u8; BYTES]) -> Self {
        Self(random)
    }

    /// Creates a secret.
    ///
    /// # Errors
    /// Returns an error if the operating system provides no random bytes.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut secret = Self([0; BYTES]);
        getrandom::fill(&mut secret.0)?;
        Ok(secret)
    }

    /// Returns the text that [`FromStr`] reads.
    pub fn text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; BYTES + CHECKSUM_BYTES]);
        let (secret, sum) = bytes.split_at_mut(BYTES);
        secret.copy_from_slice(&self.0);
        sum.copy_from_slice(&checksum(&self.0));
        let mut text = Zeroizing::new(String::with_capacity(text_length()));
        text.push_str(PREFIX);
        if let Some(base32) = &*BASE32 {
            base32.encode_append(&*bytes, &mut text);
        }
        text
    }

    /// Returns the key that seals datagrams between members.
    pub fn datagram_key(&self) -> DerivedKey {
        self.derive("datagrams")
    }

    /// Returns the seed of the Ed25519 key of the cluster's certificate authority.
    pub fn ca_seed(&self) -> DerivedKey {
        self.derive("certificate authority")
    }

    /// Returns what people tell secrets apart by: 12 hexadecimal digits, from which nothing else can be derived.
    pub fn fingerprint(&self) -> String {
        data_encoding::HEXLOWER.encode(self.derive("fingerprint").get(..6).unwrap_or_default())
    }

    /// Returns a mark that only holders of the secret can make or recognise, for what is shown to strangers.
    pub fn mark(&self, of: &[u8]) -> DerivedKey {
        self.expand(&[b"mark", of])
    }

    fn derive(&self, label: &str) -> DerivedKey {
        self.expand(&[label.as_bytes()])
    }

    fn expand(&self, info: &[&[u8]]) -> DerivedKey {
        let mut key = Zeroizing::new([0; 32]);
        // Fails only for more than 255 hashes of output.
        let _ = Hkdf::<Sha256>::new(Some(b"longshore cluster 1"), &self.0).expand_multi_info(info, &mut *key);
        key
    }
}

impl FromStr for Secret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let Some(encoded) = text.strip_prefix(PREFIX) else {
            return Err(if text.starts_with(NAME) { SecretError::Version } else { SecretError::Prefix });
        };
        let (expected, found) = (text_length(), text.chars().count());
        if found != expected {
            return Err(SecretError::Length { expected, found });
        }
        let base32 = BASE32.as_ref().ok_or(SecretError::Character)?;
        let bytes = base32.decode(encoded.as_bytes()).map_err(|_| SecretError::Character)?;
        let bytes = Zeroizing::new(bytes);
        let (secret, sum) = bytes.split_first_chunk::<BYTES>().ok_or(SecretError::Checksum)?;
        if sum != checksum(secret) {
            return Err(SecretError::Checksum);
        }
        Ok(Self(*secret))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

fn checksum(secret: &[u8; BYTES]) -> [u8; CHECKSUM_BYTES] {
    let hash: [u8; 32] = Sha256::new().chain_update(PREFIX).chain_update(secret).finalize().into();
    let [a, b, c, d, ..] = hash;
    [a, b, c, d]
}

/// Returns how many characters a secret has: five bits each.
const fn text_length() -> usize {
    PREFIX.len() + ((BYTES + CHECKSUM_BYTES) * 8).div_ceil(5)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Secret {
        Secret::new(std::array::from_fn(|index| index as u8))
    }

    #[test]
    fn a_secret_survives_its_text() {
        let text = sample().text();
        assert_eq!(*text, "longshore-secret-1-aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypumovveq");
        assert_eq!(text.parse::<Secret>().unwrap().0, sample().0);
        let generated = Secret::generate().unwrap();
        assert_eq!(generated.text().parse::<Secret>().unwrap().0, generated.0);
        assert_ne!(generated.0, Secret::generate().unwrap().0);
    }

    #[test]
    fn what_is_copied_by_hand_is_understood() {
        let text = sample().text();
        let by_hand = text[PREFIX.len()..].to_uppercase().replace('O', "0").replace('B', "8");
        assert_eq!(format!("{PREFIX}{by_hand}").parse::<Secret>().unwrap().0, sample().0);
    }

    #[test]
    fn every_changed_character_is_noticed_and_no_error_shows_the_text() {
        let text = sample().text();
        for at in PREFIX.len()..text.len() {
            let other = if text.as_bytes()[at] == b'q' { "r" } else { "q" };
            let mut changed = text.to_string();
            changed.replace_range(at..=at, other);
            let error = changed.parse::<Secret>().unwrap_err();
            assert!(matches!(error, SecretError::Checksum | SecretError::Character), "{at}: {error}");
            assert!(!error.to_string().contains(&changed[PREFIX.len()..PREFIX.len() + 4]));
        }
    }

    #[test]
    fn an_error_says_what_is_wrong() {
        let text = sample().text();
        let error = |text: &str| text.parse::<Secret>().unwrap_err();
        assert_eq!(error(""), SecretError::Prefix);
        assert_eq!(error("hunter2"), SecretError::Prefix);
        assert_eq!(error(&text.replace("secret-1", "secret-2")), SecretError::Version);
        assert_eq!(error(&text[..text.len() - 1]), SecretError::Length { expected: 77, found: 76 });
        assert_eq!(error(&format!("{}a", *text)), SecretError::Length { expected: 77, found: 78 });
        assert_eq!(error(&text.replace('q', "é")), SecretError::Character);
    }

    #[test]
    fn its_keys_differ_and_stay_what_they_are() {
        let hex = |key: DerivedKey| data_encoding::HEXLOWER.encode(&*key);
        // A change of these would split every cluster that runs.
        assert_eq!(
            hex(sample().datagram_key()),
            "8036ea23771df0d19e79b409c8bde0ff9c4c3fce53c5711e71b2e3361d950a74"
        );
        assert_eq!(
            hex(sample().ca_seed()),
            "a53153c1899326870701db75276a51fe7cd717add26e929a9c9584ae755bd7e7"
        );
    }

    #[test]
    fn a_mark_is_of_one_secret_and_one_thing() {
        let other = Secret::new([7; 32]);
        assert_eq!(*sample().mark(b"a"), *sample().mark(b"a"));
        assert_ne!(*sample().mark(b"a"), *sample().mark(b"b"));
        assert_ne!(*sample().mark(b"a"), *other.mark(b"a"));
        assert_ne!(sample().fingerprint(), other.fingerprint());
        assert!(sample().fingerprint().len() == 12 && !sample().text().contains(&sample().fingerprint()));
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", sample()), "Secret(…)");
    }
}

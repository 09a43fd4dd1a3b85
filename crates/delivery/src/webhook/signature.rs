//! Request signatures, and their key.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use longshore_runtime::files::{Guard, read_soon};
use sha2::Sha256;

/// Minimum key length in bytes.
const SHORTEST: usize = 24;
/// Maximum size of a key file.
const LONGEST: u64 = 64 * 1024;
/// The prefix of a base64 key.
const PREFIX: &str = "whsec_";

/// A key. Never shown.
pub(super) struct Key(Vec<u8>);

impl Key {
    /// Reads the key from its file each time: a replaced file applies from the next request on.
    ///
    /// # Errors
    /// Returns a sentence about what is wrong with the file.
    pub(super) async fn read(path: &Path) -> Result<Self, String> {
        let bad = |why: String| format!("the secret file {} {why}", path.display());
        let text = read_soon(path, LONGEST, Guard::Readers).await;
        let text = text.map_err(|error| bad(format!("cannot be read: {error}")))?;
        Self::parse(&text).map_err(|why| bad(format!("{why} (openssl rand -base64 32 makes a good one)")))
    }

    /// Returns the value of `webhook-signature`.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        // HMAC accepts a key of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim_end_matches(['\r', '\n']);
        let key = match text.strip_prefix(PREFIX) {
            Some(encoded) => BASE64_STANDARD.decode(encoded).map_err(|_| "has no base64 after whsec_")?,
            None => text.as_bytes().to_vec(),
        };
        if key.len() < SHORTEST {
            return Err("has a key of less than 24 bytes");
        }
        Ok(Self(key))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_signs_as_the_standard_webhooks_specification_does() {
        // The example from the specification's own libraries.
        let key = Key::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let signed = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_key_is_base64_after_its_prefix_or_text_as_it_is_and_never_short() {
        assert_eq!(Key::parse("four and twenty letters!\r\n").unwrap().0, b"four and twenty letters!");
        assert!(Key::parse("three and twenty letter").is_err());
        assert!(Key::parse("whsec_c2hvcnQ=").is_err());
        assert!(Key::parse("whsec_not base64, and long enough otherwise").is_err());
    }

    #[tokio::test]
    async fn a_file_that_others_can_read_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let told = async |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            Key::read(&path).await.err().unwrap_or_default()
        };
        std::fs::write(&path, "four and twenty letters!").unwrap();
        assert_eq!(told(0o600).await, "");
        assert!(told(0o640).await.contains("chmod 600"));
        std::fs::remove_file(&path).unwrap();
        assert!(Key::read(&path).await.err().unwrap_or_default().contains("No such file"));
        assert!(Key::read(dir.path()).await.err().unwrap_or_default().contains("not a regular file"));
    }
}

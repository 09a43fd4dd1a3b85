//! The keys that a request is about.

/// A single key, or a range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    pub(crate) key: Vec<u8>,
    /// The first key after the range; empty for a single key, one zero byte for all keys from `key` on.
    pub(crate) end: Vec<u8>,
}

impl KeyRange {
    /// Returns the range of a single key.
    pub fn key(key: impl Into<Vec<u8>>) -> Self {
        Self { key: key.into(), end: Vec::new() }
    }

    /// Returns the range of all keys with this prefix; with an empty prefix, all keys.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        let mut key = prefix.into();
        let mut end = key.clone();
        while end.last() == Some(&u8::MAX) {
            end.pop();
        }
        match end.last_mut() {
            Some(last) => *last += 1,
            None => end.push(0),
        }
        if key.is_empty() {
            key.push(0);
        }
        Self { key, end }
    }

    /// Returns the same range, starting at this key.
    pub(crate) fn starting_at(&self, key: Vec<u8>) -> Self {
        Self { key, end: self.end.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let range = KeyRange::prefix(prefix);
        (range.key, range.end)
    }

    #[test]
    fn a_prefix_ends_before_the_next_key_that_does_not_have_it() {
        assert_eq!(ends(b"/a"), (b"/a".to_vec(), b"/b".to_vec()));
        assert_eq!(ends(b"a\xff"), (b"a\xff".to_vec(), b"b".to_vec()));
        assert_eq!(ends(b"\xff\xff"), (b"\xff\xff".to_vec(), b"\0".to_vec()));
        assert_eq!(ends(b""), (b"\0".to_vec(), b"\0".to_vec()));
    }
}

/// The version of the journal as a whole. It rises when an earlier version would read a journal wrongly, and not when it
/// would miss a detail.
pub const FORMAT: i64 = 1;

/// A journal was written in a format that this version does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a newer Longshore wrote it (format {found}; this version reads up to {FORMAT})")]
pub struct NewerFormat {
    /// The format that the journal names.
    pub found: i64,
}

/// Checks the format that a journal names. The first release named none.
///
/// # Errors
/// It is newer than [`FORMAT`].
pub fn check_format(found: Option<i64>) -> Result<(), NewerFormat> {
    match found {
        Some(found) if found > FORMAT => Err(NewerFormat { found }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_format_is_refused_by_its_number() {
        assert_eq!(check_format(None), Ok(()));
        assert_eq!(check_format(Some(FORMAT)), Ok(()));
        let refused = check_format(Some(FORMAT + 1)).unwrap_err();
        assert_eq!(refused.to_string(), "a newer Longshore wrote it (format 2; this version reads up to 1)");
    }
}

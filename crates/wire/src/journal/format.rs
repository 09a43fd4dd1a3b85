/// The version of the whole journal. It is raised when an earlier version would misread a journal, but not
/// when it would merely miss a detail.
pub const FORMAT: i64 = 1;

/// A journal was written in a format that this version does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a newer Longshore wrote it (format {found}; this version reads up to {FORMAT})")]
pub struct NewerFormat {
    /// The format of the journal.
    pub found: i64,
}

/// Checks the format of a journal. The first release did not record one.
///
/// # Errors
/// The format is newer than [`FORMAT`].
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

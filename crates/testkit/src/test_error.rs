//! The result of a test.

use std::error::Error;
use std::fmt;

/// Any error, shown with its causes, because `main` and `#[test]` print returned errors with `Debug`.
pub struct TestError(Box<dyn Error + Send + Sync>);

/// The return type of a test.
pub type TestResult = Result<(), TestError>;

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for TestError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Debug for TestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, "\n  caused by: {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LabError;

    #[test]
    fn an_error_is_shown_with_its_causes() {
        let cause = std::io::Error::other("no such luck");
        let error = TestError::from(LabError::Spawn { program: "ip".into(), source: cause });
        assert!(format!("{error:?}").ends_with("caused by: no such luck"));
    }
}

//! Summaries of samples.

use std::time::Duration;

pub(super) use longshore_testkit::quantile;

/// Returns the median.
pub(super) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// Converts to milliseconds.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_and_the_last_is_the_largest() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert!((median(&values) - 3.0).abs() < f64::EPSILON);
        assert!((quantile(&values, 1.0) - 5.0).abs() < f64::EPSILON);
        assert!(quantile::<f64>(&[], 0.99).abs() < f64::EPSILON);
    }
}

//! Waits for a condition to become true, or to stay false.

use std::time::{Duration, Instant};

use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

/// How long [`eventually`] waits: longer than any promise of Longshore's, as the machine may be loaded.
const PATIENCE: Duration = Duration::from_secs(20);
/// The pause between two checks.
const INTERVAL: Duration = Duration::from_millis(20);

/// Waits up to 20 seconds until `check` is true, checking every 20 milliseconds.
///
/// # Panics
/// Panics if it is not true in time, with `sentence`, which describes what should have become true.
pub async fn eventually<F: Future<Output = bool>>(sentence: &str, check: impl FnMut() -> F) {
    eventually_within(PATIENCE, sentence, check).await;
}

/// Waits like [`eventually`], with a custom timeout.
///
/// # Panics
/// Panics if it is not true in time.
#[expect(clippy::panic, reason = "a test's assertion")]
#[track_caller]
pub fn eventually_within<'a, F: Future<Output = bool> + 'a>(
    patience: Duration,
    sentence: &'a str,
    check: impl FnMut() -> F + 'a,
) -> impl Future<Output = ()> + 'a {
    let caller = std::panic::Location::caller();
    async move {
        match first_true(patience, patience, check).await {
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => panic!("{caller}: within {patience:?} it did not come true that {sentence}"),
        }
    }
}

/// Checks that `check` stays false for the whole `span`, every 20 milliseconds and once at its end. It replaces a
/// sleep before a negative assertion: even a condition that is true only for a moment is detected, and at once.
///
/// # Panics
/// Panics if it becomes true, with `sentence`, which describes what must not happen; or if one check takes longer
/// than 20 seconds.
#[expect(clippy::panic, reason = "a test's assertion")]
#[track_caller]
pub fn never_within<'a, F: Future<Output = bool> + 'a>(
    span: Duration,
    sentence: &'a str,
    check: impl FnMut() -> F + 'a,
) -> impl Future<Output = ()> + 'a {
    let caller = std::panic::Location::caller();
    async move {
        match first_true(span, PATIENCE, check).await {
            Ok(None) => {}
            Ok(Some(after)) => panic!("{caller}: after {after:?} of {span:?} it came true that {sentence}"),
            Err(_) => panic!("{caller}: it took more than {PATIENCE:?} to look whether {sentence}"),
        }
    }
}

/// Checks every 20 milliseconds, and once at the end of `span`. Returns when `check` was first true, if it was.
///
/// # Errors
/// Fails if one check takes longer than `limit`.
async fn first_true<F: Future<Output = bool>>(
    span: Duration,
    limit: Duration,
    mut check: impl FnMut() -> F,
) -> Result<Option<Duration>, Elapsed> {
    let began = Instant::now();
    loop {
        let is_last = began.elapsed() >= span;
        if timeout(limit, check()).await? {
            return Ok(Some(began.elapsed()));
        }
        if is_last {
            return Ok(None);
        }
        sleep(INTERVAL.min(span.saturating_sub(began.elapsed()))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_true_late_is_waited_for() {
        let mut looks = 0;
        eventually("the third look is lucky", || {
            looks += 1;
            std::future::ready(looks == 3)
        })
        .await;
        assert_eq!(looks, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "it did not come true that pigs fly")]
    async fn what_never_comes_true_ends_the_test_with_its_sentence() {
        eventually_within(Duration::from_millis(50), "pigs fly", || std::future::ready(false)).await;
    }

    #[tokio::test]
    async fn what_stays_false_is_looked_at_for_the_whole_span_and_at_its_end() {
        let began = Instant::now();
        let span = Duration::from_millis(100);
        let mut last = None;
        never_within(span, "pigs fly", || {
            last = Some(began.elapsed());
            std::future::ready(false)
        })
        .await;
        assert!(last.is_some_and(|last| last >= span), "{last:?}");
    }

    #[tokio::test]
    #[should_panic(expected = "it came true that the third look is unlucky")]
    async fn what_comes_true_for_a_moment_ends_the_test_at_once() {
        let mut looks = 0;
        never_within(Duration::from_secs(3600), "the third look is unlucky", || {
            looks += 1;
            std::future::ready(looks == 3)
        })
        .await;
    }
}

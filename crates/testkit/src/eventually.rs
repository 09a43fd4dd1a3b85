//! Waiting for something to come true.

use std::time::{Duration, Instant};

/// How long [`eventually`] waits: longer than any promise of Longshore's, as the machine may be loaded.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits up to 20 seconds until `check` is true, looking every 20 milliseconds.
///
/// # Panics
/// When it is not true in time, with `sentence`: say what should have come true.
pub async fn eventually<F: Future<Output = bool>>(sentence: &str, check: impl FnMut() -> F) {
    eventually_within(PATIENCE, sentence, check).await;
}

/// Like [`eventually`], with a patience of one's own.
///
/// # Panics
/// When it is not true in time.
#[expect(clippy::panic, reason = "a test's assertion")]
#[track_caller]
pub fn eventually_within<'a, F: Future<Output = bool> + 'a>(
    patience: Duration,
    sentence: &'a str,
    mut check: impl FnMut() -> F + 'a,
) -> impl Future<Output = ()> + 'a {
    let caller = std::panic::Location::caller();
    async move {
        let began = Instant::now();
        loop {
            // The last look starts before the deadline and is given time of its own to end.
            match tokio::time::timeout(patience, check()).await {
                Ok(true) => return,
                Ok(false) if began.elapsed() < patience => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Ok(false) | Err(_) => {
                    panic!("{caller}: within {patience:?} it did not come true that {sentence}")
                }
            }
        }
    }
}

/// Waits for all of `span` and looks every 20 milliseconds, at least twice, that `check` is never true.
///
/// # Panics
/// As soon as it is true.
#[expect(clippy::panic, reason = "a test's assertion")]
#[track_caller]
pub fn never_within<'a, F: Future<Output = bool> + 'a>(
    span: Duration,
    mut check: impl FnMut() -> F + 'a,
) -> impl Future<Output = ()> + 'a {
    let caller = std::panic::Location::caller();
    async move {
        let began = Instant::now();
        loop {
            // The last look begins after the span.
            let is_last = began.elapsed() >= span;
            if check().await {
                panic!("{caller}: after {:?} it came true", began.elapsed());
            }
            if is_last {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
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
    async fn what_stays_false_is_looked_at_for_the_whole_span() {
        let (span, mut looks) = (Duration::from_millis(100), 0);
        let began = Instant::now();
        never_within(span, || {
            looks += 1;
            std::future::ready(false)
        })
        .await;
        assert!(began.elapsed() >= span && looks >= 2);
    }

    #[tokio::test]
    #[should_panic(expected = "it came true")]
    async fn what_comes_true_at_the_last_look_ends_the_test() {
        let mut looks = 0;
        never_within(Duration::ZERO, || {
            looks += 1;
            std::future::ready(looks == 1)
        })
        .await;
    }
}

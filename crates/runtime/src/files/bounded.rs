//! File system calls with a time limit. A network file system may never answer, and a thread that waits for it cannot
//! be ended: it is left behind, and the path is not used again before it has answered.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a file system may take to answer.
pub const FILE_TIMEOUT: Duration = Duration::from_secs(5);

/// The paths with timed-out calls that have not returned, and the number of such calls.
static STUCK: Mutex<BTreeMap<PathBuf, usize>> = Mutex::new(BTreeMap::new());

/// Makes a call that concerns a path, and waits for it no longer than [`FILE_TIMEOUT`].
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] if it does not return in time, and at once if an earlier call about this path or a
/// parent folder still has not.
pub fn within_time<T: Send + 'static>(
    path: &Path,
    call: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    begin(path, call)?.wait(path)
}

/// Makes the call like [`within_time`], without blocking.
///
/// # Errors
/// As [`within_time`].
pub async fn soon<T: Send + 'static>(
    path: &Path,
    call: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (begun, path) = (begin(path, call)?, path.to_owned());
    tokio::task::spawn_blocking(move || begun.wait(&path)).await.map_err(io::Error::other)?
}

/// A call in progress.
struct Call<T> {
    answer: Receiver<T>,
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Runs,
    GivenUp,
    Ended,
}

fn begin<T: Send + 'static>(path: &Path, call: impl FnOnce() -> T + Send + 'static) -> io::Result<Call<T>> {
    if is_stuck(path) {
        return Err(timed_out());
    }
    let (told, answer) = sync_channel(1);
    let state = Arc::new(Mutex::new(State::Runs));
    let (shared, path) = (Arc::clone(&state), path.to_owned());
    let run = move || {
        let answer = call();
        let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *state, State::Ended) == State::GivenUp {
            release(&path);
        }
        drop(state);
        // After a time-out, nobody receives the answer.
        let _ = told.send(answer);
    };
    std::thread::Builder::new().name("files".to_owned()).spawn(run)?;
    Ok(Call { answer, state })
}

impl<T> Call<T> {
    fn wait(self, path: &Path) -> io::Result<T> {
        match self.answer.recv_timeout(FILE_TIMEOUT) {
            Ok(answer) => Ok(answer),
            Err(RecvTimeoutError::Disconnected) => {
                Err(io::Error::other("a bug in Longshore: the call panicked"))
            }
            Err(RecvTimeoutError::Timeout) => {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if *state == State::Runs {
                    *state = State::GivenUp;
                    *stuck().entry(path.to_owned()).or_default() += 1;
                }
                Err(timed_out())
            }
        }
    }
}

fn stuck() -> std::sync::MutexGuard<'static, BTreeMap<PathBuf, usize>> {
    STUCK.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_stuck(path: &Path) -> bool {
    let stuck = stuck();
    !stuck.is_empty() && path.ancestors().any(|folder| stuck.contains_key(folder))
}

fn release(path: &Path) {
    let mut stuck = stuck();
    if let Some(calls) = stuck.get_mut(path) {
        *calls -= 1;
        if *calls == 0 {
            stuck.remove(path);
        }
    }
}

fn timed_out() -> io::Error {
    let text = format!("its file system does not answer within {} s", FILE_TIMEOUT.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as expected")]

    use std::sync::mpsc::channel;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_call_that_does_not_end_is_left_behind_and_its_path_is_asked_again_once_it_has() {
        let (answer, hangs) = channel();
        let (folder, file) = (Path::new("/hung/folder"), Path::new("/hung/folder/file"));
        assert_eq!(within_time(folder, || 7).unwrap(), 7);
        let hung = within_time(folder, move || hangs.recv().unwrap());
        assert_eq!(hung.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let began = Instant::now();
        assert_eq!(within_time(file, || ()).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() < FILE_TIMEOUT, "nothing waits for it a second time");
        within_time(Path::new("/hung"), || ()).expect("what is above it answers");
        answer.send(()).unwrap();
        let until = Instant::now() + FILE_TIMEOUT;
        while is_stuck(folder) && Instant::now() < until {
            std::thread::yield_now();
        }
        within_time(file, || ()).unwrap();
    }

    #[tokio::test]
    async fn a_call_that_panics_is_an_error() {
        let panicked = soon(Path::new("/panics"), || panic!("on purpose")).await;
        assert!(panicked.unwrap_err().to_string().contains("panicked"));
    }
}

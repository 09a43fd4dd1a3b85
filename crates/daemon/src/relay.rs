//! A channel whose receiver can be replaced: what is sent while nobody receives waits for the next one.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// Hands what comes out of one channel to whoever receives at the moment.
pub(crate) struct Relay<T> {
    current: Arc<Mutex<mpsc::UnboundedSender<T>>>,
    _task: AbortOnDropHandle<()>,
}

impl<T: Send + 'static> Relay<T> {
    /// Relays what comes out of `source`, first to the receiver that is returned.
    pub(crate) fn new(mut source: mpsc::UnboundedReceiver<T>) -> (Self, mpsc::UnboundedReceiver<T>) {
        let (first, receiver) = mpsc::unbounded_channel();
        let current = Arc::new(Mutex::new(first));
        let relayed = Arc::clone(&current);
        let task = tokio::spawn(async move {
            while let Some(item) = source.recv().await {
                // Who does not receive any more wants nothing.
                let _ = relayed.lock().unwrap_or_else(PoisonError::into_inner).send(item);
            }
        });
        (Self { current, _task: AbortOnDropHandle::new(task) }, receiver)
    }

    /// Relays to another receiver from here on.
    pub(crate) fn replace(&self) -> mpsc::UnboundedReceiver<T> {
        let (next, receiver) = mpsc::unbounded_channel();
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = next;
        receiver
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_after_a_replacement_waits_for_the_next_receiver() {
        let (send, source) = mpsc::unbounded_channel();
        let (relay, mut first) = Relay::new(source);
        send.send(1).unwrap();
        assert_eq!(first.recv().await, Some(1));
        let mut second = relay.replace();
        send.send(2).unwrap();
        send.send(3).unwrap();
        assert_eq!((second.recv().await, second.recv().await), (Some(2), Some(3)));
        assert_eq!(first.recv().await, None, "the first one gets no more");
    }
}

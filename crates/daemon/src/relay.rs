//! A channel whose receiver can be replaced: messages sent without a receiver wait for the next one.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// Forwards messages of one channel to the current receiver.
pub(crate) struct Relay<T> {
    current: Arc<Mutex<mpsc::UnboundedSender<T>>>,
    _task: AbortOnDropHandle<()>,
}

impl<T: Send + 'static> Relay<T> {
    /// Relays messages from `source`, first to the returned receiver.
    pub(crate) fn new(mut source: mpsc::UnboundedReceiver<T>) -> (Self, mpsc::UnboundedReceiver<T>) {
        let (first, receiver) = mpsc::unbounded_channel();
        let current = Arc::new(Mutex::new(first));
        let relayed = Arc::clone(&current);
        let task = tokio::spawn(async move {
            while let Some(item) = source.recv().await {
                // A receiver that is gone needs nothing.
                let _ = relayed.lock().unwrap_or_else(PoisonError::into_inner).send(item);
            }
        });
        (Self { current, _task: AbortOnDropHandle::new(task) }, receiver)
    }

    /// Relays to a new receiver from now on.
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

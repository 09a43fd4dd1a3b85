use futures_util::StreamExt;
use hyper::body::Incoming;
use sse_stream::SseStream;

use crate::Event;
use crate::client_error::{ClientError, plain};

/// Events of one agent, as they happen.
pub struct Events {
    address: String,
    stream: SseStream<Incoming>,
    last: Option<String>,
}

impl Events {
    pub(crate) fn new(address: String, body: Incoming) -> Self {
        Self { address, stream: SseStream::new(body), last: None }
    }

    /// Waits for the next event; returns nothing once the agent ends. Skips events of a kind that this version
    /// does not know.
    ///
    /// # Errors
    /// [`ClientError::Body`] where the connection breaks.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        while let Some(received) = self.stream.next().await {
            let received = received
                .map_err(|error| ClientError::Body { address: self.address.clone(), cause: plain(&error) })?;
            self.last = received.id.or(self.last.take());
            let event = received.data.and_then(|data| serde_json::from_str(&data).ok());
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// Returns the id of the last event; [`crate::Client::events`] can continue after it.
    pub fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }
}

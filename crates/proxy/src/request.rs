//! An open request, and whether its client or its upstream has to act next.

use std::rc::Rc;

use crate::client::{Client, Stream};

/// An open request.
pub(crate) struct RequestGuard(Turn);

impl RequestGuard {
    /// Begins a request on an HTTP/1 connection.
    pub(crate) fn begin(client: &Rc<Client>) -> Self {
        client.begin();
        Self(Turn { client: Rc::clone(client), stream: None })
    }

    /// Begins the request of the HTTP/2 stream that the current task serves.
    pub(crate) fn begin_stream(client: &Rc<Client>) -> Self {
        client.begin();
        Self(Turn { client: Rc::clone(client), stream: Some(client.begin_stream()) })
    }

    /// Returns the turn of this request.
    pub(crate) fn turn(&self) -> &Turn {
        &self.0
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let Turn { client, stream } = &self.0;
        if let Some((number, _)) = stream {
            client.end_stream(*number);
        }
        client.end();
    }
}

/// Tracks who has to act next in one request: the client within its timeouts, the upstream within its own deadline.
#[derive(Clone)]
pub(crate) struct Turn {
    client: Rc<Client>,
    stream: Option<(usize, Rc<Stream>)>,
}

impl Turn {
    /// Records a poll of the client's body: whether bytes of it are `awaited`, or arrived.
    pub(crate) fn body(&self, awaited: bool) {
        match &self.stream {
            Some((_, stream)) if awaited => stream.waits(self.client.now()),
            Some((_, stream)) => stream.moved(self.client.now(), false),
            None => {
                self.client.waits(awaited);
                self.client.awaits_body(awaited);
            }
        }
    }

    /// Records a poll of the response: whether a part of it was `handed` to the client, or is awaited from the
    /// upstream.
    pub(crate) fn response(&self, handed: bool) {
        match &self.stream {
            Some((_, stream)) => stream.moved(self.client.now(), handed),
            None => self.client.waits(handed),
        }
    }

    /// Returns the client.
    pub(crate) fn client(&self) -> &Rc<Client> {
        &self.client
    }
}

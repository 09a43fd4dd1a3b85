//! Bodies on their way through, frame by frame: nothing is collected, and a side that does not
//! take what it has holds the other one back.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::link::{Link, LinkState};
use crate::backend::Backend;
use crate::client::{Client, Open};

/// Why a body broke off.
type Broken = Box<dyn std::error::Error + Send + Sync>;

/// A request's body, towards the upstream.
#[derive(Clone)]
pub(crate) enum RequestBody {
    /// There is none.
    Empty,
    /// The client's.
    Client(Rc<Inbound>),
}

/// The body that a client sends.
pub(crate) struct Inbound {
    incoming: RefCell<Incoming>,
    begun: Cell<bool>,
    client: Rc<Client>,
    link: RefCell<Option<Rc<LinkState>>>,
}

impl RequestBody {
    /// The body of a request of `client`.
    pub(super) fn of(incoming: Incoming, client: &Rc<Client>) -> Self {
        if incoming.is_end_stream() {
            return Self::Empty;
        }
        client.unread.set(true);
        let incoming = RefCell::new(incoming);
        let begun = Cell::new(false);
        Self::Client(Rc::new(Inbound {
            incoming,
            begun,
            client: Rc::clone(client),
            link: RefCell::new(None),
        }))
    }

    /// Whether all of it can still be sent.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Client(inbound) => !inbound.begun.get(),
        }
    }

    /// Goes over `link` from here on.
    pub(super) fn goes_over(&self, link: &Rc<LinkState>) {
        if let Self::Client(inbound) = self {
            *inbound.link.borrow_mut() = Some(Rc::clone(link));
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Self::Client(inbound) = &*self else { return Poll::Ready(None) };
        let mut incoming = inbound.incoming.borrow_mut();
        let polled = Pin::new(&mut *incoming).poll_frame(cx);
        inbound.client.waits(polled.is_pending());
        if let Some(link) = &*inbound.link.borrow() {
            if polled.is_pending() {
                link.expect_nothing();
            } else {
                let worker = &inbound.client.site.worker;
                link.expect_within(worker, worker.settings.timeouts.response);
            }
        }
        if let Poll::Ready(frame) = &polled {
            inbound.begun.set(true);
            if frame.is_none() || incoming.is_end_stream() {
                inbound.client.unread.set(false);
            }
        }
        polled.map(|frame| frame.map(|result| result.map_err(Broken::from)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Client(inbound) => inbound.incoming.borrow().is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Client(inbound) => inbound.incoming.borrow().size_hint(),
        }
    }
}

/// A response's body, towards the client.
pub(super) enum ReplyBody {
    /// The balancer's own.
    Own(Full<Bytes>),
    /// An upstream's.
    Upstream(Passing),
}

/// A body that an upstream sends. It drives the upstream's connection, and hands it back when it
/// is through; dropped before that, it closes it.
pub(super) struct Passing {
    incoming: Incoming,
    link: Option<Box<Link>>,
    backend: Rc<Backend>,
    client: Rc<Client>,
    _open: Open,
}

impl ReplyBody {
    /// No bytes.
    pub(super) fn empty() -> Self {
        Self::Own(Full::default())
    }

    /// What `backend` sends over `link`.
    pub(super) fn passing(
        incoming: Incoming,
        link: Box<Link>,
        backend: Rc<Backend>,
        client: &Rc<Client>,
        open: Open,
    ) -> Self {
        if incoming.is_end_stream() {
            give_back(link, &backend);
            return Self::empty();
        }
        Self::Upstream(Passing {
            incoming,
            link: Some(link),
            backend,
            client: Rc::clone(client),
            _open: open,
        })
    }
}

fn give_back(link: Box<Link>, backend: &Backend) {
    let worker = Rc::clone(link.worker());
    backend.keep(link, &worker);
}

impl Passing {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        // Frames are made by our own poll of the connection: there is nobody to wake.
        let mut nobody = Context::from_waker(Waker::noop());
        let mut polled = Pin::new(&mut self.incoming).poll_frame(&mut nobody);
        if polled.is_pending() {
            match &mut self.link {
                Some(link) if link.state().is_late() => {
                    self.link = None;
                    return Poll::Ready(Some(Err("the upstream fell silent".into())));
                }
                Some(link) => {
                    let ended = link.poll_watched(cx);
                    polled = Pin::new(&mut self.incoming).poll_frame(&mut nobody);
                    if ended && polled.is_pending() {
                        // Gone with the connection, what is missing becomes an error.
                        self.link = None;
                        polled = Pin::new(&mut self.incoming).poll_frame(cx);
                    }
                }
                None => polled = Pin::new(&mut self.incoming).poll_frame(cx),
            }
        }
        if polled.is_ready()
            && let Some(link) = &self.link
        {
            let worker = link.worker();
            link.state().expect_within(worker, worker.settings.timeouts.tunnel);
        }
        self.client.waits(polled.is_ready());
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                if self.incoming.is_end_stream()
                    && let Some(link) = self.link.take()
                {
                    give_back(link, &self.backend);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                if let Some(link) = self.link.take() {
                    give_back(link, &self.backend);
                }
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.link = None;
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Own(full) => {
                Pin::new(full).poll_frame(cx).map(|frame| frame.map(|result| result.map_err(|e| match e {})))
            }
            Self::Upstream(passing) => passing.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(full) => full.is_end_stream(),
            Self::Upstream(passing) => passing.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(full) => full.size_hint(),
            Self::Upstream(passing) => passing.incoming.size_hint(),
        }
    }
}

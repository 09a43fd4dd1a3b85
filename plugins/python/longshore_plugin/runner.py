"""Has a function called for each event."""

import logging
from concurrent.futures import ThreadPoolExecutor

from .events import Event, Hello, Refuse
from .wire import Wire, log_to

logger = logging.getLogger(__name__)


def run(handle, prepare=None, name=None, parallel=1):
    """Calls `handle(event)` for each event, until the agent shuts this plugin down or is gone.

    `prepare(hello)` is called once, before the first event. `name` is what the plugin calls itself in the agent's log,
    by default the handler's name. `handle` is called by up to `parallel` threads at once, never twice at once for one
    container; with 1 it is called by the thread that called `run`.
    """
    wire = Wire.take()
    log_to(wire)
    serve(wire, handle, prepare, name, parallel)


def serve(wire, handle, prepare=None, name=None, parallel=1):
    """The same, on a wire that was taken before."""
    message = wire.hello()
    if message is None:
        return
    if prepare is not None:
        prepare(Hello(message))
    # Only now, as it reports that this plugin is ready.
    wire.answer(message, name, parallel)
    pool = ThreadPoolExecutor(parallel) if parallel > 1 else None
    try:
        for message in wire.messages():
            if message.get("type") != "event":
                continue
            event = Event(message)
            if pool is None:
                deal(wire, handle, event)
            else:
                pool.submit(deal, wire, handle, event)
    finally:
        if pool is not None:
            pool.shutdown(wait=True)


def deal(wire, handle, event):
    """One event, from its line to its answer."""
    try:
        handle(event)
    except (Refuse, NotImplementedError) as refusal:
        wire.nack(event, reason(refusal), retry=False)
    except Exception as error:
        logger.exception("event=%r of %r failed", event.event, event.subject_id)
        wire.nack(event, reason(error), retry=True)
    except BaseException as error:
        # The handler wants to exit the process, which a thread of the pool cannot do: the event must be answered
        # either way.
        wire.nack(event, reason(error), retry=True)
        raise
    else:
        wire.ack(event)


def reason(error):
    """An exception in one line."""
    text = str(error)
    kind = type(error).__name__
    return "%s: %s" % (kind, text) if text else kind

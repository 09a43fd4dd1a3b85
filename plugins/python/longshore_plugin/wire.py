"""The protocol's lines, on standard input and output."""

import json
import logging
import os
import sys
import threading
import traceback

#: The version of the protocol.
PROTOCOL = 1

#: Maximum number of characters of a log message: a protocol line has at most 1 MiB, and a character up to 6 bytes.
LONGEST_MESSAGE = 16 * 1024

#: Maximum number of characters of a nack's reason.
LONGEST_REASON = 1000


class Wire:
    """The two ends that lead to the agent. Any thread may tell."""

    def __init__(self, reader, writer):
        self._reader = reader
        self._writer = writer
        self._lock = threading.Lock()

    @classmethod
    def take(cls):
        """Takes standard input and output for the protocol alone.

        From here on, what the plugin prints, and what the programs that it runs print, goes to standard error, which
        the agent logs; and they find their standard input empty, where they would otherwise take events from it.
        """
        reader = os.fdopen(os.dup(0), "rb")
        writer = os.fdopen(os.dup(1), "wb")
        sys.stdout.flush()
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(line_buffering=True)
        return cls(reader, writer)

    def tell(self, message):
        """Writes a message. An agent that is gone gets nothing; `messages` notices soon."""
        # A file's name can contain bytes that are not UTF-8, which JSON cannot represent.
        line = json.dumps(message, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        with self._lock:
            try:
                self._writer.write(line)
                self._writer.flush()
            except BrokenPipeError:
                pass

    def messages(self):
        """The agent's messages, until it shuts this plugin down or is gone."""
        for line in self._reader:
            message = json.loads(line.decode("utf-8"))
            if message.get("type") == "shutdown":
                return
            yield message

    def hello(self):
        """Waits for the agent's hello. None where the agent is gone before."""
        for message in self.messages():
            if message.get("type") != "hello":
                continue
            if message.get("protocol") != PROTOCOL:
                versions = (message.get("protocol"), PROTOCOL)
                sys.exit("the agent speaks version %s of the protocol, but this plugin speaks version %d" % versions)
            return message
        return None

    def answer(self, hello, name, parallel):
        """Answers the agent's hello."""
        name = name or hello.get("handler", "")
        self.tell({"type": "hello", "protocol": PROTOCOL, "name": name, "parallel": parallel})

    def ack(self, event):
        """The event is dealt with."""
        self.tell({"type": "ack", "id": event.id, "attempt": event.attempt})

    def nack(self, event, reason, retry):
        """The event could not be dealt with."""
        reason = reason[:LONGEST_REASON]
        self.tell({"type": "nack", "id": event.id, "attempt": event.attempt, "reason": reason, "retry": retry})


class AgentLog(logging.Handler):
    """Hands what is logged to the agent, with its level."""

    def __init__(self, wire):
        logging.Handler.__init__(self)
        self._wire = wire

    def emit(self, record):
        try:
            message = self.format(record)
        except Exception:  # A message that does not fit its arguments is the caller's mistake, and costs only itself.
            message = "a message that cannot be formatted: %r: %s" % (record.msg, traceback.format_exc())
        if len(message) > LONGEST_MESSAGE:
            message = "%s… (%d characters in all)" % (message[:LONGEST_MESSAGE], len(message))
        self._wire.tell({"type": "log", "level": level_of(record.levelno), "message": message})


def level_of(number):
    """The protocol's name of a level of `logging`."""
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warning"
    if number >= logging.INFO:
        return "info"
    return "debug"


def log_to(wire):
    """Has `logging` go to the agent. All of it: the agent's settings say what is kept."""
    handler = AgentLog(wire)
    handler.setFormatter(logging.Formatter("%(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)

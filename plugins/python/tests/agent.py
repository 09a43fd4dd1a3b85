"""The agent's side of the protocol, for a plugin in a process of its own."""

import json
import os
import queue
import subprocess
import sys
import threading

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Plugin:
    """A running plugin, killed at the end of its `with` block."""

    def __init__(self, *arguments, **env):
        environment = dict(os.environ, PYTHONPATH=ROOT, **env)
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        self.said = queue.Queue()
        self.errors = b""
        readers = [self._read, self._read_errors]
        self.readers = [threading.Thread(target=reader, daemon=True) for reader in readers]
        for reader in self.readers:
            reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.said.put(json.loads(line.decode("utf-8")))
        self.said.put(None)

    def _read_errors(self):
        self.errors = self.process.stderr.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        for reader in self.readers:
            reader.join()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            try:
                pipe.close()
            except BrokenPipeError:
                pass

    def tell(self, **message):
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def next(self):
        """The next message; None once it says nothing more."""
        return self.said.get(timeout=30)

    def until(self, *types):
        """The messages up to the first of one of these types, and that one."""
        messages = []
        while not messages or messages[-1]["type"] not in types:
            message = self.next()
            if message is None:
                raise AssertionError("it ended after %r: %s" % (messages, self.end_of_errors()))
            messages.append(message)
        return messages

    def greet(self, **more):
        self.tell(type="hello", protocol=1, node="n1", handler="demo", params={}, ini=None, **more)

    def hello(self, **more):
        self.greet(**more)
        return self.until("hello")[-1]

    def event(self, event="start", container_id="c0ffee", number=1, attempt=1):
        container = {"id": container_id, "name": "web", "image": "nginx", "labels": {}} if container_id else None
        more = {"container": container} if container else {}
        self.tell(
            type="event", id="e%d" % number, event=event, at="2026-01-01T00:00:00Z", node="n1", handler="demo",
            attempt=attempt, redelivered=False, made_up=False, attributes={"exitCode": "0"}, **more
        )

    def outcome(self, **event):
        """Tells an event; gives the answer and what was logged before it."""
        self.event(**event)
        *logged, answer = self.until("ack", "nack")
        return answer, [(message["level"], message["message"]) for message in logged]

    def end(self):
        """Waits for its end; gives its status and what it wrote to standard error."""
        status = self.process.wait(timeout=30)
        return status, self.end_of_errors()

    def end_of_errors(self):
        self.readers[1].join(timeout=30)
        return self.errors.decode("utf-8", "replace")

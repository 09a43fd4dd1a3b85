"""Plugins for Longshore.

    import longshore_plugin

    def handle(event):
        print(event.event, event.subject_id)

    longshore_plugin.run(handle)

`run` speaks the protocol with the agent that started this process, on standard input and output. What returns is
acknowledged. What raises is logged and retried; what raises `Refuse` is not. `print` and `logging` go to the
agent's log.
"""

from .events import Event, Hello, Refuse
from .runner import run

__all__ = ["Event", "Hello", "Refuse", "run"]

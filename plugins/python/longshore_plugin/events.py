"""The events that a plugin receives."""


class Refuse(Exception):
    """Raised by a handler: the event is of no use to it, and trying again would not help."""


class Hello:
    """What the agent says of itself and of the handler that this plugin is."""

    def __init__(self, message):
        #: The host's name.
        self.node = message.get("node", "")
        #: The handler's name.
        self.handler = message.get("handler", "")
        #: The handler's options: strings by name, names in lower case.
        self.params = message.get("params") or {}
        #: The path of the INI file that defines the handler; None if another file does.
        self.ini = message.get("ini")
        #: The whole message.
        self.message = message


class Event:
    """Something that happened."""

    def __init__(self, message):
        #: Unique per event. The same for each attempt to deliver it.
        self.id = message["id"]
        #: What happened, as Docker names it: `start`, `die`; `none` for the dummy event.
        self.event = message.get("event", "")
        #: When it happened, in RFC 3339.
        self.at = message.get("at", "")
        #: The host's name.
        self.node = message.get("node", "")
        #: The handler's name.
        self.handler = message.get("handler", "")
        #: Counted from 1.
        self.attempt = message.get("attempt", 1)
        #: True if it may have been delivered before.
        self.redelivered = message.get("redelivered", False)
        #: True if Docker never reported it, and it was derived from the container's state.
        self.synthetic = message.get("synthetic", message.get("made_up", False))
        #: The earlier name of `synthetic`.
        self.made_up = self.synthetic
        #: `id`, `name`, `image` and `labels` of the container; None if the event has no container.
        self.container = message.get("container")
        #: `id` and `name` of the network; None if the event has no network.
        self.network = message.get("network")
        #: Docker's other attributes, such as `exitCode`.
        self.attributes = message.get("attributes") or {}
        #: The container's inspection, as Docker returns it, or the last known one; None if there is none.
        self.inspection = message.get("inspection")
        #: The whole message.
        self.message = message

    @property
    def subject_id(self):
        """The id of the container or network; empty for the dummy event."""
        return (self.container or self.network or {}).get("id", "")

    def __repr__(self):
        return "<Event %s %s %s>" % (self.id, self.event, self.subject_id)

"""What docker-glue's handlers know as their agent."""

import logging
import os
import sys

logger = logging.getLogger(__name__)

#: Where docker-glue looked for scripts, from the folder of its program.
SCRIPT_PATHS = [
    "../libexec/docker-glue",
    "../../libexec/docker-glue",
    "/usr/libexec/longshore",
    "/usr/libexec/docker-glue",
    "./handler-scripts",
]


class Agent(object):
    """The attributes and methods of docker-glue's agent. Each handler has a process, and in it an agent, of its own."""

    def __init__(self, script_paths=()):
        here = os.path.dirname(sys.argv[0])
        paths = list(script_paths) or [os.path.join(here, path) for path in SCRIPT_PATHS]
        self.script_paths = [os.path.realpath(path) for path in paths if os.path.isdir(path)]
        self.handlers = []
        self.handlers_by_event = {}
        self._docker = None

    def add(self, handler):
        """One more handler that `once` passes events to."""
        self.handlers.append(handler)
        for event in handler.events:
            self.handlers_by_event.setdefault(event, []).append(handler)

    @property
    def docker(self):
        """A client of Docker's API with the methods of docker-py's `Client`, made when it is first asked for.

        It speaks to the Docker that the agent watches. Raises RuntimeError where the Python module `docker` is missing.
        """
        if self._docker is None:
            try:
                import docker
                from docker.utils import kwargs_from_env
            except ImportError as error:
                raise RuntimeError("agent.docker needs the Python module docker: pip install docker (%s)" % error)
            # docker-py renamed it in version 2.
            client = getattr(docker, "APIClient", None) or docker.Client
            self._docker = client(**kwargs_from_env())
        return self._docker

    def resolve_script(self, script):
        """The path of a script, an absolute one as it is; None where it does not exist."""
        if os.path.isabs(script):
            return script
        for folder in self.script_paths:
            path = os.path.realpath(os.path.join(folder, script))
            if os.path.isfile(path) and os.access(path, os.X_OK):
                return path
        return None

    def once(self, event, container_id):
        """Passes an event to the handlers of this process that are of this event.

        Other handlers have processes of their own and do not hear of it. To have handlers of `none` run after this
        one, set `triggers-none=1` in its INI file.
        """
        logger.debug("event=%r of %r is passed to the handlers of this process only", event, container_id)
        handlers = list(self.handlers_by_event.get(event, []))
        if event != "none":
            handlers += [one for one in self.handlers_by_event.get("all", []) if one not in handlers]
        for handler in handlers:
            if handler.enabled:
                handler.handle(event, container_id)

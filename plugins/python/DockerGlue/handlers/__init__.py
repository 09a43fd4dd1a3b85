"""The package of docker-glue's handlers. The folders of `longshore_plugin.glue --path` are part of it."""

import os.path


class BaseHandler(object):
    """What handlers are derived from."""

    def __init__(self, agent, ini_file, ini):
        self._agent = agent
        self._ini_file = ini_file
        self._base_name = os.path.basename(ini_file)
        self._ini = ini
        self.klass = ini.get("handler", "class")
        self.events = [event.strip() for event in self._option("events", "").split(",") if event.strip()]
        self.enabled = self._switch("enabled", True)
        self.triggers_none = self._switch("triggers-none", self._switch("triggers_none", False))

    def _option(self, name, otherwise):
        return self._ini.get("handler", name) if self._ini.has_option("handler", name) else otherwise

    def _switch(self, name, otherwise):
        return self._ini.getboolean("handler", name) if self._ini.has_option("handler", name) else otherwise

    def handle(self, event, container_id):
        """Called for each event. `container_id` is empty for the dummy event `none`."""
        raise NotImplementedError("%s has no method handle" % type(self).__name__)

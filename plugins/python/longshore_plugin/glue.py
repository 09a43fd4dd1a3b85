"""Runs a handler class of docker-glue as a plugin.

    python3 -m longshore_plugin.glue --ini FILE [--path DIR]... [--script-path DIR]...

The INI file's `class` names the class: `DockerGlue.handlers.demo.DemoHandler`, or any other dotted path. Its file is
looked for in the folders of `--path`, then in those of the environment's LONGSHORE_PLUGIN_PATH (with colons between
them), each as `DockerGlue/handlers/demo.py` and as `demo.py`.
"""

import argparse
import builtins
import configparser
import importlib
import importlib.util
import logging
import os
import sys

from .agent import Agent
from .runner import serve
from .wire import Wire, log_to

logger = logging.getLogger(__name__)

#: The package of docker-glue's handlers.
PACKAGE = "DockerGlue.handlers"


class GlueError(Exception):
    """The handler cannot be created, for a reason that its owner can fix."""


def main(arguments=None):
    about = "Runs a handler class of docker-glue as a plugin."
    parser = argparse.ArgumentParser(prog="python3 -m longshore_plugin.glue", description=about)
    add = parser.add_argument
    add("--ini", required=True, metavar="FILE", help="the handler's INI file")
    add("--path", action="append", default=[], metavar="DIR", help="a folder with handler classes; repeatable")
    about = "a folder that agent.resolve_script looks in; repeatable"
    add("--script-path", action="append", default=[], metavar="DIR", help=about)
    options = parser.parse_args(arguments)
    wire = Wire.take()
    log_to(wire)
    # A handler may import libraries that log every request.
    for noisy in ("urllib3", "docker", "requests"):
        logging.getLogger(noisy).setLevel(logging.INFO)
    more = os.environ.get("LONGSHORE_PLUGIN_PATH", "").split(os.pathsep)
    handlers = []

    def prepare(hello):
        look_in([folder for folder in options.path + more if folder])
        handlers.append(make(options.ini, Agent(options.script_path)))

    def handle(event):
        handler = handlers[0]
        if handler.enabled:
            # The old daemon called one handler at a time; so does this, one event at a time.
            handler.handle(event.event, event.subject_id)

    try:
        serve(wire, handle, prepare, name=os.path.basename(options.ini))
    except GlueError as error:
        logger.error("%s", error)
        return 1
    except Exception:
        logger.exception("cannot create the handler of %s", options.ini)
        return 1
    return 0


def look_in(folders):
    """Has handlers' files found in these folders, and their text as it was printed run."""
    # docker-glue's own documentation shows a handler that uses `logging.getLogger` and never imports it. Names that a
    # module lacks are looked up among the built-ins, so it finds it there, wherever its file is.
    builtins.logging = logging
    package = importlib.import_module(PACKAGE)
    for folder in map(os.path.abspath, folders):
        # In the package, so that `from . import BaseHandler` finds ours.
        package.__path__ += [os.path.join(folder, *PACKAGE.split(".")), folder]
        # Last, so that nothing in the folder shadows a module of Python's own.
        sys.path.append(folder)
    importlib.invalidate_caches()


def read_ini(path):
    """Reads an INI file as docker-glue's Python 2 did: `%` is only a sign, and ` ;` begins a comment."""
    ini = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(";",))
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            ini.read_file(file)
    except OSError as error:
        raise GlueError("%s cannot be read: %s" % (path, error.strerror))
    except configparser.Error as error:
        raise GlueError("%s is not an INI file: %s" % (path, error))
    return ini


def make(path, agent):
    """The handler of an INI file."""
    ini = read_ini(path)
    if not ini.has_option("handler", "class"):
        raise GlueError("%s has no class in its section [handler]" % path)
    handler = find(ini.get("handler", "class").strip())(agent, path, ini)
    agent.add(handler)
    return handler


def find(dotted):
    """The class of a dotted path."""
    module_name, _, name = dotted.rpartition(".")
    if not module_name:
        raise GlueError("class=%s names no module: it should look like %s.demo.DemoHandler" % (dotted, PACKAGE))
    if "." not in module_name and importlib.util.find_spec("%s.%s" % (PACKAGE, module_name)):
        # Without a package, `from . import BaseHandler` would fail.
        module_name = "%s.%s" % (PACKAGE, module_name)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name + ".").startswith(error.name + "."):
            looked = ", ".join(importlib.import_module(PACKAGE).__path__)
            text = "class=%s: no module %s in %s, nor in Python's path"
            raise GlueError(text % (dotted, error.name, looked))
        raise
    try:
        return getattr(module, name)
    except AttributeError:
        raise GlueError("class=%s: %s has no %s" % (dotted, module.__file__, name))


if __name__ == "__main__":
    sys.exit(main())

"""Handler classes of docker-glue."""

import os
import sys
import tempfile
import textwrap
import unittest

from tests.agent import ROOT, Plugin

HANDLERS = os.path.join(ROOT, "tests", "handlers")

INI = """
[handler]
class={dotted}
events=start, die
enabled={enabled}
triggers-none=1
; a comment

[params]
custom_param=100% %(sure)s ; and a comment
"""


class Glue(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(textwrap.dedent(text))
        return path

    def ini(self, dotted="DockerGlue.handlers.demo.DemoHandler", enabled=1):
        return self.write("etc/demo.ini", INI.format(dotted=dotted, enabled=enabled))

    def glue(self, ini, *arguments, **env):
        return Plugin("-m", "longshore_plugin.glue", "--ini", ini, *arguments, **env)

    def messages(self, text, dotted="DockerGlue.handlers.mine.Mine", **event):
        """What a class logs that is written to a folder of `--path`, and the answer to an event."""
        self.write("classes/mine.py", text)
        with self.glue(self.ini(dotted), "--path", os.path.join(self.folder, "classes")) as plugin:
            plugin.hello()
            answer, logged = plugin.outcome(**event)
            return answer, [message for _, message in logged]

    def test_the_class_that_the_documentation_prints_runs_unchanged(self):
        with self.glue(self.ini(), "--path", HANDLERS) as plugin:
            self.assertEqual(plugin.hello(), {"type": "hello", "protocol": 1, "name": "demo.ini", "parallel": 1})
            answer, logged = plugin.outcome()
            expected = "got event='start' on container='c0ffee' and custom_param='100% %(sure)s'"
            self.assertEqual(logged, [("info", expected)])
            self.assertEqual(answer["type"], "ack")
            _, logged = plugin.outcome(event="none", container_id="")
            self.assertIn("got event='none' on container='' and", logged[0][1])
            plugin.tell(type="shutdown")
            self.assertEqual(plugin.end(), (0, ""))

    def test_a_class_is_found_in_every_kind_of_folder(self):
        with open(os.path.join(HANDLERS, "demo.py")) as file:
            printed = file.read()
        self.write("tree/DockerGlue/handlers/demo.py", printed)
        self.write("flat/demo.py", printed)
        self.write("own/house/__init__.py", "from DockerGlue.handlers import BaseHandler\n")
        self.write("own/house/demo.py", printed)
        for dotted, folder in [
            ("DockerGlue.handlers.demo.DemoHandler", "tree"),
            ("DockerGlue.handlers.demo.DemoHandler", "flat"),
            ("demo.DemoHandler", "flat"),
            ("house.demo.DemoHandler", "own"),
        ]:
            path = os.path.join(self.folder, folder)
            by_option = (["--path", "/nowhere", "--path", path], {})
            by_environment = ([], {"LONGSHORE_PLUGIN_PATH": "/nowhere:" + path})
            for arguments, env in [by_option, by_environment]:
                ini = self.ini(dotted)
                with self.subTest(dotted=dotted, folder=folder, env=env), self.glue(ini, *arguments, **env) as plugin:
                    plugin.hello()
                    self.assertIn("got event='start'", plugin.outcome()[1][0][1])

    def test_a_handler_has_the_old_attributes(self):
        text = """
            from . import BaseHandler
            class Mine(BaseHandler):
                def handle(self, event, container_id):
                    names = ['_base_name', 'klass', 'events', 'enabled', 'triggers_none']
                    for name in names: logging.info('%s=%r', name, getattr(self, name))
                    logging.info('%r', self._ini.get('params', 'custom_param'))
                    logging.info('%r', self._ini_file.endswith('/etc/demo.ini'))
                    logging.info('%r', self._agent.resolve_script('/bin/sh'))
                    logging.info('%r', self._agent.resolve_script('no such script'))
        """
        _, logged = self.messages(text)
        expected = [
            "_base_name='demo.ini'", "klass='DockerGlue.handlers.mine.Mine'", "events=['start', 'die']",
            "enabled=True", "triggers_none=True", "'100% %(sure)s'", "True", "'/bin/sh'", "None",
        ]
        self.assertEqual(logged, expected)

    def test_scripts_are_found_in_the_folders_of_script_path(self):
        script = self.write("scripts/run.sh", "#!/bin/sh\n")
        os.chmod(script, 0o755)
        self.write("scripts/data", "not to be run\n")
        self.write("classes/mine.py", """
            from . import BaseHandler
            class Mine(BaseHandler):
                def handle(self, event, container_id):
                    logging.info('%s %s', self._agent.resolve_script('run.sh'), self._agent.resolve_script('data'))
        """)
        folder = os.path.join(self.folder, "classes")
        ini = self.ini("DockerGlue.handlers.mine.Mine")
        with self.glue(ini, "--path", folder, "--script-path", os.path.dirname(script)) as plugin:
            plugin.hello()
            self.assertEqual(plugin.outcome()[1][0][1], "%s None" % os.path.realpath(script))

    def test_an_exception_is_logged_with_its_traceback_and_the_next_event_is_handled(self):
        text = """
            from . import BaseHandler
            class Mine(BaseHandler):
                def handle(self, event, container_id):
                    {}[event]
        """
        self.write("classes/mine.py", text)
        ini = self.ini("DockerGlue.handlers.mine.Mine")
        with self.glue(ini, "--path", os.path.join(self.folder, "classes")) as plugin:
            plugin.hello()
            for number in (1, 2):
                answer, logged = plugin.outcome(number=number)
                self.assertEqual((answer["type"], answer["retry"]), ("nack", True))
                self.assertEqual(answer["reason"], "KeyError: 'start'")
                self.assertIn("{}[event]", logged[0][1])

    def test_a_handler_that_is_not_implemented_is_refused_for_good(self):
        answer, _ = self.messages("from . import BaseHandler\nclass Mine(BaseHandler): pass\n")
        self.assertEqual((answer["type"], answer["retry"]), ("nack", False))
        self.assertIn("Mine has no method handle", answer["reason"])

    def test_a_handler_that_disables_itself_is_told_nothing(self):
        text = """
            from . import BaseHandler
            class Mine(BaseHandler):
                def __init__(self, *arguments):
                    BaseHandler.__init__(self, *arguments)
                    self.enabled = False
                def handle(self, event, container_id):
                    raise AssertionError
        """
        answer, logged = self.messages(text)
        self.assertEqual((answer["type"], logged), ("ack", []))

    def test_once_passes_an_event_to_the_handler_itself(self):
        text = """
            from . import BaseHandler
            class Mine(BaseHandler):
                def handle(self, event, container_id):
                    logging.info('%r %r', event, container_id)
                    if event == 'start':
                        self._agent.once('die', 'x')
                        self._agent.once('none', '')
        """
        _, logged = self.messages(text)
        self.assertEqual([line for line in logged if "passed to" not in line], ["'start' 'c0ffee'", "'die' 'x'"])

    def test_docker_is_named_where_it_is_missing_and_used_where_it_is_not(self):
        text = """
            from . import BaseHandler
            class Mine(BaseHandler):
                def handle(self, event, container_id):
                    logging.info('%r', self._agent.docker.inspect_container(container_id))
        """
        # A folder before all others on the path decides whether a module of that name exists.
        missing = self.write("missing/docker.py", "raise ImportError('No module named docker')\n")
        self.write("present/docker/utils.py", """
            import os
            def kwargs_from_env(): return {'base_url': os.environ['DOCKER_HOST']}
        """)
        self.write("present/docker/__init__.py", """
            class APIClient:
                def __init__(self, base_url): self.base_url = base_url
                def inspect_container(self, id): return (self.base_url, id)
        """)
        self.write("classes/mine.py", text)
        ini = self.ini("DockerGlue.handlers.mine.Mine")
        found = []
        for folder in (os.path.dirname(missing), os.path.join(self.folder, "present")):
            code = "import sys; sys.path.insert(0, %r)\nfrom longshore_plugin.glue import main; sys.exit(main())"
            arguments = ["-c", code % folder, "--ini", ini, "--path", os.path.join(self.folder, "classes")]
            with Plugin(*arguments, DOCKER_HOST="unix:///d") as plugin:
                plugin.hello()
                found.append(plugin.outcome())
        (missing, _), (present, logged) = found
        self.assertIn("agent.docker needs the Python module docker: pip install docker", missing["reason"])
        self.assertEqual((present["type"], logged[-1][1]), ("ack", "('unix:///d', 'c0ffee')"))

    def test_what_cannot_be_made_says_why_and_ends(self):
        broken = self.write("classes/broken.py", "import no_such_module_at_all\n")
        folder = os.path.dirname(broken)
        for ini, why in [
            (os.path.join(self.folder, "none.ini"), "none.ini cannot be read: No such file or directory"),
            (self.write("a.ini", "no section\n"), "a.ini is not an INI file: File contains no section headers"),
            (self.write("b.ini", "[handler]\nevents=all\n"), "has no class in its section [handler]"),
            (self.ini("DemoHandler"), "class=DemoHandler names no module"),
        ]:
            self.ends_with(ini, folder, why)
        for dotted, why in [
            ("DockerGlue.handlers.gone.Gone", "no module DockerGlue.handlers.gone in "),
            ("nowhere.gone.Gone", "no module nowhere in "),
            ("broken.Gone", "No module named 'no_such_module_at_all'"),
            ("os.Gone", "has no Gone"),
        ]:
            self.ends_with(self.ini(dotted), folder, why)

    def ends_with(self, ini, folder, why):
        with self.subTest(why=why), self.glue(ini, "--path", folder) as plugin:
            plugin.greet()
            message = plugin.until("log")[-1]
            self.assertEqual(message["level"], "error")
            self.assertIn(why, message["message"])
            self.assertIsNone(plugin.next(), "it does not say that it is ready")
            self.assertEqual(plugin.end()[0], 1)

    def test_nothing_in_a_folder_of_handlers_stands_in_for_pythons_own(self):
        self.write("classes/colorsys.py", "raise AssertionError\n")
        self.write("classes/mine.py", """
            from . import BaseHandler
            import colorsys
            class Mine(BaseHandler):
                def handle(self, event, container_id): logging.info('%s', colorsys.rgb_to_yiq(0, 0, 0))
        """)
        with self.glue(self.ini("mine.Mine"), "--path", os.path.join(self.folder, "classes")) as plugin:
            plugin.hello()
            self.assertEqual(plugin.outcome()[1], [("info", "(0.0, 0.0, 0.0)")])


if __name__ == "__main__":
    sys.exit(unittest.main())

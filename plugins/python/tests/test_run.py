"""Plugins written for the package."""

import unittest

from tests.agent import Plugin

HANDLES = """
import logging, os, subprocess, sys, threading, time
import longshore_plugin
def handle(event):
{body}
longshore_plugin.run(handle{more})
"""


def plugin(body, more="", **env):
    body = "".join("    %s\n" % line for line in body.splitlines())
    return Plugin("-c", HANDLES.format(body=body, more=more), **env)


class Run(unittest.TestCase):
    def test_what_returns_is_acknowledged_with_its_attempt(self):
        with plugin("assert event.container['name'] == 'web' and event.attributes['exitCode'] == '0'") as demo:
            self.assertEqual(demo.hello(), {"type": "hello", "protocol": 1, "name": "demo", "parallel": 1})
            answer, _ = demo.outcome(attempt=3)
            self.assertEqual(answer, {"type": "ack", "id": "e1", "attempt": 3})

    def test_what_raises_is_logged_and_tried_again_and_a_refusal_is_not(self):
        with plugin("raise longshore_plugin.Refuse('no use') if event.event == 'die' else OSError('later')") as demo:
            demo.hello()
            answer, logged = demo.outcome()
            expected = {"type": "nack", "id": "e1", "attempt": 1, "reason": "OSError: later", "retry": True}
            self.assertEqual(answer, expected)
            self.assertEqual([level for level, _ in logged], ["error"])
            self.assertIn("Traceback", logged[0][1])
            answer, logged = demo.outcome(event="die")
            self.assertEqual((answer["reason"], answer["retry"], logged), ("Refuse: no use", False, []))

    def test_what_is_printed_goes_to_standard_error_and_programs_take_no_events(self):
        body = "print('printed')\nsubprocess.run(['sh', '-c', 'echo from a program; cat'])\nsys.stdin.read()"
        with plugin(body) as demo:
            demo.hello()
            demo.event(number=1)
            demo.event(number=2)
            self.assertEqual([demo.next()["id"], demo.next()["id"]], ["e1", "e2"])
            demo.tell(type="shutdown")
            self.assertEqual(demo.end(), (0, "printed\nfrom a program\n" * 2))

    def test_logging_goes_to_the_agent_with_its_level(self):
        body = """logging.getLogger('x').debug('a')
logging.warning('b %s', 1)
logging.info('c %d', 'no number')
logging.critical('\\udcff' + 'x' * 20000)"""
        with plugin(body) as demo:
            demo.hello()
            _, logged = demo.outcome()
            self.assertEqual(logged[:2], [("debug", "a"), ("warning", "b 1")])
            self.assertIn("cannot be formatted: 'c %d'", logged[2][1])
            self.assertEqual((logged[3][0], logged[3][1][:3]), ("error", "?xx"))
            self.assertTrue(logged[3][1].endswith("(20001 characters in all)"))

    def test_several_events_are_handled_at_once_where_the_plugin_says_so(self):
        body = "both.wait(20)"
        with plugin(body, more=", parallel=globals().update(both=threading.Barrier(2)) or 2") as demo:
            self.assertEqual(demo.hello()["parallel"], 2)
            demo.event(number=1)
            demo.event(number=2)
            self.assertEqual({demo.next()["id"], demo.next()["id"]}, {"e1", "e2"})
            demo.tell(type="shutdown")
            self.assertEqual(demo.end(), (0, ""))

    def test_an_exit_is_answered_and_ends_the_process(self):
        with plugin("sys.exit(4)") as demo:
            demo.hello()
            answer, _ = demo.outcome()
            self.assertEqual((answer["type"], answer["retry"]), ("nack", True))
            self.assertEqual(demo.end(), (4, ""))

    def test_it_ends_with_the_agent_and_finishes_what_it_began(self):
        with plugin("time.sleep(0.2)") as demo:
            demo.hello()
            demo.event()
            demo.process.stdin.close()
            self.assertEqual(demo.next()["type"], "ack")
            self.assertEqual(demo.end(), (0, ""))

    def test_an_agent_of_another_version_is_refused(self):
        with plugin("pass") as demo:
            demo.tell(type="hello", protocol=2)
            status, errors = demo.end()
            self.assertEqual((status, errors), (1, "the agent speaks version 2 of the protocol, but this plugin speaks version 1\n"))

    def test_what_it_does_not_know_is_ignored(self):
        with plugin("pass") as demo:
            demo.tell(type="weather", sun=True)
            demo.hello(colour="red")
            demo.tell(type="weather", sun=True)
            self.assertEqual(demo.outcome()[0]["type"], "ack")

    def test_prepare_is_told_of_the_handler(self):
        more = ", prepare=lambda hello: logging.info('%s %s', hello.node, hello.params), name='mine'"
        with plugin("pass", more=more) as demo:
            demo.greet()
            logged, hello = demo.until("hello")
            self.assertEqual((logged["message"], hello["name"]), ("n1 {}", "mine"))
            self.assertEqual(demo.outcome()[0]["type"], "ack")


if __name__ == "__main__":
    unittest.main()

"""Subinterpreters on Python 3.13, by the private modules that 3.14's public one is built on.

For tests alone, where no later Python is at hand: `install` puts it in place of the public one.
"""

import sys

from stagebench import subinterpreter

CALL = """
import _interpqueues, importlib
function = getattr(importlib.import_module(module), name)
_interpqueues.put(queue, function(message), 0, 1)
"""


class PrivateInterpreter:
    def __init__(self, path):
        import _interpqueues
        import _interpreters

        self._queues, self._interpreters = _interpqueues, _interpreters
        self._number = _interpreters.create()
        self._queue = _interpqueues.create(0, 0, 1)
        self._execute(subinterpreter.set_path(path))

    def call(self, function, message):
        names = {"module": function.__module__, "name": function.__name__}
        self._execute(CALL, names | {"message": message, "queue": self._queue})
        return self._queues.get(self._queue)[0]

    def close(self):
        self._interpreters.destroy(self._number)
        self._queues.destroy(self._queue)

    def _execute(self, code, shared=None):
        failed = self._interpreters.exec(self._number, code, shared)
        if failed is not None:
            raise RuntimeError(failed.errdisplay)


def install():
    """Make this the access to subinterpreters if Python has no other, before any workflow."""
    if sys.version_info < subinterpreter.FIRST:
        from stagebench.runner import interpreter_pool

        interpreter_pool.Subinterpreter = PrivateInterpreter
        interpreter_pool.why_none = lambda _version: ""

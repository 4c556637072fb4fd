"""Handlers for subinterpreters, which import this module by its name."""

import threading

calls = []


def count_calls():
    """Return this thread, and how often it has been called in this interpreter."""
    calls.append(None)
    return threading.get_native_id(), len(calls)


def double(*, value):
    return value * 2


def double_again(*, upstream):
    return upstream * 2


def expect(*, value, upstream):
    assert upstream == value


def misbehave(*, what):
    if what == "raise":
        raise ValueError("as asked")
    if what == "exit":
        raise SystemExit(3)
    return (lambda: None) if what == "lambda" else what


def make_refused():
    raise ImportError("not more than once in a process")


class Refusing:
    """A handler whose module can be imported in main alone, as NumPy's."""

    def __init__(self):
        self.__qualname__ = "refuse_import"

    def __call__(self):
        return None

    def __reduce__(self):
        return make_refused, ()


refuse_import = Refusing()

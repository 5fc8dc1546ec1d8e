"""What the tests serve: a surrogate that may open no file, and something that sleeps, fails and dies when asked to."""

import os
import sys
import sysconfig
import time

import numpy as np

from separable.serving.served import Answer, Operation, Request, Served


class Span(Request):
    """A time."""

    seconds: float = 0.0


class Odd(Served):
    """Sleeps, fails or dies."""

    def describe(self):
        return {"kind": "odd", "title": "odd"}

    def operations(self):
        def operation(run):
            return Operation("odd", Span, None, {"seconds": "as asked"}, "(1,)", run)

        return {"sleep": operation(_sleep), "fail": operation(_fail), "die": operation(_die)}

    def page(self):
        return {"index.html": b"odd"}


def _sleep(asked):
    time.sleep(asked.seconds)
    return Answer({"seconds": asked.seconds}, np.array([asked.seconds]))


def _fail(asked):
    raise RuntimeError("a secret of the inside")


def _die(asked):
    os._exit(1)


def load_nothing():
    raise ValueError("there is nothing to load")


def load_unless(file):
    """Something odd, but not while there is a file of that name."""
    if os.path.exists(file):
        raise ValueError("not now")
    return Odd()


def load_watched(load, folder):
    """What is loaded, in a process that ends as soon as it opens a file which is not part of Python."""
    served = load(folder)
    ours = (os.getcwd() + "/separable", os.getcwd() + "/domains")
    own = (sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), "/proc", "/sys", *ours)

    def watch(event, arguments):
        # What is open already comes by its number.
        if event == "open" and not isinstance(arguments[0], int) and not str(arguments[0]).startswith(own):
            os._exit(1)

    sys.addaudithook(watch)
    return served

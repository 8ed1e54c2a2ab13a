"""What all processes of Walkabout agree on, beside walkabout.dc."""

import argparse
import os
import sys

from panda3d.core import ClockObject, loadPrcFileData

# No sound, no words about missing joysticks; and no copy of all garbage, which Panda3D keeps by default to debug it.
loadPrcFileData("", "audio-library-name null\nnotify-level-device fatal\ngc-save-all 0")

FOLDER = os.path.dirname(os.path.abspath(__file__))
CONTRACT = os.path.join(FOLDER, "walkabout.dc")
VERSION = "walkabout-1"

# Channels and doids, as in walkabout.toml.
STATE_SERVER = 102_000
DATABASE = 103_000
FIRST_STORED = 100_000_000
LOGIN_MANAGER = 1234
CRIER = 1235
ALL_CLIENTS = 10

# Objects whose number is known to everybody. Each process has numbers of its own for what it makes, and the first of
# them is its channel: two AI processes with one channel would take each other's objects along when they end.
ROOT = 1000
DISTRICT = 2000
SCOREBOARD = 2001
UBERDOG_NUMBERS = 300_000
NUMBERS_OF_AN_AI = 10_000
AI_NUMBERS = 20_000_000 + os.getpid() % 1000 * NUMBERS_OF_AN_AI

# The root's zone in which everybody who is logged in looks.
EVERYWHERE = 1

# The grid: cells in a row, metres in a cell. The world reaches from -HALF to HALF.
CELLS = 8
METRES = 12
HALF = CELLS * METRES / 2
FIRST_ZONE = 100


def column(metres):
    """The row or column of a coordinate; what lies outside counts to the edge."""
    return max(0, min(CELLS - 1, int((metres + HALF) // METRES)))


def zone_of(x, y):
    return FIRST_ZONE + column(y) * CELLS + column(x)


def zones_around(x, y):
    """The cell of a place and the eight around it."""
    rows = range(max(0, column(y) - 1), min(CELLS, column(y) + 2))
    columns = range(max(0, column(x) - 1), min(CELLS, column(x) + 2))
    return [FIRST_ZONE + row * CELLS + place for row in rows for place in columns]


def inside(metres):
    return max(-HALF + 0.5, min(HALF - 0.5, metres))


def say(*what):
    """A line that start.py shows, and that the test reads."""
    print(*what, flush=True)


def arguments(description, **more):
    """The options that every process has, and its own."""
    parser = argparse.ArgumentParser(description=description)
    for name, (default, help_text) in more.items():
        kind = {"action": "store_true"} if default is False else {"default": default, "type": type(default)}
        parser.add_argument("--" + name.replace("_", "-"), help=help_text, **kind)
    return parser.parse_args()


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def run_headless():
    """The main loop of a process without a window: thirty rounds a second, and not one more."""
    clock = ClockObject.getGlobalClock()
    clock.setMode(ClockObject.MLimited)
    clock.setFrameRate(30)
    try:
        base.run()  # noqa: F821 - Panda3D's builtin
    except KeyboardInterrupt:
        sys.exit(0)

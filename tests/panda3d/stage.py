"""What the scenes have in common: participants in processes of their own, and waiting for what they report.

Nothing here waits for time to pass: every wait is for a report, and the deadline only bounds a hang.
"""

import json
import os
import queue
import subprocess
import sys
import threading
import time

DEADLINE_S = 120.0

VERSION = "session-1"
STATE_SERVER = 102000
DATABASE = 103000
LOGIN_MANAGER = 1234
ROOT = 1000
DISTRICT = 2000

# Message numbers, as a client receives them.
SET_FIELD, SET_FIELDS = 120, 121
LEAVING, LOCATION, ENTER, ENTER_OTHER = 132, 140, 142, 143
LEAVING_OWNER, ENTER_OWNER, ENTER_OTHER_OWNER = 161, 172, 173
DONE_INTEREST = 204
# As an AI receives it from the session for which it opened or closed the interest.
CLIENTAGENT_DONE_INTEREST_RESP = 1204


class Died(Exception):
    pass


class Peer:
    """A participant. `reports` holds everything that its library said, in order, and is never shortened."""

    def __init__(self, stage, name, kind, *args, prc=""):
        self.name = name
        self.reports = []
        self.mark = 0
        self.answers = {}
        self.number = 0
        self.lines = queue.Queue()
        self.ended = False
        self.log_path = os.path.join(stage.folder, f"{name}.log")
        folder = os.path.dirname(os.path.abspath(__file__))
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen(
                [sys.executable, os.path.join(folder, "peer.py"), kind, stage.contract, *map(str, args)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PEER_PRC": prc, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"},
            )
        threading.Thread(target=self._read, daemon=True).start()
        self.stage = stage

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(json.loads(line))
        self.lines.put(None)

    def _take(self, until):
        """One more line of the process; False at the deadline."""
        try:
            line = self.lines.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            return False
        if line is None:
            self.ended = True
            raise Died(f"{self.name} died")
        if "event" in line:
            self.reports.append(line["event"])
        else:
            self.answers[line["answer"]] = line
        return True

    def call(self, name, *args):
        """Gives an order and waits for its answer."""
        self.number += 1
        self.process.stdin.write((json.dumps({"number": self.number, "call": name, "args": args}) + "\n").encode())
        self.process.stdin.flush()
        until = time.monotonic() + DEADLINE_S
        while self.number not in self.answers:
            assert self._take(until), f"{self.name}: no answer to {name}{args}"
        answer = self.answers.pop(self.number)
        assert "error" not in answer, f"{self.name}: {name}{args}\n{answer.get('error')}"
        return answer["value"]

    def wait(self, *begin, count=1):
        """Waits for a report that begins so, after the last `cut`; the `count`-th of them."""
        until = time.monotonic() + DEADLINE_S
        begin = list(begin)
        while True:
            found = [report for report in self.reports[self.mark :] if matches(report, begin)]
            if len(found) >= count:
                return found[count - 1]
            if not self._take(until):
                raise AssertionError(f"{self.name} waits for {begin}, has {self.since()}")

    def cut(self):
        """What came since the last cut, with all that the last message caused; the next cut begins here."""
        if not self.ended:
            self.call("sync")
        reports = self.since()
        self.mark = len(self.reports)
        return reports

    def since(self):
        return self.reports[self.mark :]

    def wait_for_end(self):
        """The process has ended by itself."""
        self.process.wait(DEADLINE_S)

    def kill(self):
        self.process.kill()
        self.process.wait()


def matches(report, begin):
    return len(report) >= len(begin) and all(want is ... or have == want for have, want in zip(report, begin))


def fields(reports, view=None):
    """The updates among some reports: (view, doid, field, arguments)."""
    return [tuple(r[1:4]) + (r[4],) for r in reports if r[0] == "field" and (view is None or r[1] == view)]


def messages(reports, doid=...):
    """The numbers of the client messages among some reports, of one object or of all."""
    return [r[1] for r in reports if r[0] == "message" and (doid is ... or r[2] == doid)]


class Stage:
    """A daemon that runs already, and whoever plays with it."""

    def __init__(self, contract, message_director, client_agent, folder):
        self.contract = contract
        self.message_director = split(message_director)
        self.client_agent = split(client_agent)
        self.folder = folder
        self.peers = []
        self.numbers = 0

    def ai(self, name="ai", channel=500_000, **kwargs):
        ai = self._add(name, "ai", channel, STATE_SERVER, **kwargs)
        ai.call("open", *self.message_director)
        ai.wait("connected")
        ai.channel = channel
        assert ai.call("our_channel") == channel
        return ai

    def client(self, name, **kwargs):
        client = self._add(name, "client", **kwargs)
        client.call("open", *self.client_agent)
        client.wait("connected")
        return client

    def _add(self, name, kind, *args, **kwargs):
        peer = Peer(self, name, kind, *args, **kwargs)
        self.peers.append(peer)
        peer.wait("ready")
        return peer

    def world(self, ai):
        """The root of the world that clients know by its number, and a district that they see in it."""
        ai.call("know_uberdog", LOGIN_MANAGER, "LoginManager")
        ai.call("generate", "Root", ROOT, 0, 0, {})
        ai.call("generate", "District", DISTRICT, ROOT, 1, {"setTitle": ["Plaza"]})

    def log_in(self, ai, name, heartbeats=False, **kwargs):
        """A client that is established and sees the district. Its `channel` is the sender of what it sends. With
        `heartbeats` it sends them as soon as it has said hello."""
        client = self.client(name, **kwargs)
        client.call("hello", VERSION)
        if heartbeats:
            client.call("startHeartbeat")
        client.wait("CLIENT_HELLO_RESP")
        client.call("know_uberdog", LOGIN_MANAGER, "LoginManager")
        client.call("update", LOGIN_MANAGER, "login", [name, "secret"])
        login = ai.wait("field", "ai", LOGIN_MANAGER, "login", [name, "secret"])
        client.channel = login[5]
        ai.call("setClientState", client.channel, 2)
        ai.call("clientAddInterest", client.channel, 100, ROOT, 1)
        client.wait("entered", "view", DISTRICT)
        client.wait("message", DONE_INTEREST)
        ai.wait("message", CLIENTAGENT_DONE_INTEREST_RESP, ..., client.channel)
        client.cut()
        return client

    def reach(self, ai, client):
        """What `ai` has sent to this session has arrived there: it and what the client sends take two connections."""
        self.numbers += 1
        ai.call("update_to", client.channel, "LoginManager", LOGIN_MANAGER, "loginResponse", [self.numbers, "reached"])
        client.wait("field", "view", LOGIN_MANAGER, "loginResponse", [self.numbers, "reached"])

    def mark(self, doid, sender, *receivers):
        """`sender` sends a mark on an object, and each receiver waits for it: what `sender` sent on it before has
        arrived by then, or never will."""
        self.numbers += 1
        number = self.numbers + 4_000_000
        sender.call("update", doid, "mark", [number])
        for receiver, view in receivers:
            receiver.wait("field", view, doid, "mark", [number])
        return number

    def close(self):
        for peer in self.peers:
            if peer.process.poll() is None:
                peer.kill()


def split(address):
    host, port = address.rsplit(":", 1)
    return host, int(port)

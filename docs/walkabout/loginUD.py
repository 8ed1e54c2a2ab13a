"""Walkabout's global objects in the process that serves them: who comes in, and as whom."""

import random
import traceback

from common import ALL_CLIENTS, DATABASE, DISTRICT, EVERYWHERE, FIRST_STORED, ROOT, say, zone_of
from direct.distributed.DistributedObjectGlobalUD import DistributedObjectGlobalUD

ANONYMOUS, ESTABLISHED = 1, 2
# So long the district may take to answer whether it is there.
PATIENCE_S = 3.0
# Clients number their interests from 1; the high bit is left to servers.
SERVERS_INTEREST = 0x8001


class CrierUD(DistributedObjectGlobalUD):
    def d_announce(self, text):
        say("announces:", text)
        self.sendUpdateToChannel(ALL_CLIENTS, "announce", [text])


class LoginManagerUD(DistributedObjectGlobalUD):
    """A client says a name and gets the avatar of that name: its own again, or a new one. There is no password: this is
    where a game would ask for one."""

    def __init__(self, air):
        DistributedObjectGlobalUD.__init__(self, air)
        # Names that are being let in just now, each with its client.
        self.entering = {}
        # Folded name to (name, avatar), as stored in the Directory.
        self.entries = None

    # --- The directory: the first object that is ever stored, so its number is known -----------------------------------

    def load_directory(self, ready):
        def loaded(dclass, fields):
            if dclass is None:
                say("makes a new directory of names")
                directory = self.air.getDcFile().getClassByName("Directory")
                self.air.dbInterface.createObject(DATABASE, directory, {"setEntries": [[]]}, made)
            else:
                self.entries = {name.casefold(): (name, avatar) for name, avatar in fields["setEntries"][0]}
                say("knows", len(self.entries), "names")
                ready()

        def made(doid):
            if doid != FIRST_STORED:
                raise SystemExit(f"the database is not Walkabout's own: its next object is {doid}")
            self.entries = {}
            ready()

        self.air.dbInterface.queryObject(DATABASE, FIRST_STORED, loaded)

    def store_name(self, name, avatar, done):
        """Only if nobody else has changed the directory meanwhile (compare and set): then once more, with what is there
        now. `done` gets the avatar that has the name in the end."""
        before = sorted(self.entries.values())

        def stored(current):
            if current is None:
                self.entries[name.casefold()] = (name, avatar)
                return done(avatar)
            self.entries = {known.casefold(): (known, doid) for known, doid in current["setEntries"][0]}
            if name.casefold() in self.entries:
                return done(self.entries[name.casefold()][1])
            self.store_name(name, avatar, done)

        directory = self.air.getDcFile().getClassByName("Directory")
        new, old = {"setEntries": [sorted([*before, (name, avatar)])]}, {"setEntries": [before]}
        self.air.dbInterface.updateObject(DATABASE, FIRST_STORED, directory, new, old, stored)

    # --- A client wants to come in ---------------------------------------------------------------------------------------

    def enter(self, name):
        client = self.air.getMsgSender()
        name = " ".join(name.split())
        if not name or not name.isprintable():
            return self.answer(client, None, "This is no name.")
        if self.entries is None or name.casefold() in self.entering:
            return self.answer(client, None, "Please try again in a moment.")
        self.entering[name.casefold()] = client
        try:
            self.when_open(client, name)
        except Exception:
            # One visitor's trouble must not end the process.
            traceback.print_exc()
            self.refuse(client, name, "Something went wrong.")

    def when_open(self, client, name):
        """The district answers only if it is there, that is, if the AI runs."""
        open_ = []

        def here(*_):
            if not open_:
                open_.append(True)
                self.find(client, name)

        def closed(task):
            if not open_:
                open_.append(False)
                self.refuse(client, name, "The world is closed just now.")
            return task.done

        self.air.getLocation(DISTRICT, here)
        taskMgr.doMethodLater(PATIENCE_S, closed, "closed")  # noqa: F821 - Panda3D's builtin

    def find(self, client, name):
        entry = self.entries.get(name.casefold())
        if entry is not None:
            return self.ask_whether_free(client, *entry)

        def made(avatar):
            if not avatar:
                return self.refuse(client, name, "The database takes no new avatar.")
            say("makes avatar", avatar, "for", name)
            self.store_name(name, avatar, lambda avatar: self.let_in(client, name, avatar))

        colour = [random.randrange(90, 255) for _ in range(3)]
        fields = {"setName": [name], "setColour": colour, "setScore": [0], "setHome": [0, 0]}
        avatar_class = self.air.getDcFile().getClassByName("Avatar")
        self.air.dbInterface.createObject(DATABASE, avatar_class, fields, made)

    def ask_whether_free(self, client, name, avatar):
        def answered(_, activated):
            if activated:
                self.refuse(client, name, f"{name} is walking about already.")
            else:
                self.let_in(client, name, avatar)

        self.air.getActivated(avatar, answered)

    def let_in(self, client, name, avatar):
        """The order matters: the client is somebody, its avatar is live, it is the client's, and goes with it."""

        def known(dclass, fields):
            if dclass is None:
                return self.refuse(client, name, "This avatar is gone.")
            air = self.air
            air.setClientState(client, ESTABLISHED)
            # A session object: donetd deletes it from the world when the connection ends, however that happens.
            air.clientAddSessionObject(client, avatar)
            air.sendActivate(avatar, DISTRICT, zone_of(*fields.get("setHome", (0, 0))))
            air.setOwner(avatar, client)
            # So the client sees the district, and may open the zones around it by itself.
            air.clientAddInterest(client, SERVERS_INTEREST, ROOT, EVERYWHERE)
            self.entering.pop(name.casefold(), None)
            self.answer(client, avatar, f"Welcome, {name}!")
            air.crier.d_announce(f"{name} has come.")

        self.air.dbInterface.queryObject(DATABASE, avatar, known)

    def refuse(self, client, name, text):
        self.entering.pop(name.casefold(), None)
        self.answer(client, None, text)

    def answer(self, client, avatar, text):
        say("answers", client, repr(text))
        self.sendUpdateToChannel(client, "enterResponse", [int(avatar is not None), avatar or 0, text])

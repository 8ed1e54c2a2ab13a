"""The AI process: it governs one district, with all that lives in it."""

import math
import sys

from common import (
    AI_NUMBERS,
    CONTRACT,
    DISTRICT,
    EVERYWHERE,
    NUMBERS_OF_AN_AI,
    ROOT,
    SCOREBOARD,
    STATE_SERVER,
    address,
    arguments,
    run_headless,
    say,
    zone_of,
)

options = arguments(
    __doc__,
    md=("127.0.0.1:7199", "donetd's Message Director"),
    npcs=(6, "how many wander about"),
    coins=(40, "how many coins lie about"),
)

from direct.showbase.ShowBase import ShowBase  # noqa: E402
from panda3d.core import loadPrcFileData  # noqa: E402
from panda3d_astron.repository import AstronInternalRepository  # noqa: E402

loadPrcFileData("", f"air-channel-allocation {NUMBERS_OF_AN_AI}")
ShowBase(windowType="none")

import worldAI  # noqa: E402

# So long the district may take to answer.
PATIENCE_S = 2.0
NAMES = ("Ada", "Boris", "Chiyo", "Dunja", "Émile", "Fatima", "Goran", "Hedy")


class AI(AstronInternalRepository):
    GameGlobalsId = ROOT
    districtId = DISTRICT

    def __init__(self):
        # The library also tells donetd to delete what this AI governs when its connection is lost (a post-remove).
        AstronInternalRepository.__init__(
            self, AI_NUMBERS, STATE_SERVER, dcFileNames=[CONTRACT], dcSuffix="AI", connectMethod=self.CM_NET
        )
        self.avatars = {}
        self.clients = {}
        self.coins = set()
        self.connect(*address(options.md))

    def handleConnected(self):
        """Only one AI governs the district. Another one waits until it is gone, and takes its place."""
        answers = []

        def decide(task):
            if answers:
                say("waits: the district has an AI")
                self.handleConnected()
            else:
                self.build()
            return task.done

        # An object that is not there does not answer.
        self.getLocation(DISTRICT, lambda *_: answers.append(True))
        taskMgr.doMethodLater(PATIENCE_S, decide, "decide")  # noqa: F821 - Panda3D's builtin

    def build(self):
        self.make(worldAI.RootAI(self), ROOT, 0, 0)
        district = self.make(worldAI.DistrictAI(self), DISTRICT, ROOT, EVERYWHERE)
        # What is made below the district is governed by the same AI.
        district.setAI(self.ourChannel)
        self.scoreboard = self.make(worldAI.ScoreboardAI(self), SCOREBOARD, ROOT, EVERYWHERE)
        self.scoreboard.setAI(self.ourChannel)
        self.doId2do[ROOT].setAI(self.ourChannel)
        for index in range(options.npcs):
            colour = tuple(140 + 30 * ((index * step) % 4) for step in (1, 2, 3))
            npc = worldAI.NpcAI(self, NAMES[index % len(NAMES)], colour)
            # Optional fields that the object begins with, beside the required ones.
            npc.generateWithRequired(zone_of(npc.x, npc.y), ["setX", "setY", "setH"])
        for _ in range(options.coins):
            self.drop_coin()
        say("ready")

    def make(self, view, doid, parent, zone):
        view.doNotDeallocateChannel = True
        view.generateWithRequiredAndId(doid, parent, zone)
        return view

    def lostConnection(self):
        say("has lost the server")
        sys.exit(1)

    def lost_district(self):
        """Somebody has deleted it, and all that was in it: begin afresh (start.py sees to it)."""
        say("has lost its district")
        sys.exit(1)

    def drop_coin(self):
        coin = worldAI.CoinAI(self)
        coin.generateWithRequired(zone_of(*coin.place))
        self.coins.add(coin)

    def collect(self, avatar):
        """Coins within an avatar's reach are its own; others appear elsewhere."""
        for coin in [coin for coin in self.coins if math.dist(coin.place, (avatar.x, avatar.y)) < worldAI.REACH_M]:
            self.coins.discard(coin)
            coin.requestDelete()
            avatar.earn(1)
            self.drop_coin()

    def avatar_of(self, client):
        return self.clients.get(client)

    def forget_client(self, client):
        self.clients.pop(client, None)

    def show_scores(self):
        self.scoreboard.show({avatar.name: avatar.points for avatar in self.avatars.values()})


AI()
run_headless()

"""Walkabout's world as the AI process has it: it decides, the clients show."""

import math
import random

from common import CELLS, DATABASE, DISTRICT, HALF, METRES, inside, say, zone_of
from direct.distributed.DistributedObjectAI import DistributedObjectAI

REACH_M = 1.5
# An avatar whose client says nothing for so long is taken out of the world: its client may have ended while it came in.
SILENCE_S = 60.0
# How often a walking avatar's place is stored.
STORE_S = 5.0


class RootAI(DistributedObjectAI):
    pass


class DistrictAI(DistributedObjectAI):
    # Panda3D asks for the value of a required field `setX` by `getX` when it makes an object.
    def getGrid(self):
        return CELLS, METRES

    def delete(self):
        # The AI itself never deletes it.
        if self.air:
            self.air.lost_district()
        DistributedObjectAI.delete(self)


class ScoreboardAI(DistributedObjectAI):
    scores = ()

    def getScores(self):
        return list(self.scores)

    def show(self, points):
        """The ten best; nothing is sent when nothing has changed."""
        best = sorted(points.items(), key=lambda item: (-item[1], item[0]))[:10]
        if best != list(self.scores):
            self.scores = best
            self.sendUpdate("setScores", [best])


class CoinAI(DistributedObjectAI):
    def __init__(self, air):
        DistributedObjectAI.__init__(self, air)
        edge = HALF - 1
        self.place = (round(random.uniform(-edge, edge), 1), round(random.uniform(-edge, edge), 1))

    def getPlace(self):
        return self.place


class WalkerAI(DistributedObjectAI):
    name = "nobody"
    colour = (200, 200, 200)
    x = y = h = 0

    def setName(self, name):
        self.name = name

    def getName(self):
        return self.name

    def setColour(self, *colour):
        self.colour = colour

    def getColour(self):
        return self.colour

    def setX(self, x):
        self.x = x

    def getX(self):
        return self.x

    def setY(self, y):
        self.y = y

    def getY(self):
        return self.y

    def setH(self, h):
        self.h = h

    def getH(self):
        return self.h

    def follow_zone(self):
        """The AI is the authority over places: it moves the object to the cell where it stands."""
        zone = zone_of(self.x, self.y)
        if zone != self.zoneId:
            self.b_setLocation(DISTRICT, zone)

    def wave(self):
        """Some client waves at this walker; as whom, its channel says."""
        by = self.air.avatar_of(self.air.getMsgSender())
        if by is not None:
            self.sendUpdate("waved", [by.doId])
            self.on_wave(by)

    def on_wave(self, by):
        pass

    def say(self, text):
        pass


class NpcAI(WalkerAI):
    LINES = ("What a day!", "Have you seen a coin?", "I only wander.", "Mind the edge.", "Ça va ? ☀")

    def __init__(self, air, name, colour):
        WalkerAI.__init__(self, air)
        self.name, self.colour = name, colour
        self.x, self.y = (random.uniform(-HALF / 2, HALF / 2) for _ in range(2))
        self.goal = (self.x, self.y)

    def announceGenerate(self):
        WalkerAI.announceGenerate(self)
        taskMgr.doMethodLater(0.2, self.walk, self.uniqueName("walk"))  # noqa: F821

    def delete(self):
        taskMgr.remove(self.uniqueName("walk"))  # noqa: F821
        WalkerAI.delete(self)

    def walk(self, task):
        dx, dy = self.goal[0] - self.x, self.goal[1] - self.y
        distance = math.hypot(dx, dy)
        if distance < 0.5:
            self.goal = tuple(inside(random.uniform(-HALF, HALF)) for _ in range(2))
            if random.random() < 0.5:
                self.d_say(random.choice(self.LINES))
            return task.again
        step = min(distance, 0.5)
        self.x, self.y = inside(self.x + dx / distance * step), inside(self.y + dy / distance * step)
        self.h = int(math.degrees(math.atan2(-dx, dy)))
        self.sendUpdate("setXYH", [self.x, self.y, self.h])
        self.follow_zone()
        return task.again

    def d_say(self, text):
        self.sendUpdate("say", [text])

    def on_wave(self, by):
        self.d_say(f"Hello, {by.name}!")


class AvatarAI(WalkerAI):
    """A player's avatar. The database has its fields, and the owner's client moves it; it comes and goes with that
    client, so the AI never makes or deletes one by itself, unless it is silent for too long."""

    points = 0
    home = (0, 0)
    client = None
    stored_at = 0.0

    def setScore(self, points):
        self.points = points

    def setHome(self, x, y):
        self.home = (self.x, self.y) = (x, y)

    def announceGenerate(self):
        WalkerAI.announceGenerate(self)
        self.heard_at = globalClock.getRealTime()  # noqa: F821
        self.air.avatars[self.doId] = self
        self.air.show_scores()
        say("sees come:", self.name, "with", self.points, "points")
        taskMgr.doMethodLater(5.0, self.watch, self.uniqueName("watch"))  # noqa: F821

    def delete(self):
        taskMgr.remove(self.uniqueName("watch"))  # noqa: F821
        if self.air.avatars.pop(self.doId, None) is not None:
            say("sees leave:", self.name)
            self.store_home()
            self.air.show_scores()
            if self.client is not None:
                self.air.forget_client(self.client)
        WalkerAI.delete(self)

    def watch(self, task):
        if globalClock.getRealTime() - self.heard_at > SILENCE_S:  # noqa: F821
            say("takes out, because it is silent:", self.name)
            self.requestDelete()
            return task.done
        return task.again

    def setXYH(self, x, y, h):
        """From the owner's client: nobody else may send it."""
        self.client = self.air.getMsgSender()
        self.air.clients[self.client] = self
        self.heard_at = globalClock.getRealTime()  # noqa: F821
        self.x, self.y, self.h = inside(x), inside(y), h
        self.follow_zone()
        self.air.collect(self)
        if self.heard_at - self.stored_at > STORE_S:
            self.stored_at = self.heard_at
            self.store_home()

    def store_home(self):
        """Straight into the database: the object itself may have left the world already."""
        place = (round(self.x, 1), round(self.y, 1))
        if place != self.home:
            self.home = place
            self.air.dbInterface.updateObject(DATABASE, self.doId, self.dclass, {"setHome": place})

    def say(self, text):
        say("hears", f"{self.name}: {text}")

    def earn(self, points):
        """A `db` field of a live object: the Database State Server stores what is set here."""
        self.points += points
        self.sendUpdate("setScore", [self.points])
        self.sendUpdate("hint", [f"A coin! You have {self.points}."])
        self.air.show_scores()

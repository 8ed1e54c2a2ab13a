"""Walkabout's world as a client sees it: one Python object for each distributed object in view. How it looks is
scene.py's affair, or nobody's in a client without a window."""

from direct.distributed.DistributedObject import DistributedObject
from direct.distributed.DistributedObjectOV import DistributedObjectOV


class Seen(DistributedObject):
    """The library deletes what leaves the view twice; `leave` is called once, with everything still there."""

    has_left = False

    def leave(self):
        pass

    def delete(self):
        if not self.has_left:
            self.has_left = True
            self.leave()
        DistributedObject.delete(self)


class Root(Seen):
    pass


class District(Seen):
    def setGrid(self, cells, metres):
        self.grid = (cells, metres)

    def announceGenerate(self):
        DistributedObject.announceGenerate(self)
        self.cr.scene.build_ground(*self.grid)
        messenger.send("district", [self])  # noqa: F821 - Panda3D's builtin


class Scoreboard(Seen):
    def setScores(self, scores):
        self.cr.scene.show_scores(scores)


class Coin(Seen):
    def setPlace(self, x, y):
        self.place = (x, y)

    def announceGenerate(self):
        DistributedObject.announceGenerate(self)
        self.cr.scene.add_coin(self.doId, *self.place)

    def leave(self):
        self.cr.scene.remove(self.doId)


class Body:
    """What the ordinary view and the owner view of a walker have in common."""

    name = "nobody"
    colour = (200, 200, 200)
    points = 0
    x = y = h = 0

    def setName(self, name):
        self.name = name

    def setColour(self, *colour):
        self.colour = colour

    def setScore(self, points):
        self.points = points

    def setX(self, x):
        self.place(x, self.y, self.h)

    def setY(self, y):
        self.place(self.x, y, self.h)

    def setH(self, h):
        self.place(self.x, self.y, h)

    def setXYH(self, x, y, h):
        """A molecular update arrives as one call."""
        self.place(x, y, h)

    def place(self, x, y, h):
        self.x, self.y, self.h = x, y, h
        self.cr.scene.move(self.doId, x, y, h)

    def say(self, text):
        self.cr.heard(self.name, text)
        self.cr.scene.bubble(self.doId, text)

    def waved(self, by):
        who = self.cr.name_of(by)
        self.cr.scene.wave(by)
        self.cr.scene.notice(f"{who} waves at {self.name}.")


class Walker(Body, Seen):
    """Somebody else."""

    def announceGenerate(self):
        DistributedObject.announceGenerate(self)
        self.cr.scene.add_walker(self.doId, self.name, self.colour)
        self.cr.scene.move(self.doId, self.x, self.y, self.h, at_once=True)
        self.cr.saw_come(self)

    def leave(self):
        self.cr.saw_leave(self)
        self.cr.scene.remove(self.doId)


class Npc(Walker):
    pass


class Avatar(Walker):
    pass


class AvatarOV(Body, DistributedObjectOV):
    """The client's own avatar. It belongs to the session, so this is the only view that the client has of it."""

    home = (0, 0)

    def setHome(self, x, y):
        self.home = (x, y)

    def hint(self, text):
        self.cr.scene.notice(text)

    def announceGenerate(self):
        DistributedObjectOV.announceGenerate(self)
        # The optional fields, such as setHome, come after this call.
        taskMgr.doMethodLater(0, self.begin, self.uniqueName("begin"))  # noqa: F821

    def begin(self, task):
        if self.cr:
            self.cr.scene.add_walker(self.doId, self.name, self.colour, is_own=True)
            self.place(*self.home, 0)
            messenger.send("own-avatar", [self])  # noqa: F821
        return task.done

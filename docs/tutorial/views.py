"""A client's view of the objects of hello.dc."""

from direct.distributed.DistributedObject import DistributedObject
from direct.distributed.DistributedObjectGlobal import DistributedObjectGlobal
from direct.distributed.DistributedObjectOV import DistributedObjectOV


class Login(DistributedObjectGlobal):
    pass


class Hall(DistributedObject):
    pass


class Visitor(DistributedObject):
    """Somebody in view."""

    def setName(self, name):
        self.name = name

    def announceGenerate(self):
        DistributedObject.announceGenerate(self)
        print("sees:", self.name, flush=True)
        messenger.send("seen")  # noqa: F821 - Panda3D's builtin

    def say(self, text):
        print(self.name, "says:", text, flush=True)


class VisitorOV(DistributedObjectOV):
    """Ourselves."""

    def setName(self, name):
        self.name = name

    def announceGenerate(self):
        DistributedObjectOV.announceGenerate(self)
        print("is in as:", self.name, flush=True)
        self.cr.me = self

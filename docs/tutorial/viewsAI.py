"""The server's view of the objects of hello.dc."""

from direct.distributed.DistributedObjectAI import DistributedObjectAI
from direct.distributed.DistributedObjectGlobalAI import DistributedObjectGlobalAI


class LoginAI(DistributedObjectGlobalAI):
    def enter(self, name):
        # A client has called. A game would ask for a password here.
        print("lets in:", name, flush=True)
        self.air.let_in(self.air.getMsgSender(), name)


class HallAI(DistributedObjectAI):
    pass


class VisitorAI(DistributedObjectAI):
    def __init__(self, air, name):
        DistributedObjectAI.__init__(self, air)
        self.name = name

    # Panda3D asks for the value of the required field `setName` by `getName`.
    def getName(self):
        return self.name

    def say(self, text):
        print("hears:", self.name, "says", text, flush=True)

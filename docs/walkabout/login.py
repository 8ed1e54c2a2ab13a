"""Walkabout's global objects as a client sees them. loginUD.py is the other side."""

from direct.distributed.DistributedObjectGlobal import DistributedObjectGlobal


class LoginManager(DistributedObjectGlobal):
    def enterResponse(self, accepted, avatar, text):
        messenger.send("entered", [bool(accepted), avatar, text])  # noqa: F821 - Panda3D's builtin


class Crier(DistributedObjectGlobal):
    def announce(self, text):
        self.cr.scene.announce(text)

"""The game's own server process: it makes the hall, and lets visitors in."""

import sys

from direct.showbase.ShowBase import ShowBase
from panda3d.core import ClockObject, loadPrcFileData
from panda3d_astron.msgtypes import CLIENTAGENT_DONE_INTEREST_RESP
from panda3d_astron.repository import AstronInternalRepository

STATE_SERVER = 102_000  # control_channel in hello.toml
LOGIN, HALL, ZONE = 1234, 2000, 1

loadPrcFileData("", "audio-library-name null")
ShowBase(windowType="none")
ClockObject.getGlobalClock().setMode(ClockObject.MLimited)
ClockObject.getGlobalClock().setFrameRate(30)


class Server(AstronInternalRepository):
    GameGlobalsId = HALL

    def __init__(self, host, port):
        # 300,000 is the channel of this process, and the first of the numbers that it gives to what it makes.
        AstronInternalRepository.__init__(
            self, 300_000, STATE_SERVER, dcFileNames=["hello.dc"], dcSuffix="AI", connectMethod=self.CM_NET
        )
        self.connect(host, port)

    def handleConnected(self):
        from viewsAI import HallAI

        hall = HallAI(self)
        hall.doNotDeallocateChannel = True
        hall.generateWithRequiredAndId(HALL, 0, 0)
        hall.setAI(self.ourChannel)
        self.generateGlobalObject(LOGIN, "Login")
        print("ready", flush=True)

    def handleDatagram(self, di):
        # "The client's interest is open": the library would warn of it.
        if self.getMsgType() != CLIENTAGENT_DONE_INTEREST_RESP:
            AstronInternalRepository.handleDatagram(self, di)

    def lostConnection(self):
        sys.exit("The daemon is gone.")

    def let_in(self, client, name):
        from viewsAI import VisitorAI

        self.setClientState(client, 2)  # established: it may do what the contract allows
        visitor = VisitorAI(self, name)
        visitor.generateWithRequiredAndId(self.allocateChannel(), HALL, ZONE)
        self.clientAddSessionObject(client, visitor.doId)  # the visitor goes when the connection does
        self.setOwner(visitor.doId, client)
        self.clientAddInterest(client, 0x8001, HALL, ZONE)  # it sees what is in the hall


host, port = (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7199").split(":")
server = Server(host, int(port))
base.run()  # noqa: F821 - Panda3D's builtin

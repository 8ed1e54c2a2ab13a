"""The UberDOG process: it serves the objects that everybody knows, here the login. Runs once for the whole game."""

import sys

from common import CONTRACT, CRIER, LOGIN_MANAGER, ROOT, STATE_SERVER, UBERDOG_NUMBERS, address, arguments, run_headless, say

options = arguments(__doc__, md=("127.0.0.1:7199", "donetd's Message Director"))

from direct.showbase.ShowBase import ShowBase  # noqa: E402
from panda3d_astron.msgtypes import CLIENTAGENT_DONE_INTEREST_RESP  # noqa: E402
from panda3d_astron.repository import AstronInternalRepository  # noqa: E402

ShowBase(windowType="none")


class UberDOG(AstronInternalRepository):
    GameGlobalsId = ROOT

    def __init__(self):
        # CM_NET, not the library's default CM_NATIVE, which can crash when the server closes a connection first.
        AstronInternalRepository.__init__(
            self, UBERDOG_NUMBERS, STATE_SERVER, dcFileNames=[CONTRACT], dcSuffix="UD", connectMethod=self.CM_NET
        )
        self.connect(*address(options.md))

    def handleConnected(self):
        self.crier = self.generateGlobalObject(CRIER, "Crier")
        self.login_manager = self.generateGlobalObject(LOGIN_MANAGER, "LoginManager")
        self.login_manager.load_directory(lambda: say("ready"))

    def handleDatagram(self, di):
        # "The client's interest is open": the library does not know this one and would warn.
        if self.getMsgType() != CLIENTAGENT_DONE_INTEREST_RESP:
            AstronInternalRepository.handleDatagram(self, di)

    def lostConnection(self):
        # What it knew may be out of date when the server is back: a new process begins afresh (start.py sees to it).
        say("has lost the server")
        sys.exit(1)


UberDOG()
run_headless()

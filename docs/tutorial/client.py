"""A player: comes in, looks who is there, and says hello to whoever comes."""

import sys

from direct.showbase.ShowBase import ShowBase
from panda3d.core import URLSpec, loadPrcFileData
from panda3d_astron.repository import AstronClientRepository

LOGIN, HALL = 1234, 2000

loadPrcFileData("", "audio-library-name null")
ShowBase(windowType="none")
taskMgr.setupTaskChain("net")  # noqa: F821 - Panda3D's builtin; the library's heartbeats run in it


class Client(AstronClientRepository):
    def __init__(self, host, port, name):
        AstronClientRepository.__init__(self, dcFileNames=["hello.dc"], connectMethod=self.CM_NET)
        self.GameGlobalsId = HALL
        self.name, self.me = name, None
        self.accept("CLIENT_HELLO_RESP", self.enter)
        self.accept("CLIENT_EJECT", lambda code, text: sys.exit(f"ejected: {code} {text}"))
        self.accept("LOST_CONNECTION", lambda: sys.exit("The daemon is gone."))
        self.accept("seen", self.greet)
        url = URLSpec()
        url.setServer(host)
        url.setPort(port)
        # The version must be the one of hello.toml; the library adds the hash of the contract.
        self.connect([url], successCallback=lambda: self.sendHello("hello-1"),
                     failureCallback=lambda *_: sys.exit("No daemon answers."))

    def enter(self):
        self.startHeartbeat()
        login = self.generateGlobalObject(LOGIN, "Login")
        login.sendUpdate("enter", [self.name])

    def greet(self):
        if self.me is not None:
            self.me.sendUpdate("say", [f"Hello, I am {self.name}."])


address = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1:7198"
host, port = address.split(":")
client = Client(host, int(port), sys.argv[1])
base.run()  # noqa: F821 - Panda3D's builtin

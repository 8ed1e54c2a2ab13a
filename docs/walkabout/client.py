"""The client: with a window to play in, or without one (--headless) for servers of bots (--bot)."""

import math
import random
import sys

from common import (
    CELLS,
    CONTRACT,
    CRIER,
    DISTRICT,
    LOGIN_MANAGER,
    ROOT,
    VERSION,
    address,
    arguments,
    inside,
    run_headless,
    say,
    zones_around,
)

options = arguments(
    __doc__,
    ca=("127.0.0.1:7198", "donetd's Client Agent"),
    name=("", "who to be; asked for in the window if not given"),
    headless=(False, "without a window"),
    bot=(False, "walks and talks by itself"),
    screenshot=("", "writes this picture a while after coming in, and ends"),
)

from direct.showbase.ShowBase import ShowBase  # noqa: E402
from panda3d.core import DatagramIterator, URLSpec, loadPrcFileData  # noqa: E402

loadPrcFileData("", "window-title Walkabout\nwin-size 1024 640\nsync-video 1")
if options.headless:
    ShowBase(windowType="none")
else:
    ShowBase()

from panda3d_astron.repository import AstronClientRepository  # noqa: E402
from scene import NoScene, Scene  # noqa: E402

SPEED_M_S = 5.0
TURN_DEGREES_S = 140.0
# At most so many updates a second; one at least every so many seconds, so that the AI knows that somebody is there.
SENDS_S = 10
ALIVE_S = 5.0
LINES = ("Hello!", "Nice weather.", "Who is there?", "I like coins.", "Grüß Gott ☺", "Lovely grid.")


class Client(AstronClientRepository):
    def __init__(self):
        AstronClientRepository.__init__(self, dcFileNames=[CONTRACT], connectMethod=self.CM_NET)
        # Where a server may open an interest for us although we do not see it.
        self.GameGlobalsId = ROOT
        self.name = options.name
        self.was_in = False
        self.scene = NoScene() if options.headless else Scene(self)
        self.forget()
        self.accept("CLIENT_HELLO_RESP", self.on_hello)
        self.accept("CLIENT_EJECT", self.on_eject)
        self.accept("LOST_CONNECTION", self.on_lost)
        self.accept("entered", self.on_entered)
        self.accept("own-avatar", self.on_own_avatar)
        self.accept("district", self.on_district)
        taskMgr.setupTaskChain("net")  # noqa: F821 - Panda3D's builtin; the library's heartbeats run in it
        taskMgr.add(self.play, "play")  # noqa: F821
        self.go()

    # --- The connection ---------------------------------------------------------------------------------------------------

    def forget(self):
        """Nothing is known of the world."""
        self.avatar = self.interest = self.reason = None
        self.district_seen = False
        self.sent = self.zones = None
        self.sent_at = self.talks_at = 0.0
        self.goal = (0, 0)

    def go(self, task=None):
        url = URLSpec()
        host, port = address(options.ca)
        url.setServer(host)
        url.setPort(port)
        self.connect([url], successCallback=self.on_connected, failureCallback=self.on_refused)
        return task and task.done

    def go_later(self, text):
        say("waits:", text)
        self.scene.notice(f"{text} Trying again …")
        taskMgr.doMethodLater(2.0, self.go, "go")  # noqa: F821

    def on_refused(self, code, text):
        self.go_later("The server does not answer.")

    def on_connected(self):
        self.sendHello(VERSION)

    def on_hello(self):
        # Now anonymous: all we may do is talk to the LoginManager, whose number we know.
        self.startHeartbeat()
        self.login_manager = self.generateGlobalObject(LOGIN_MANAGER, "LoginManager")
        self.generateGlobalObject(CRIER, "Crier")
        if self.name:
            self.enter()
        else:
            self.scene.ask_name(self.choose_name)

    def choose_name(self, name):
        self.name = name
        self.enter()

    def enter(self, task=None):
        self.login_manager.sendUpdate("enter", [self.name])
        # A request that meets no UberDOG process is answered by nobody.
        self.enter_later(10.0)
        return task and task.done

    def enter_later(self, seconds):
        taskMgr.remove("enter")  # noqa: F821
        taskMgr.doMethodLater(seconds, self.enter, "enter")  # noqa: F821

    def on_entered(self, accepted, avatar, text):
        say("login:", text)
        self.scene.notice(text)
        taskMgr.remove("enter")  # noqa: F821
        if accepted:
            return
        if options.name or self.was_in:
            # "The world is closed" passes; so does a former connection of ours that has not ended yet.
            self.enter_later(2.0)
        else:
            self.scene.ask_name(self.choose_name, text)

    def on_eject(self, code, text):
        say("ejected:", code, text)
        if code in (124, 125):
            self.scene.notice(f"This client does not fit the server: {text}")
            self.reason = "This client is of another version."
        elif code == 153:
            self.reason = "The world has closed."

    def on_lost(self):
        """Whatever the cause: begin afresh. Objects first, because they still draw."""
        taskMgr.remove("enter")  # noqa: F821
        self.stopHeartbeat()
        reason = self.reason or "The server is gone."
        for view in [*self.doId2do.values(), *self.doId2ownerView.values()]:
            view.deleteOrDelay()
        self.doId2do.clear()
        self.doId2ownerView.clear()
        self.resetInterestStateForConnectionLoss()
        self.scene.clear()
        self.forget()
        self.go_later(reason)

    # --- The world --------------------------------------------------------------------------------------------------------

    def on_own_avatar(self, avatar):
        self.avatar, self.was_in = avatar, True
        say("is", avatar.name, "with", avatar.points, "points at", *avatar.home)
        if options.screenshot:
            taskMgr.doMethodLater(18.0, lambda task: self.talk("Hello, everybody!"), "speech")  # noqa: F821
            taskMgr.doMethodLater(20.0, self.take_picture, "picture")  # noqa: F821
        self.look_around()

    def on_district(self, _):
        self.district_seen = True
        self.look_around()

    def look_around(self):
        """Keeps one interest on the cells around the avatar: Panda3D calls it a handle, and altering it opens and closes
        just what has changed."""
        if self.avatar is None or not self.district_seen:
            return
        zones = zones_around(self.avatar.x, self.avatar.y)
        if zones == self.zones:
            return
        self.zones = zones
        if self.interest is None:
            self.interest = self.addInterest(DISTRICT, zones, "around", event="around")
        else:
            self.alterInterest(self.interest, DISTRICT, zones, event="around")

    def handleObjectLocation(self, di):
        """The server also tells of the moves of our own avatar, which the library looks for among what it sees."""
        here = DatagramIterator(di)
        if here.getUint32() not in self.doId2ownerView:
            AstronClientRepository.handleObjectLocation(self, di)

    def name_of(self, doid):
        view = self.doId2do.get(doid) or self.doId2ownerView.get(doid)
        return getattr(view, "name", "Somebody")

    def saw_come(self, walker):
        say("sees come:", walker.name)

    def saw_leave(self, walker):
        say("sees leave:", walker.name)

    def heard(self, name, text):
        say("hears:", f"{name}: {text}")

    # --- Playing ----------------------------------------------------------------------------------------------------------

    def play(self, task):
        avatar = self.avatar
        if avatar is not None:
            seconds = globalClock.getDt()  # noqa: F821
            move, turn = self.wander(seconds) if options.bot else self.scene.keys()
            h = (avatar.h + turn * TURN_DEGREES_S * seconds + 180) % 360 - 180
            distance = move * SPEED_M_S * seconds
            x = inside(avatar.x - math.sin(math.radians(h)) * distance)
            y = inside(avatar.y + math.cos(math.radians(h)) * distance)
            avatar.place(x, y, h)
            self.send_place()
            self.look_around()
            self.scene.follow(avatar.doId, x, y, h)
        return task.cont

    def send_place(self):
        now = globalClock.getRealTime()  # noqa: F821
        avatar = self.avatar
        place = (round(avatar.x, 1), round(avatar.y, 1), int(avatar.h))
        due = ALIVE_S if place == self.sent else 1 / SENDS_S
        if now - self.sent_at >= due:
            self.sent, self.sent_at = place, now
            # One molecular update instead of three.
            avatar.sendUpdate("setXYH", list(place))

    def talk(self, text):
        if self.avatar is not None and text.strip():
            # The contract counts bytes, and donetd ejects who breaks it.
            text = text.strip().encode()[:120].decode(errors="ignore")
            self.avatar.sendUpdate("say", [text])
            # Nobody gets back what it has sent: show our own words ourselves.
            self.avatar.say(text)

    def wave(self):
        """At whoever is nearest."""
        near = [view for view in self.doId2do.values() if hasattr(view, "setXYH")]
        if near and self.avatar is not None:
            nearest = min(near, key=lambda view: math.dist((view.x, view.y), (self.avatar.x, self.avatar.y)))
            nearest.sendUpdate("wave", [])

    def wander(self, seconds):
        """A bot's keys."""
        avatar = self.avatar
        now = globalClock.getRealTime()  # noqa: F821
        if now > self.talks_at:
            self.talks_at = now + random.uniform(3, 9)
            random.choice((lambda: self.talk(random.choice(LINES)), self.wave))()
        dx, dy = self.goal[0] - avatar.x, self.goal[1] - avatar.y
        if math.hypot(dx, dy) < 1:
            reach = CELLS * 1.5
            self.goal = (random.uniform(-reach, reach), random.uniform(-reach, reach))
        wanted = math.degrees(math.atan2(-dx, dy))
        turn = (wanted - avatar.h + 180) % 360 - 180
        return 0.6, max(-1, min(1, turn / 30))

    def take_picture(self, task):
        base.win.saveScreenshot(options.screenshot)  # noqa: F821
        say("wrote", options.screenshot)
        sys.exit(0)


client = Client()
if options.headless:
    run_headless()
else:
    base.run()  # noqa: F821

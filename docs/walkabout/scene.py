"""How Walkabout looks: a ground of cells, pandas with names, coins, speech bubbles, scores, chat. It knows nothing of
the network: world.py and client.py tell it what there is."""

import math
import random
import textwrap

from direct.gui.DirectGui import DGG, DirectEntry, DirectFrame, DirectLabel
from direct.gui.OnscreenText import OnscreenText
from panda3d.core import (
    AmbientLight,
    CardMaker,
    DirectionalLight,
    Fog,
    Geom,
    GeomNode,
    GeomTriangles,
    GeomVertexData,
    GeomVertexFormat,
    GeomVertexWriter,
    LineSegs,
    NodePath,
    TextNode,
    TransparencyAttrib,
    Vec3,
    Vec4,
)

SKY = Vec4(0.62, 0.80, 0.94, 1)
SEA = Vec4(0.33, 0.56, 0.74, 1)
LIGHT_GRASS, DARK_GRASS = Vec4(0.50, 0.71, 0.38, 1), Vec4(0.40, 0.61, 0.31, 1)
BUBBLE_S = 5.0
# How fast others are drawn towards the place of their last update.
SMOOTHING_S = 0.15


class NoScene:
    """For clients without a window: every call is fine and does nothing."""

    def __getattr__(self, name):
        return lambda *args, **kwargs: (0, 0) if name == "keys" else None


class Scene:
    def __init__(self, client):
        self.client = client
        self.figures = {}
        self.goals = {}
        self.coins = {}
        self.ground = None
        self.entry = None
        self.notices = []
        base.setBackgroundColor(SKY)  # noqa: F821 - Panda3D's builtin, as render and taskMgr
        base.disableMouse()  # noqa: F821
        base.camLens.setFov(60)  # noqa: F821
        base.camera.setPos(0, -18, 12)  # noqa: F821
        base.camera.lookAt(0, 0, 0)  # noqa: F821
        self.font = load_font()
        self._light()
        self._controls()
        style = {"font": self.font, "mayChange": True, "shadow": (0, 0, 0, 0.6), "fg": (1, 1, 1, 1)}
        self.scores = OnscreenText(
            "", parent=base.a2dTopRight, pos=(-0.06, -0.1), align=TextNode.ARight, scale=0.05, **style  # noqa: F821
        )
        self.said = OnscreenText(
            "", parent=base.a2dBottomLeft, pos=(0.05, 0.42), align=TextNode.ALeft, scale=0.045, **style  # noqa: F821
        )
        OnscreenText(
            "arrows or WASD walk   Enter talks   Space waves", parent=base.a2dTopLeft, pos=(0.05, -0.08),  # noqa: F821
            align=TextNode.ALeft, scale=0.042, **style,
        )  # fmt: skip
        self.talk = DirectEntry(
            parent=base.a2dBottomLeft, pos=(0.05, 0, 0.07), scale=0.05, width=30, entryFont=self.font,  # noqa: F821
            frameColor=(1, 1, 1, 0.75), command=self._talked, suppressKeys=1,
        )  # fmt: skip
        self.talk.hide()
        taskMgr.add(self._smooth, "smooth")  # noqa: F821

    # --- The ground -------------------------------------------------------------------------------------------------------

    def build_ground(self, cells, metres):
        if self.ground:
            self.ground.removeNode()
        self.ground = render.attachNewNode("ground")  # noqa: F821
        half = cells * metres / 2
        card = CardMaker("cell")
        card.setFrame(0, metres, 0, metres)
        for row in range(cells):
            for column in range(cells):
                cell = self.ground.attachNewNode(card.generate())
                cell.setP(-90)
                cell.setPos(column * metres - half, row * metres - half, 0)
                cell.setColor(LIGHT_GRASS if (row + column) % 2 else DARK_GRASS)
                cell.setLightOff()
        card.setFrame(-600, 600, -600, 600)
        sea = self.ground.attachNewNode(card.generate())
        sea.setP(-90)
        sea.setZ(-0.4)
        sea.setColor(SEA)
        sea.setLightOff()
        self._plant(half)
        lines = LineSegs("grid")
        lines.setColor(1, 1, 1, 0.35)
        for index in range(cells + 1):
            at = index * metres - half
            lines.moveTo(at, -half, 0.03)
            lines.drawTo(at, half, 0.03)
            lines.moveTo(-half, at, 0.03)
            lines.drawTo(half, at, 0.03)
        grid = self.ground.attachNewNode(lines.create())
        grid.setTransparency(TransparencyAttrib.MAlpha)
        grid.setLightOff()
        self.ground.flattenStrong()

    def _plant(self, half):
        """Trees, for the eye only: every client plants the same ones."""
        chance = random.Random(7)
        for _ in range(60):
            x, y = chance.uniform(-half, half), chance.uniform(-half, half)
            height = chance.uniform(2.5, 4.5)
            green = chance.uniform(0.30, 0.45)
            for colour, radius, size, z in (
                (Vec4(0.42, 0.30, 0.18, 1), 0.25, height / 2, 0),
                (Vec4(0.12, green, 0.16, 1), height / 3.2, height, height / 5),
            ):
                part = cone(radius, size, colour)
                part.reparentTo(self.ground)
                part.setPos(x, y, z)

    # --- Who is there -------------------------------------------------------------------------------------------------------

    def add_walker(self, doid, name, colour, is_own=False):
        self.remove(doid)
        figure = render.attachNewNode(f"walker-{doid}")  # noqa: F821
        panda = loader.loadModel("models/panda-model")  # noqa: F821
        panda.setScale(0.0034)
        panda.setH(180)
        panda.reparentTo(figure)
        tint = Vec4(*(channel / 255 for channel in colour), 1)
        # A disc of the walker's colour on the ground, brighter for our own.
        base_disc = disc(1.3, tint)
        base_disc.reparentTo(figure)
        base_disc.setZ(0.05)
        label = self._label(name, (0.1, 0.12, 0.2, 0.55), (1, 0.95, 0.6, 1) if is_own else (1, 1, 1, 1))
        label.reparentTo(figure)
        label.setZ(3.4)
        self.figures[doid] = figure
        figure.setPythonTag("panda", panda)

    def add_coin(self, doid, x, y):
        coin = disc(0.6, Vec4(1.0, 0.82, 0.15, 1))
        coin.reparentTo(render)  # noqa: F821
        coin.setPos(x, y, 0.8)
        coin.setP(90)
        coin.setTwoSided(True)
        coin.setLightOff()
        coin.hprInterval(2.0, (360, 90, 0), (0, 90, 0)).loop()
        self.figures[doid] = coin

    def remove(self, doid):
        figure = self.figures.pop(doid, None)
        self.goals.pop(doid, None)
        if figure is not None:
            figure.removeNode()

    def clear(self):
        for doid in list(self.figures):
            self.remove(doid)
        self.scores.setText("")

    def move(self, doid, x, y, h, at_once=False):
        self.goals[doid] = (x, y, h)
        if at_once and doid in self.figures:
            self.figures[doid].setPosHpr(x, y, 0, h, 0, 0)

    def follow(self, doid, x, y, h):
        """Puts our own figure at its place, and the camera behind it."""
        figure = self.figures.get(doid)
        if figure is not None:
            self._step(figure, x, y)
            figure.setPosHpr(x, y, figure.getZ(), h, 0, 0)
            self.goals.pop(doid, None)
            angle = math.radians(h)
            base.camera.setPos(x + math.sin(angle) * 20, y - math.cos(angle) * 20, 13)  # noqa: F821
            base.camera.lookAt(x - math.sin(angle) * 4, y + math.cos(angle) * 4, 1)  # noqa: F821

    def _smooth(self, task):
        part = min(1.0, globalClock.getDt() / SMOOTHING_S)  # noqa: F821
        for doid, (x, y, h) in self.goals.items():
            figure = self.figures.get(doid)
            if figure is not None:
                here = figure.getPos()
                goal = Vec3(x, y, 0)
                figure.setPos(here + (goal - here) * part)
                figure.setH(figure.getH() + ((h - figure.getH() + 180) % 360 - 180) * part)
                self._step(figure, x, y)
        return task.cont

    def _step(self, figure, x, y):
        """A panda that walks hops a little."""
        panda = figure.getPythonTag("panda")
        if panda is not None:
            moving = (figure.getPos() - Vec3(x, y, 0)).length() > 0.01
            time = globalClock.getFrameTime()  # noqa: F821
            panda.setZ(abs(math.sin(time * 9)) * 0.18 if moving else 0)
            panda.setR(math.sin(time * 9) * 4 if moving else 0)

    # --- Words --------------------------------------------------------------------------------------------------------------

    def bubble(self, doid, text):
        figure = self.figures.get(doid)
        if figure is None:
            return
        old = figure.find("bubble")
        if old:
            old.removeNode()
        lines = textwrap.wrap(text, 24)
        bubble = self._label("\n".join(lines), (1, 1, 1, 0.92), (0.1, 0.1, 0.15, 1))
        bubble.setName("bubble")
        bubble.reparentTo(figure)
        bubble.setZ(4.7 + 0.65 * (len(lines) - 1))

        def burst(task):
            if bubble:
                bubble.removeNode()
            return task.done

        taskMgr.doMethodLater(BUBBLE_S, burst, "burst")  # noqa: F821
        self.notice(f"{self.client.name_of(doid)}: {text}")

    def wave(self, doid):
        figure = self.figures.get(doid)
        if figure is not None and figure.getPythonTag("panda") is not None:
            panda = figure.getPythonTag("panda")
            panda.hprInterval(0.6, (540, 0, 0), (180, 0, 0)).start()

    def announce(self, text):
        self.notice(f"* {text}")

    def notice(self, text):
        self.notices = [*self.notices, text][-6:]
        self.said.setText("\n".join(self.notices))

    def show_scores(self, scores):
        self.scores.setText("\n".join(["Coins", *(f"{name}   {points}" for name, points in scores)]))

    def _label(self, text, back, front):
        node = TextNode("label")
        node.setText(text)
        node.setFont(self.font)
        node.setAlign(TextNode.ACenter)
        node.setTextColor(*front)
        node.setCardColor(*back)
        node.setCardAsMargin(0.3, 0.3, 0.12, 0.12)
        label = NodePath(node.generate())
        # The text behind its card, in the order they were made, without asking who is nearer.
        label.setBin("fixed", 0)
        label.setDepthWrite(False)
        label.setScale(0.55)
        label.setBillboardPointEye()
        label.setLightOff()
        label.setTransparency(TransparencyAttrib.MAlpha)
        label.setFogOff()
        return label

    # --- Keys ---------------------------------------------------------------------------------------------------------------

    def _controls(self):
        self.held = dict.fromkeys(("forward", "back", "left", "right"), 0)
        names = {
            "arrow_up": "forward", "w": "forward", "arrow_down": "back", "s": "back",
            "arrow_left": "left", "a": "left", "arrow_right": "right", "d": "right",
        }  # fmt: skip
        for key, what in names.items():
            base.accept(key, self.held.__setitem__, [what, 1])  # noqa: F821
            base.accept(key + "-up", self.held.__setitem__, [what, 0])  # noqa: F821
        base.accept("enter", self._begin_talk)  # noqa: F821
        base.accept("space", self.client.wave)  # noqa: F821
        base.accept("escape", base.userExit)  # noqa: F821

    def keys(self):
        """(how fast forwards, how fast to the left), each from -1 to 1."""
        if self.entry is not None or not self.talk.isHidden():
            return 0, 0
        return self.held["forward"] - self.held["back"], self.held["left"] - self.held["right"]

    def _begin_talk(self):
        # The Enter that has just confirmed a name is not meant for this.
        if self.entry is None and self.client.avatar is not None:
            self.talk.show()
            self.talk["focus"] = 1

    def _talked(self, text):
        self.talk.enterText("")
        self.talk["focus"] = 0
        self.talk.hide()
        self.client.talk(text)

    def ask_name(self, chosen, text="Who are you?"):
        frame = DirectFrame(frameColor=(0.1, 0.12, 0.2, 0.8), frameSize=(-0.75, 0.75, -0.28, 0.28))
        DirectLabel(
            parent=frame, text=text, text_font=self.font, text_fg=(1, 1, 1, 1), frameColor=(0, 0, 0, 0),
            scale=0.07, pos=(0, 0, 0.1),
        )  # fmt: skip

        def done(name):
            if name.strip():
                frame.destroy()
                self.entry = None
                chosen(name.strip().encode()[:24].decode(errors="ignore"))

        self.entry = DirectEntry(
            parent=frame, scale=0.07, width=14, pos=(-0.5, 0, -0.1), entryFont=self.font, focus=1, command=done,
            relief=DGG.SUNKEN,
        )  # fmt: skip

    def _light(self):
        ambient = AmbientLight("ambient")
        ambient.setColor((0.55, 0.55, 0.6, 1))
        render.setLight(render.attachNewNode(ambient))  # noqa: F821
        sun = DirectionalLight("sun")
        sun.setColor((0.75, 0.72, 0.62, 1))
        path = render.attachNewNode(sun)  # noqa: F821
        path.setHpr(-40, -55, 0)
        render.setLight(path)  # noqa: F821
        haze = Fog("haze")
        haze.setColor(SKY)
        haze.setLinearRange(30, 90)
        render.setFog(haze)  # noqa: F821


def load_font():
    """A font with more than Latin letters where the system has one."""
    for path in (
        "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
        "/usr/share/fonts/dejavu-sans-fonts/DejaVuSans.ttf",
        "/System/Library/Fonts/Supplemental/Arial Unicode.ttf",
        "C:/Windows/Fonts/arial.ttf",
    ):
        font = loader.loadFont(path, okMissing=True)  # noqa: F821
        if font is not None and font.isValid():
            font.setPixelsPerUnit(64)
            return font
    return TextNode.getDefaultFont()


def disc(radius, colour, corners=24):
    """A flat round, facing up."""
    data = GeomVertexData("disc", GeomVertexFormat.getV3n3(), Geom.UHStatic)
    vertex, normal = GeomVertexWriter(data, "vertex"), GeomVertexWriter(data, "normal")
    vertex.addData3(0, 0, 0)
    normal.addData3(0, 0, 1)
    triangles = GeomTriangles(Geom.UHStatic)
    for index in range(corners):
        angle = index * 2 * math.pi / corners
        vertex.addData3(math.cos(angle) * radius, math.sin(angle) * radius, 0)
        normal.addData3(0, 0, 1)
        triangles.addVertices(0, index + 1, (index + 1) % corners + 1)
    return solid(data, triangles, colour)


def cone(radius, height, colour, corners=9):
    """A cone that stands on the ground."""
    data = GeomVertexData("cone", GeomVertexFormat.getV3n3(), Geom.UHStatic)
    vertex, normal = GeomVertexWriter(data, "vertex"), GeomVertexWriter(data, "normal")
    triangles = GeomTriangles(Geom.UHStatic)
    for index in range(corners):
        begin, end = (step * 2 * math.pi / corners for step in (index, index + 1))
        middle = (begin + end) / 2
        for place in (
            (math.cos(begin) * radius, math.sin(begin) * radius, 0),
            (math.cos(end) * radius, math.sin(end) * radius, 0),
            (0, 0, height),
        ):
            vertex.addData3(*place)
            normal.addData3(math.cos(middle), math.sin(middle), 0.5)
        triangles.addVertices(index * 3, index * 3 + 1, index * 3 + 2)
    return solid(data, triangles, colour)


def solid(data, triangles, colour):
    """Triangles between the corners of `data`, all in one colour."""
    geom = Geom(data)
    geom.addPrimitive(triangles)
    node = GeomNode(data.getName())
    node.addGeom(geom)
    path = NodePath(node)
    path.setColor(colour)
    return path

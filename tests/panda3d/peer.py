"""One participant of a play: an unmodified Panda3D client, or an AI or UberDOG, in a process of its own.

    python peer.py client|ai CONTRACT [CHANNEL [STATE_SERVER]]

Takes orders as lines of JSON on the standard input and reports everything that its library tells it, in order, on the
standard output: {"event": [...]}; the answer to an order is {"answer": n, "value": ...} or {"answer": n, "error": ...}.
Whatever raises outside of an order ends the process, as it would end a game.
"""

import hashlib
import json
import os
import select
import sys
import traceback

# The channel of reports; whatever Panda3D prints goes to the standard error.
REPORTS = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)

from panda3d.core import DatagramIterator, Filename, URLSpec, loadPrcFileData  # noqa: E402
from panda3d.direct import DCFile  # noqa: E402

loadPrcFileData("", os.environ.get("PEER_PRC", "").replace(";", "\n"))
loadPrcFileData("", "audio-library-name null\ngc-save-all 0\nwant-garbage-collect-task 0")

from direct.distributed.DistributedObject import DistributedObject  # noqa: E402
from direct.distributed.DistributedObjectAI import DistributedObjectAI  # noqa: E402
from direct.distributed.DistributedObjectGlobal import DistributedObjectGlobal  # noqa: E402
from direct.distributed.DistributedObjectGlobalAI import DistributedObjectGlobalAI  # noqa: E402
from direct.distributed.DistributedObjectOV import DistributedObjectOV  # noqa: E402
from direct.distributed.PyDatagram import PyDatagram  # noqa: E402
from direct.showbase.ShowBase import ShowBase  # noqa: E402


def plain(value):
    """What JSON can say of a value; long bytes and texts by their length and hash."""
    if isinstance(value, bytes):
        return {"bytes": len(value), "sha": hashlib.sha256(value).hexdigest()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    return repr(value)


def report(message):
    REPORTS.write(json.dumps(message) + "\n")
    REPORTS.flush()


def event(*what):
    report({"event": plain(what)})


class Recorder:
    """What the views have in common: fields are reported as they arrive, and remembered for entries to be packed."""

    VIEW = ""

    def setParentingRules(self, *_):
        pass


def recorder(name):
    def received(self, *args):
        self.__dict__.setdefault("values", {})[name] = list(args)
        sender = self.air.getMsgSender() if isinstance(self, DistributedObjectAI) and self.air else None
        event("field", self.VIEW, self.doId, name, list(args), *([] if sender is None else [sender]))

    return received


def getter(name):
    def value(self):
        args = self.values[name]
        return args[0] if len(args) == 1 else tuple(args)

    return value


class Placed(Recorder):
    """A view that knows where its object is."""

    def announceGenerate(self):
        super().announceGenerate()
        event("entered", self.VIEW, self.doId, self.dclass.getName(), self.parentId, self.zoneId)

    def setLocation(self, parentId, zoneId):
        event("location", self.VIEW, self.doId, parentId, zoneId)
        super().setLocation(parentId, zoneId)


class Seen(Placed):
    """The ordinary view."""

    VIEW = "view"


class Owned(Recorder):
    VIEW = "owner"

    def announceGenerate(self):
        super().announceGenerate()
        event("entered", self.VIEW, self.doId, self.dclass.getName())


class Governed(Placed):
    """The AI's view. What it makes itself is announced too."""

    VIEW = "ai"

    def delete(self):
        event("left", self.VIEW, self.doId)
        super().delete()


def make_classes(contract):
    """The classes that the contract imports from this module: a view of each class, with a method for each field."""
    file = DCFile()
    assert file.read(Filename.fromOsSpecific(contract))
    for index in range(file.getNumClasses()):
        dclass = file.getClass(index)
        if dclass.isStruct():
            continue
        body = {}
        for number in range(dclass.getNumInheritedFields()):
            name = dclass.getInheritedField(number).getName()
            if name != "setParentingRules":
                body[name] = recorder(name)
                if name.startswith("set"):
                    body["get" + name[3:]] = getter(name)
        glob = dclass.getName() == "LoginManager"
        views = {
            "": (Seen, DistributedObjectGlobal if glob else DistributedObject),
            "OV": (Owned, DistributedObjectOV),
            "AI": (Governed, DistributedObjectGlobalAI if glob else DistributedObjectAI),
        }
        for suffix, bases in views.items():
            globals()[dclass.getName() + suffix] = type(dclass.getName() + suffix, bases, dict(body))


class Orders:
    """What every participant can be told."""

    def __init__(self, repository):
        self.repository = repository

    def perform(self, name, args):
        own = getattr(self, "order_" + name, None)
        if own is not None:
            return own(*args)
        # Straight to the library; "@callback" stands for a function whose call is reported.
        return getattr(self.repository, name)(*[self.callback(arg) for arg in args])

    def callback(self, arg):
        if isinstance(arg, str) and arg.startswith("@"):
            return lambda *results: event("callback", arg[1:], *[self.name_of(result) for result in results])
        return arg

    @staticmethod
    def name_of(result):
        return result.getName() if hasattr(result, "getName") else result

    def dclass(self, name):
        return next(dclass for dclass in self.repository.dclassesByNumber.values() if dclass.getName() == name)

    def order_raw(self, hexadecimal):
        datagram = PyDatagram()
        datagram.appendData(bytes.fromhex(hexadecimal))
        self.repository.send(datagram)

    def order_know_uberdog(self, doid, dclass):
        self.repository.generateGlobalObject(doid, dclass)

    def order_blob(self, doid, field, size):
        self.order_update(doid, field, [bytes(index % 251 for index in range(size))])

    def order_burst(self, doid, field, first, count):
        for n in range(first, first + count):
            self.order_update(doid, field, [n])

    def order_sync(self):
        """What the library did with the last message has been reported when this is answered."""


def make_client(contract):
    from panda3d_astron.repository import AstronClientRepository

    class Client(AstronClientRepository):
        heartbeats = 0

        def __init__(self):
            AstronClientRepository.__init__(self, dcFileNames=[contract], connectMethod=self.CM_NET)
            self.GameGlobalsId = 1000
            self.handles = {}
            for name in (
                "CLIENT_HELLO_RESP CLIENT_EJECT CLIENT_OBJECT_LEAVING CLIENT_ADD_INTEREST CLIENT_ADD_INTEREST_MULTIPLE"
                " CLIENT_REMOVE_INTEREST LOST_CONNECTION"
            ).split():
                self.accept(name, lambda *args, name=name: event(name, *args))

        def handleDatagram(self, di):
            # Recorded before the library reacts: the order and the number of each message that came.
            copy = DatagramIterator(di.getDatagram(), di.getCurrentIndex())
            doid = copy.getUint32() if copy.getRemainingSize() >= 4 else None
            event("message", self.getMsgType(), doid, di.getRemainingSize())
            super().handleDatagram(di)

        def sendHeartbeat(self):
            self.heartbeats += 1
            super().sendHeartbeat()

    class ClientOrders(Orders):
        def order_open(self, host, port):
            """Connects, without a hello."""
            url = URLSpec()
            url.setServer(host)
            url.setPort(port)
            self.repository.connect(
                [url],
                successCallback=lambda: event("connected"),
                failureCallback=lambda code, text: event("refused", code, text),
            )

        def order_hello(self, version, contract_hash=None):
            if contract_hash is None:
                return self.repository.sendHello(version)
            datagram = PyDatagram()
            datagram.addUint16(1)
            datagram.addUint32(contract_hash)
            datagram.addString(version)
            self.repository.send(datagram)

        def order_interest(self, name, parent, zones):
            done = f"interest-{name}"
            self.repository.acceptOnce(done, lambda: event("interest", name))
            self.repository.handles[name] = self.repository.addInterest(parent, zones, name, event=done)
            return self.repository.handles[name].asInt()

        def order_alter(self, name, parent, zones):
            done = f"alter-{name}"
            self.repository.acceptOnce(done, lambda: event("interest", name))
            self.repository.alterInterest(self.repository.handles[name], parent, zones, event=done)

        def order_close(self, name):
            done = f"close-{name}"
            self.repository.acceptOnce(done, lambda: event("interest", name))
            self.repository.removeInterest(self.repository.handles[name], event=done)

        def order_update(self, doid, field, args):
            view = self.repository.doId2do.get(doid) or self.repository.doId2ownerView[doid]
            view.sendUpdate(field, args)

        def order_update_unseen(self, dclass, doid, field, args):
            self.repository.send(self.dclass(dclass).clientFormatUpdate(field, doid, args))

        def order_visible(self):
            return sorted(self.repository.doId2do)

        def order_owned(self):
            return sorted(self.repository.doId2ownerView)

        def order_heartbeats(self):
            return self.repository.heartbeats

    return ClientOrders(Client())


def make_ai(contract, channel, state_server):
    from panda3d_astron.repository import AstronInternalRepository

    class AI(AstronInternalRepository):
        # The library asks for it when an object's parent is none of this AI's own.
        GameGlobalsId = 1000

        def __init__(self):
            AstronInternalRepository.__init__(
                self, channel, state_server, dcFileNames=[contract], dcSuffix="AI", connectMethod=self.CM_NET
            )

        def handleConnected(self):
            event("connected")

        def lostConnection(self):
            event("LOST_CONNECTION")

        def handleDatagram(self, di):
            event("message", self.getMsgType(), di.getRemainingSize(), self.getMsgSender())
            super().handleDatagram(di)

    class AIOrders(Orders):
        def order_our_channel(self):
            return self.repository.ourChannel

        def order_open(self, host, port):
            self.repository.connect(host, port)

        def order_generate(self, dclass, doid, parent, zone, values, optional=(), govern=True):
            view = globals()[dclass + "AI"](self.repository)
            view.values = values
            # The number is not one of those that this repository gives out.
            view.doNotDeallocateChannel = True
            view.generateWithRequiredAndId(doid, parent, zone, list(optional))
            if govern:
                view.setAI(self.repository.ourChannel)

        def order_forget(self, doid):
            """Drops the AI's own record, as an AI that has just been started."""
            self.repository.removeDOFromTables(self.repository.doId2do[doid])

        def order_update(self, doid, field, args):
            self.repository.doId2do[doid].sendUpdate(field, args)

        def order_update_unseen(self, dclass, doid, field, args):
            dclass = self.dclass(dclass)
            self.repository.send(dclass.aiFormatUpdate(field, doid, doid, self.repository.ourChannel, args))

        def order_update_to(self, channel, dclass, doid, field, args):
            dclass = self.dclass(dclass)
            self.repository.send(dclass.aiFormatUpdate(field, doid, channel, self.repository.ourChannel, args))

        def order_raw_update(self, doid, field, value):
            """An update whose value is not checked by Panda3D's packer."""
            datagram = PyDatagram()
            datagram.addServerHeader(doid, self.repository.ourChannel, 2020)
            datagram.addUint32(doid)
            number = next(
                dclass.getFieldByName(field).getNumber()
                for dclass in self.repository.dclassesByNumber.values()
                if dclass.getFieldByName(field) is not None
            )
            datagram.addUint16(number)
            datagram.appendData(bytes.fromhex(value))
            self.repository.send(datagram)

        def order_move(self, doid, parent, zone):
            view = self.repository.doId2do[doid]
            self.repository.sendSetLocation(view, parent, zone)

        def order_delete(self, doid):
            self.repository.doId2do[doid].requestDelete()

        def order_delete_on_end(self, doid):
            """A post-remove: when this process is gone, the object goes too."""
            datagram = PyDatagram()
            datagram.addServerHeader(doid, self.repository.ourChannel, 2032)
            datagram.addUint32(doid)
            self.repository.addPostRemove(datagram)

        def order_send(self, channel, message_type, payload):
            """Any message of the cluster; the payload in hexadecimal."""
            datagram = PyDatagram()
            datagram.addServerHeader(channel, self.repository.ourChannel, message_type)
            datagram.appendData(bytes.fromhex(payload))
            self.repository.send(datagram)

        def order_create(self, database, dclass, fields, name):
            self.repository.dbInterface.createObject(database, self.dclass(dclass), fields, self.callback("@" + name))

        def order_query(self, database, doid, dclass, fields, name):
            dclass = self.dclass(dclass) if dclass else None
            self.repository.dbInterface.queryObject(database, doid, self.callback("@" + name), dclass, fields)

        def order_store(self, database, doid, dclass, new, old, name):
            callback = self.callback("@" + name) if old is not None else None
            self.repository.dbInterface.updateObject(database, doid, self.dclass(dclass), new, old, callback)

        def order_activate(self, doid, parent, zone, dclass=None, fields=None):
            dclass = self.dclass(dclass) if dclass else None
            self.repository.sendActivate(doid, parent, zone, dclass, fields)

        def order_set_ai(self, doid):
            self.repository.setAI(doid, self.repository.ourChannel)

    return AIOrders(AI())


def main():
    # The contract's `from peer import` must find this very module, not a second copy of it.
    sys.modules["peer"] = sys.modules["__main__"]
    kind, contract = sys.argv[1:3]
    ShowBase(windowType="none")
    make_classes(contract)
    if kind == "client":
        orders = make_client(contract)
    else:
        orders = make_ai(contract, int(sys.argv[3]), int(sys.argv[4]))
    report({"event": ["ready"]})
    buffer = b""
    while True:
        readable, _, _ = select.select([0], [], [], 0.005)
        if readable:
            chunk = os.read(0, 1 << 16)
            if not chunk:
                os._exit(0)
            buffer += chunk
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                order = json.loads(line)
                try:
                    answer = {"value": plain(orders.perform(order["call"], order["args"]))}
                except Exception:
                    answer = {"error": traceback.format_exc()}
                report({"answer": order["number"], **answer})
        taskMgr.step()  # noqa: F821 - a builtin since ShowBase


if __name__ == "__main__":
    main()

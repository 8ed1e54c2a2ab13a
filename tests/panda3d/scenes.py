"""The scenes that real Panda3D clients play against a daemon, one function each.

    python scenes.py SCENE CONTRACT MESSAGE_DIRECTOR CLIENT_AGENT FOLDER

Ends with 0 when everything that the scene claims held. `tests/panda3d_clients.rs` starts the daemon and this.
"""

import hashlib
import struct
import sys
import time
import traceback

from stage import (
    CLIENTAGENT_DONE_INTEREST_RESP,
    DATABASE,
    DISTRICT,
    DONE_INTEREST,
    ENTER,
    ENTER_OTHER,
    ENTER_OTHER_OWNER,
    ENTER_OWNER,
    LEAVING,
    LEAVING_OWNER,
    LOCATION,
    LOGIN_MANAGER,
    ROOT,
    SET_FIELD,
    SET_FIELDS,
    VERSION,
    Died,
    Stage,
    fields,
    messages,
)

AVATAR = 3000
SIGN = 4000


def login_and_refusals(stage):
    """Login by an anonymous UberDOG; a wrong version, a wrong hash, both; a forbidden message before login."""
    ai = stage.ai()
    stage.world(ai)

    client = stage.client("alice")
    client.call("hello", VERSION)
    client.wait("CLIENT_HELLO_RESP")
    # Some libraries send heartbeats from the very beginning; an anonymous client may.
    client.call("sendHeartbeat")
    client.call("know_uberdog", LOGIN_MANAGER, "LoginManager")
    client.call("update", LOGIN_MANAGER, "login", ["alice", "secret"])
    login = ai.wait("field", "ai", LOGIN_MANAGER, "login", ["alice", "secret"])
    channel = login[5]
    assert 1_000_000 <= channel <= 1_999_999, channel
    # The answer goes to this client's channel alone, and needs no keyword.
    ai.call("update_to", channel, "LoginManager", LOGIN_MANAGER, "loginResponse", [1, "welcome"])
    client.wait("field", "view", LOGIN_MANAGER, "loginResponse", [1, "welcome"])
    ai.call("getNetworkAddress", channel, "@address")
    address = ai.wait("callback", "address")
    assert address[2] == "127.0.0.1" and address[5] == stage.client_agent[1], address
    # Established only now: an interest before is refused.
    ai.call("setClientState", channel, 2)
    ai.call("clientAddInterest", channel, 7, ROOT, 1)
    client.wait("CLIENT_ADD_INTEREST", ..., 7, ROOT, 1)
    client.wait("entered", "view", DISTRICT, "District", ROOT, 1)
    assert fields(client.since()).count(("view", DISTRICT, "setTitle", ["Plaza"])) == 1
    client.wait("message", DONE_INTEREST)
    ai.call("eject", channel, 152, "so it goes")
    client.wait("CLIENT_EJECT", 152, "so it goes")
    client.wait("LOST_CONNECTION")

    for name, hello, code in (
        ("oldversion", ["session-0"], 124),
        ("oldhash", [VERSION, 1], 125),
        ("oldboth", ["session-0", 1], 124),
    ):
        refused = stage.client(name)
        refused.call("hello", *hello)
        eject = refused.wait("CLIENT_EJECT", code)
        assert eject[2], "the reason is said"
        refused.wait("LOST_CONNECTION")
        assert not [report for report in refused.since() if report[0] == "CLIENT_HELLO_RESP"]

    early = stage.client("early")
    early.call("hello", VERSION)
    early.wait("CLIENT_HELLO_RESP")
    early.call("sendAddInterest", 1, 1, ROOT, 1)
    early.wait("CLIENT_EJECT", 108)

    silent = stage.client("silent")
    silent.call("sendHeartbeat")
    silent.wait("CLIENT_EJECT", 107)


def interests(stage):
    """One zone and several, altered, overlapping and closed; entries with and without optional fields; forbidden."""
    ai = stage.ai()
    stage.world(ai)
    for index in range(6):
        # Without anything optional, and with it.
        ai.call("generate", "Sign", SIGN + index, DISTRICT, 10 + index, {"setText": [f"sign {index}"]})
        values = {"setName": [f"avatar {index}"], "setHealth": [500 + index], "setKept": [index]}
        ai.call("generate", "Avatar", AVATAR + index, DISTRICT, 10 + index, values, ["setKept"])
    client = stage.log_in(ai, "alice")

    client.call("interest", "one", DISTRICT, 10)
    client.wait("interest", "one")
    assert messages(client.since()) == messages_of_entry(client, {SIGN: ENTER, AVATAR: ENTER_OTHER})
    assert sorted(fields(client.cut())) == sorted(
        [
            ("view", SIGN, "setText", ["sign 0"]),
            ("view", AVATAR, "setName", ["avatar 0"]),
            ("view", AVATAR, "setHealth", [500]),
            ("view", AVATAR, "setKept", [0]),
        ]
    )

    client.call("interest", "many", DISTRICT, [10, 11, 12])
    client.wait("interest", "many")
    entered = sorted(report[2] for report in client.since() if report[0] == "entered")
    assert entered == [AVATAR + 1, AVATAR + 2, SIGN + 1, SIGN + 2], "what was in view already comes no second time"
    client.cut()

    client.call("alter", "many", DISTRICT, [12, 13])
    client.wait("interest", "many")
    reports = client.cut()
    assert sorted(r[2] for r in reports if r[0] == "entered") == [AVATAR + 3, SIGN + 3]
    left = sorted(r[1] for r in reports if r[0] == "CLIENT_OBJECT_LEAVING")
    assert left == [AVATAR + 1, SIGN + 1], "zone 10 is still open by the other interest"

    client.call("close", "many")
    client.wait("interest", "many")
    left = sorted(r[1] for r in client.cut() if r[0] == "CLIENT_OBJECT_LEAVING")
    assert left == [AVATAR + 2, AVATAR + 3, SIGN + 2, SIGN + 3]
    visible = client.call("visible")
    assert visible == [LOGIN_MANAGER, DISTRICT, AVATAR, SIGN], visible
    # Nothing of a closed zone arrives any more.
    ai.call("update", AVATAR + 2, "toAll", [1])
    ai.call("update", AVATAR, "toAll", [2])
    stage.mark(AVATAR, ai, (client, "view"))
    assert [f[3] for f in fields(client.cut()) if f[2] == "toAll"] == [[2]]

    # An empty zone, and an interest that a server opens and closes.
    client.call("interest", "empty", DISTRICT, 99)
    client.wait("interest", "empty")
    ai.call("client_add_interest_multiple", client.channel, 101, DISTRICT, [14, 15])
    client.wait("CLIENT_ADD_INTEREST_MULTIPLE", ..., 101, DISTRICT)
    for doid in (AVATAR + 4, AVATAR + 5, SIGN + 4, SIGN + 5):
        client.wait("entered", "view", doid)
    ai.wait("message", CLIENTAGENT_DONE_INTEREST_RESP, count=2)
    client.wait("message", DONE_INTEREST, count=2)
    client.cut()
    ai.call("client_remove_interest", client.channel, 101)
    client.wait("CLIENT_REMOVE_INTEREST", ..., 101)
    client.wait("message", DONE_INTEREST)
    assert sorted(r[1] for r in client.cut() if r[0] == "CLIENT_OBJECT_LEAVING") == [3004, 3005, 4004, 4005]

    # A parent that this client does not see: Panda3D itself would refuse to ask.
    client.call("sendAddInterest", 9, 9, 999_999, 1)
    client.wait("CLIENT_EJECT", 115)
    client.wait("LOST_CONNECTION")


def messages_of_entry(client, wanted):
    """The messages of the first completed interest: the entries in the order they came, each of its right kind, and
    then 204."""
    order = [report[2] for report in client.since() if report[0] == "entered"]
    assert sorted(order) == sorted(wanted), order
    return [wanted[doid] for doid in order] + [DONE_INTEREST]


def ownership(stage):
    """Owner view beside the ordinary one, in the reference's order; 172 or 173; what an owner may do; the loss of it."""
    ai = stage.ai()
    stage.world(ai)
    alice = stage.log_in(ai, "alice")
    bob = stage.log_in(ai, "bob")
    values = {"setName": ["Alice"], "setHealth": [900], "setGold": [77], "setInventory": [[(1, 2), (3, 4)]]}
    ai.call("generate", "Avatar", AVATAR, DISTRICT, 10, values, ["setGold", "setInventory"])
    ai.call("generate", "Sign", SIGN, DISTRICT, 10, {"setText": ["mine"]})
    for client in (alice, bob):
        client.call("interest", "one", DISTRICT, 10)
        client.wait("interest", "one")
        # An optional ram value exists, so the entry is `_OTHER`, although none of them is for this receiver.
        assert messages(client.since(), AVATAR) == [ENTER_OTHER]
        assert messages(client.since(), SIGN) == [ENTER]
        assert not [f for f in fields(client.cut()) if f[2] in ("setGold", "setInventory")]

    # No session object: the ordinary view and the owner view stand beside each other.
    ai.call("setOwner", AVATAR, alice.channel)
    alice.wait("entered", "owner", AVATAR)
    reports = alice.cut()
    assert messages(reports, AVATAR) == [ENTER_OTHER_OWNER]
    assert sorted(fields(reports)) == sorted(
        ("owner", AVATAR, name, args)
        for name, args in {
            "setName": ["Alice"], "setHealth": [900], "setGold": [77], "setInventory": [[[1, 2], [3, 4]]],
        }.items()
    ), reports  # fmt: skip
    ai.call("setOwner", SIGN, alice.channel)
    alice.wait("entered", "owner", SIGN)
    assert messages(alice.cut(), SIGN) == [ENTER_OWNER]
    assert alice.call("owned") == [AVATAR, SIGN]

    # An owner may send `ownsend`; a molecular update arrives as one, and its parts are kept.
    alice.call("update", AVATAR, "setXY", [1.5, -2.5])
    alice.call("update", AVATAR, "mark", [1])
    bob.wait("field", "view", AVATAR, "mark", [1])
    reports = bob.cut()
    assert messages(reports, AVATAR) == [SET_FIELD, SET_FIELD]
    assert fields(reports)[0] == ("view", AVATAR, "setXY", [1.5, -2.5])
    ai.call("getObject", AVATAR, "@object")
    stored = ai.wait("callback", "object")
    assert stored[2:6] == [AVATAR, DISTRICT, 10, "Avatar"], stored
    assert stored[6]["setX"] == [1.5] and stored[6]["setY"] == [-2.5], stored
    # No echo: the mark alone came back to nobody.
    stage.mark(AVATAR, ai, (alice, "view"), (alice, "owner"))
    assert not [f for f in fields(alice.cut()) if f[2] in ("setX", "setY", "setXY") or f[3] == [1]]

    # A later client gets them as optional fields. Order of the two views: an owned object whose zone is opened later.
    carol = stage.log_in(ai, "carol")
    ai.call("setOwner", AVATAR, carol.channel)
    carol.wait("entered", "owner", AVATAR)
    carol.call("interest", "one", DISTRICT, 10)
    carol.wait("interest", "one")
    reports = carol.cut()
    assert messages(reports, AVATAR) == [ENTER_OTHER_OWNER, ENTER_OTHER]
    assert ("view", AVATAR, "setX", [1.5]) in fields(reports)
    # Alice is told by 161, unless the daemon is configured for libraries that do not know it.
    stage.mark(AVATAR, ai, (alice, "view"))
    assert LEAVING_OWNER not in messages(alice.cut()), "leaving_owner = false"
    alice.call("update", AVATAR, "setX", [3.0])
    alice.wait("CLIENT_EJECT", 118)

    # The owner's channel of a deleted object that is no session object: 132, and no 161 either.
    ai.call("delete", AVATAR)
    carol.wait("CLIENT_OBJECT_LEAVING", AVATAR)
    owned = carol.call("owned")
    assert owned == [AVATAR], "without 161 the library keeps its owner view; the game drops it"
    assert LEAVING_OWNER not in messages(carol.cut())


def leaving_owner_kills(stage):
    """With `leaving_owner = true`, the reference's behaviour, these clients die of message 161."""
    ai = stage.ai()
    stage.world(ai)
    alice = stage.log_in(ai, "alice")
    ai.call("generate", "Sign", SIGN, DISTRICT, 10, {"setText": ["mine"]})
    ai.call("setOwner", SIGN, alice.channel)
    alice.wait("entered", "owner", SIGN)
    ai.call("setOwner", SIGN, 0)
    try:
        alice.wait("never")
    except Died:
        pass
    assert messages(alice.cut(), SIGN) == [ENTER_OWNER, LEAVING_OWNER]
    with open(alice.log_path) as log:
        assert "Received unknown message type: 161" in log.read()


def keywords_decoded_in_c(stage):
    """As `keywords`, with Panda3D's own decoder, which hands an update to the views that the keywords name."""
    keywords(stage, in_c=True)


def keywords(stage, in_c=False):
    """Who receives what, and who must not; who may send what; what is kept."""
    prc = "deferred-generate-interval 0" if in_c else ""
    ai = stage.ai()
    stage.world(ai)
    other_ai = stage.ai("other_ai", 600_000)
    owner, watcher, far = (stage.log_in(ai, name, prc=prc) for name in ("owner", "watcher", "far"))
    ai.call("generate", "Avatar", AVATAR, DISTRICT, 10, {"setName": ["O"], "setHealth": [1]})
    ai.call("generate", "Avatar", AVATAR + 1, DISTRICT, 11, {"setName": ["F"], "setHealth": [1]})
    ai.call("setOwner", AVATAR, owner.channel)
    owner.wait("entered", "owner", AVATAR)
    for client, zone in ((owner, 10), (watcher, 10), (far, 11)):
        client.call("interest", "zone", DISTRICT, zone)
        client.wait("interest", "zone")
        client.cut()
    ai.cut()

    def heard(sender, field, *, by, args=(5,)):
        """`field` arrives at these and at nobody else."""
        for peer in (owner, watcher, far, ai, other_ai):
            peer.cut()
        sender.call("update", AVATAR, field, list(args))
        everyone = {"owner view": (owner, "owner"), "owner": (owner, "view"), "watcher": (watcher, "view"), "ai": (ai, "ai")}
        # The sender itself hears nothing.
        skip = {owner: {"owner view", "owner"}, watcher: {"watcher"}, ai: {"ai"}}.get(sender, set())
        stage.mark(AVATAR, sender, *[peer for name, peer in everyone.items() if name not in skip])
        # Whatever the far ones get must have come by now.
        ai.call("update", AVATAR + 1, "mark", [1])
        far.wait("field", "view", AVATAR + 1, "mark", [1])
        found = set()
        for name, (peer, view) in everyone.items():
            count = fields(peer.since(), view).count((view, AVATAR, field, list(args)))
            assert count <= 1, (name, count)
            if count == 1:
                found.add(name)
        assert found == set(by), (field, found)
        assert not [f for f in fields(far.since()) if f[1] == AVATAR] and not fields(other_ai.since())

    # Panda3D's Python hands an update to both views of an owner: one message, two reports. Its C++ goes by `ownrecv`.
    heard(ai, "toAll", by=["owner", "watcher"] if in_c else ["owner", "owner view", "watcher"])
    heard(ai, "toOwner", by=["owner", "owner view"])
    heard(ai, "toNobody", by=[])
    heard(ai, "toAddressed", by=[])
    heard(ai, "setKept", by=["owner", "watcher"] if in_c else ["owner", "owner view", "watcher"])
    heard(owner, "byOwner", by=["ai"])
    heard(owner, "byClients", by=["ai"])
    heard(watcher, "byClients", by=["ai"])
    heard(owner, "setX", by=["watcher"], args=(7.5,))
    # Of somebody else's AI: its updates reach the AI that governs the object.
    other_ai.call("update_unseen", "Avatar", AVATAR, "toAI", [6])
    received = ai.wait("field", "ai", AVATAR, "toAI", [6])
    assert received[5] == other_ai.channel
    # `clrecv`: by address only, whatever the location.
    ai.call("update_to", watcher.channel, "Avatar", AVATAR, "toAddressed", [8])
    watcher.wait("field", "view", AVATAR, "toAddressed", [8])
    # To a session that does not know the object: nothing, and nobody dies.
    ai.call("update_to", far.channel, "Avatar", AVATAR, "toAddressed", [8])

    # What is kept, a newcomer gets; what is not, it does not.
    late = stage.log_in(ai, "late", prc=prc)
    late.call("interest", "zone", DISTRICT, 10)
    late.wait("interest", "zone")
    assert sorted(f[2] for f in fields(late.cut()) if f[1] == AVATAR) == ["setHealth", "setKept", "setName", "setX"]

    # The order of entries and of what follows: many updates, in order, each once, to all who see it.
    for peer in (owner, watcher):
        peer.cut()
    ai.call("burst", AVATAR, "toAll", 1000, 200)
    stage.mark(AVATAR, ai, (owner, "view"), (watcher, "view"))
    for peer in (owner, watcher):
        assert [f[3][0] for f in fields(peer.cut(), "view") if f[2] == "toAll"] == list(range(1000, 1200))

    # Not for this sender: a stranger's `ownsend`, and a field that no client may send. Each costs the connection.
    watcher.call("update", AVATAR, "byOwner", [1])
    watcher.wait("CLIENT_EJECT", 118)
    late.call("update", AVATAR, "setHealth", [1])
    late.wait("CLIENT_EJECT", 118)
    # An object that this client has never seen.
    far.call("update_unseen", "Avatar", AVATAR, "byClients", [1])
    far.wait("CLIENT_EJECT", 117)
    # Unless the AI has granted it: then it passes.
    ai.call("send", owner.channel, 1014, struct.pack("<IH", AVATAR, 1).hex() + field_number(stage, "toAll"))
    stage.reach(ai, owner)
    owner.call("update", AVATAR, "toAll", [77])
    ai.call("update", AVATAR, "toOwner", [1])
    owner.wait("field", "owner", AVATAR, "toOwner", [1])
    assert not [report for report in owner.since() if report[0] == "CLIENT_EJECT"]


def field_number(stage, name):
    """The number of a field of Avatar, as a uint16 in hexadecimal."""
    from panda3d.core import Filename
    from panda3d.direct import DCFile

    file = DCFile()
    text = open(stage.contract).read()
    plain = stage.folder + "/numbers.dc"
    with open(plain, "w") as out:
        out.write("\n".join(line for line in text.splitlines() if not line.startswith("from ")))
    assert file.read(Filename.fromOsSpecific(plain))
    return struct.pack("<H", file.getClassByName("Avatar").getFieldByName(name).getNumber()).hex()


def big_and_wrong_values(stage):
    """60,000 bytes in both directions; what no longer fits inside; a value out of range from a client and from an AI."""
    ai = stage.ai()
    stage.world(ai)
    alice, bob = stage.log_in(ai, "alice"), stage.log_in(ai, "bob")
    ai.call("generate", "Avatar", AVATAR, DISTRICT, 10, {"setName": ["O"], "setHealth": [1]})
    for client in (alice, bob):
        client.call("interest", "zone", DISTRICT, 10)
        client.wait("interest", "zone")
    data = bytes(index % 251 for index in range(60_000))
    expected = {"bytes": 60_000, "sha": hashlib.sha256(data).hexdigest()}
    alice.call("blob", AVATAR, "setBlob", 60_000)
    bob.wait("field", "view", AVATAR, "setBlob", [expected])
    ai.wait("field", "ai", AVATAR, "setBlob", [expected])
    ai.call("blob", AVATAR, "setBlob", 60_000)
    alice.wait("field", "view", AVATAR, "setBlob", [expected])

    # Out of range, from the AI: refused, and everything goes on.
    ai.call("update", AVATAR, "setLevel", [3])
    ai.call("raw_update", AVATAR, "setLevel", "0a")
    ai.call("raw_update", AVATAR, "setHealth", struct.pack("<H", 1001).hex())
    ai.call("raw_update", AVATAR, "setName", "0100" + "ff")
    ai.call("raw_update", AVATAR, "setBlob", "0500" + "00")
    stage.mark(AVATAR, ai, (alice, "view"), (bob, "view"))
    assert [f[3] for f in fields(bob.since()) if f[2] in ("setLevel", "setHealth", "setName") and f[1] == AVATAR] == [
        ["O"], [1], [3],
    ]  # fmt: skip
    ai.call("getObject", AVATAR, "@object")
    values = ai.wait("callback", "object")[6]
    assert values["setLevel"] == [3] and values["setHealth"] == [1] and values["setName"] == ["O"], values

    # What fits a client's datagram and not that of the cluster, whose header is longer.
    alice.call("blob", AVATAR, "setBlob", 65_519)
    alice.wait("CLIENT_EJECT", 106)
    # Out of range, from a client.
    bob.call("raw", (struct.pack("<HI", SET_FIELD, AVATAR)).hex() + field_number(stage, "byClients") + "0000")
    bob.wait("CLIENT_EJECT", 109)


def moves_and_deletion(stage):
    """Zone moves seen from inside, across and outside; deletion; the duplicate of an object; unknown messages."""
    ai = stage.ai()
    stage.world(ai)
    both, one = stage.log_in(ai, "both"), stage.log_in(ai, "one")
    ai.call("generate", "Avatar", AVATAR, DISTRICT, 10, {"setName": ["O"], "setHealth": [1]})
    both.call("interest", "zones", DISTRICT, [10, 11])
    one.call("interest", "zone", DISTRICT, 10)
    both.wait("interest", "zones")
    one.wait("interest", "zone")
    both.cut(), one.cut()

    ai.call("move", AVATAR, DISTRICT, 11)
    both.wait("location", "view", AVATAR, DISTRICT, 11)
    one.wait("CLIENT_OBJECT_LEAVING", AVATAR)
    assert messages(both.cut(), AVATAR) == [LOCATION]
    assert messages(one.cut(), AVATAR) == [LEAVING]
    ai.call("getLocation", AVATAR, "@where")
    assert ai.wait("callback", "where")[2:] == [AVATAR, DISTRICT, 11]
    # An update to what has just left is forgiven.
    one.call("update_unseen", "Avatar", AVATAR, "byClients", [1])
    ai.call("move", AVATAR, DISTRICT, 10)
    one.wait("entered", "view", AVATAR, "Avatar", DISTRICT, 10)
    both.wait("location", "view", AVATAR, DISTRICT, 10)
    assert messages(one.cut(), AVATAR) == [ENTER]
    # 200 moves, each seen once by the one, in and out by the other.
    both.cut()
    for turn in range(100):
        ai.call("move", AVATAR, DISTRICT, 11)
        ai.call("move", AVATAR, DISTRICT, 10)
    stage.mark(AVATAR, ai, (both, "view"), (one, "view"))
    assert [r[4] for r in both.cut() if r[0] == "location"] == [11, 10] * 100
    assert messages(one.cut(), AVATAR) == [LEAVING, ENTER] * 100 + [SET_FIELD]

    # A second CREATE of the same number is refused with a warning; the object stays as it is.
    other = stage.ai("other", 600_000)
    other.call("generate", "Avatar", AVATAR, DISTRICT, 12, {"setName": ["twin"], "setHealth": [9]}, [], False)
    # Types that nobody knows, to an object, to a session, to the state server.
    for channel in (AVATAR, both.channel, 102_000, 103_000):
        other.call("send", channel, 19_999, "00")
        other.call("send", channel, CLIENTAGENT_DONE_INTEREST_RESP, struct.pack("<QH", 1, 2).hex())
    other.call("getObject", AVATAR, "@object")
    assert other.wait("callback", "object")[4] == 10
    # Messages of a game's own (the library's NetMessenger: any type from 20000 on) are relayed untouched.
    other.call("registerForChannel", 20_005)
    other.call("getLocation", AVATAR, "@subscribed")
    other.wait("callback", "subscribed")
    ai.call("send", 20_005, 20_005, "0102")
    other.wait("message", 20_005, 2, ai.channel)
    # 2021 is split by the state server: single updates, never 121.
    other.call(
        "send", AVATAR, 2021,
        struct.pack("<IH", AVATAR, 2).hex()
        + field_number(stage, "toAll") + struct.pack("<I", 41).hex()
        + field_number(stage, "setKept") + struct.pack("<I", 42).hex(),
    )  # fmt: skip
    both.wait("field", "view", AVATAR, "setKept", [42])
    reports = both.cut()
    assert messages(reports, AVATAR) == [SET_FIELD, SET_FIELD], messages(reports)
    assert [f[2:] for f in fields(reports)] == [("toAll", [41]), ("setKept", [42])]

    ai.call("delete", AVATAR)
    for client in (both, one):
        client.wait("CLIENT_OBJECT_LEAVING", AVATAR)
        assert AVATAR not in client.call("visible")
    ai.wait("left", "ai", AVATAR)

    # Sent straight to a session, 2021 does become 121, and this library dies of it.
    ai.call("generate", "Sign", SIGN, DISTRICT, 10, {"setText": ["x"]})
    both.wait("entered", "view", SIGN)
    ai.call("send", both.channel, 2021, struct.pack("<IH", SIGN, 0).hex())
    try:
        both.wait("never")
    except Died:
        pass
    assert messages(both.since(), SIGN)[-1] == SET_FIELDS


def endings(stage):
    """Session objects and post-removes of clients and AIs that vanish; a client that is killed."""
    ai = stage.ai()
    stage.world(ai)
    watcher, victim = stage.log_in(ai, "watcher"), stage.log_in(ai, "victim")
    watcher.call("interest", "zone", DISTRICT, [10, 11, 12])
    watcher.wait("interest", "zone")
    for index in range(4):
        ai.call("generate", "Avatar", AVATAR + index, DISTRICT, 10, {"setName": [str(index)], "setHealth": [1]})
    ai.call("setOwner", AVATAR, victim.channel)
    victim.wait("entered", "owner", AVATAR)
    ai.call("clientAddSessionObject", victim.channel, AVATAR)
    # A post-remove of the session: the second avatar goes too.
    inner = struct.pack("<BQQHI", 1, AVATAR + 1, ai.channel, 2032, AVATAR + 1)
    ai.call("send", victim.channel, 1110, struct.pack("<H", len(inner)).hex() + inner.hex())
    stage.reach(ai, victim)
    # An owned session object has no ordinary view.
    victim.call("interest", "zone", DISTRICT, 10)
    victim.wait("interest", "zone")
    assert AVATAR not in victim.call("visible") and AVATAR + 1 in victim.call("visible")
    watcher.wait("entered", "view", AVATAR + 3)
    watcher.cut()
    victim.kill()
    watcher.wait("CLIENT_OBJECT_LEAVING", AVATAR)
    watcher.wait("CLIENT_OBJECT_LEAVING", AVATAR + 1)
    assert sorted(r[1] for r in watcher.cut() if r[0] == "CLIENT_OBJECT_LEAVING") == [AVATAR, AVATAR + 1]

    # A second AI dies: what it governs goes (the post-remove that its library registers), and its own post-remove fires.
    helper = stage.ai("helper", 600_000)
    helper.call("generate", "Sign", SIGN, DISTRICT, 11, {"setText": ["of the helper"]})
    watcher.wait("entered", "view", SIGN)
    helper.call("delete_on_end", AVATAR + 2)
    helper.call("getLocation", AVATAR + 2, "@there")
    helper.wait("callback", "there")
    helper.kill()
    watcher.wait("CLIENT_OBJECT_LEAVING", SIGN)
    watcher.wait("CLIENT_OBJECT_LEAVING", AVATAR + 2)
    assert watcher.call("visible") == [LOGIN_MANAGER, DISTRICT, AVATAR + 3]

    # The owned session object is deleted by the AI: the client is told why it goes.
    unlucky = stage.log_in(ai, "unlucky")
    ai.call("generate", "Avatar", AVATAR, DISTRICT, 10, {"setName": ["again"], "setHealth": [1]})
    ai.call("setOwner", AVATAR, unlucky.channel)
    unlucky.wait("entered", "owner", AVATAR)
    ai.call("clientAddSessionObject", unlucky.channel, AVATAR)
    ai.call("delete", AVATAR)
    unlucky.wait("CLIENT_EJECT", 153)
    unlucky.wait("LOST_CONNECTION")


# From 0.1 s after `startHeartbeat` on, every datagram that a client of this library receives provokes one.
EAGER = "heartbeat-interval 0.1"


def heartbeats(stage):
    """A silent client is ejected with 345. One that answers every datagram with a heartbeat, as this library does, is
    not; nor does anything of it reach anybody."""
    ai = stage.ai()
    stage.world(ai)
    # Both send heartbeats from the connection on: a slow machine costs nobody the login.
    busy = stage.log_in(ai, "busy", prc=EAGER, heartbeats=True)
    ai.call("generate", "Avatar", AVATAR, DISTRICT, 10, {"setName": ["O"], "setHealth": [1]})
    busy.call("interest", "zone", DISTRICT, 10)
    busy.wait("interest", "zone")
    silent = stage.log_in(ai, "silent", prc=EAGER, heartbeats=True)
    before = busy.call("heartbeats")
    ai.cut()
    silent.call("stopHeartbeat")
    rounds = 0
    # Past the silent one's end, whatever this machine's speed.
    while rounds < 2 or not [report for report in silent.since() if report[0] == "CLIENT_EJECT"]:
        rounds += 1
        ai.call("burst", AVATAR, "toAll", 0, 50)
        stage.mark(AVATAR, ai, (busy, "view"))
        if not silent.ended:
            silent._take(time.monotonic() + 0.2)
    silent.wait("CLIENT_EJECT", 345)
    silent.wait("LOST_CONNECTION")
    stage.mark(AVATAR, ai, (busy, "view"))
    sent = busy.call("heartbeats") - before
    received = len(messages(busy.since(), AVATAR))
    assert sent > 50, (sent, received)
    assert not [report for report in busy.since() if report[0] in ("CLIENT_EJECT", "LOST_CONNECTION")]
    assert not [r for r in ai.since() if r[0] == "message" and r[1] != 2041], "heartbeats stay at the client agent"


def heartbeats_under_a_limit(stage):
    """With one message a second allowed, ten at once: a heartbeat for each datagram received is no abuse. As many other
    messages are."""
    ai = stage.ai()
    stage.world(ai)
    busy = stage.log_in(ai, "busy", prc=EAGER, heartbeats=True)
    flood = stage.log_in(ai, "flood")
    ai.call("generate", "Avatar", AVATAR, DISTRICT, 10, {"setName": ["O"], "setHealth": [1]})
    for client in (busy, flood):
        client.call("interest", "zone", DISTRICT, 10)
        client.wait("interest", "zone")
    before = busy.call("heartbeats")
    while busy.call("heartbeats") - before < 300:
        ai.call("burst", AVATAR, "toAll", 0, 50)
        stage.mark(AVATAR, ai, (busy, "view"))
    # Thousands of them: however slowly they come, they are more than one a second.
    for turn in range(100):
        flood.call("burst", AVATAR, "byClients", turn * 100, 100)
        if [report for report in flood.since() if report[0] == "CLIENT_EJECT"]:
            break
    flood.wait("CLIENT_EJECT", 1)
    # The heartbeats did not use up what the client may send.
    busy.call("update", AVATAR, "byClients", [999_999])
    ai.wait("field", "ai", AVATAR, "byClients", [999_999])
    assert not [report for report in busy.since() if report[0] in ("CLIENT_EJECT", "LOST_CONNECTION")]


def database(stage):
    """Create, query, update, compare-and-set; a stored object is made live, changes, and keeps it."""
    ai = stage.ai()
    stage.world(ai)
    alice = stage.log_in(ai, "alice")
    fields_of_alice = {"setName": ["Alice"], "setHealth": [800], "setGold": [5], "setInventory": [[[1, 2]]]}
    ai.call("create", DATABASE, "Avatar", fields_of_alice, "created")
    doid = ai.wait("callback", "created")[2]
    assert 100_000_000 <= doid <= 199_999_999, doid
    ai.call("query", DATABASE, doid, None, [], "all")
    assert ai.wait("callback", "all")[2:] == ["Avatar", {**fields_of_alice, "setInventory": [[[1, 2]]]}]
    ai.call("query", DATABASE, doid, "Avatar", ["setGold", "setName"], "some")
    assert ai.wait("callback", "some")[2:] == ["Avatar", {"setGold": [5], "setName": ["Alice"]}]
    ai.call("query", DATABASE, doid, "Avatar", ["setGold"], "one")
    assert ai.wait("callback", "one")[2:] == ["Avatar", {"setGold": [5]}]
    ai.call("query", DATABASE, 199_999_999, None, [], "none")
    assert ai.wait("callback", "none")[2:] == [None, None]

    ai.call("store", DATABASE, doid, "Avatar", {"setGold": [6]}, None, "")
    ai.call("store", DATABASE, doid, "Avatar", {"setGold": [7], "setHealth": [700]}, None, "")
    ai.call("store", DATABASE, doid, "Avatar", {"setGold": [8]}, {"setGold": [7]}, "equal")
    assert ai.wait("callback", "equal")[2:] == [None]
    ai.call("store", DATABASE, doid, "Avatar", {"setGold": [9]}, {"setGold": [7]}, "unequal")
    assert ai.wait("callback", "unequal")[2:] == [{"setGold": [8]}]
    pair = {"setGold": [10], "setHealth": [10]}
    ai.call("store", DATABASE, doid, "Avatar", pair, {"setGold": [8], "setHealth": [1]}, "half")
    assert ai.wait("callback", "half")[2:] == [{"setGold": [8], "setHealth": [700]}]
    ai.call("store", DATABASE, doid, "Avatar", pair, {"setGold": [8], "setHealth": [700]}, "both")
    assert ai.wait("callback", "both")[2:] == [None]

    # Live, with what is stored; governed by the AI of its parent, as any child.
    ai.call("getActivated", doid, "@before")
    assert ai.wait("callback", "before")[2:] == [doid, 0]
    alice.call("interest", "zone", DISTRICT, 20)
    alice.wait("interest", "zone")
    alice.cut()
    ai.call("activate", doid, DISTRICT, 20)
    alice.wait("entered", "view", doid, "Avatar", DISTRICT, 20)
    ai.wait("entered", "ai", doid, "Avatar", DISTRICT, 20)
    ai.call("getActivated", doid, "@after")
    assert ai.wait("callback", "after")[2:] == [doid, 1]
    assert sorted(fields(alice.cut())) == [("view", doid, "setHealth", [10]), ("view", doid, "setName", ["Alice"])]
    mine = {f[2]: f[3] for f in fields(ai.since(), "ai") if f[1] == doid}
    assert mine == {"setName": ["Alice"], "setHealth": [10], "setGold": [10], "setInventory": [[[1, 2]]]}, mine
    # The owner sees its own secrets.
    ai.call("setOwner", doid, alice.channel)
    alice.wait("entered", "owner", doid)
    assert ("owner", doid, "setGold", [10]) in fields(alice.cut())
    # A change of a `db` field of a live object is stored.
    ai.call("update_unseen", "Avatar", doid, "setName", ["Alicia"])
    alice.wait("field", "view", doid, "setName", ["Alicia"])
    ai.call("query", DATABASE, doid, "Avatar", ["setName"], "renamed")
    assert ai.wait("callback", "renamed")[2:] == ["Avatar", {"setName": ["Alicia"]}]
    # Gone from the world, still in the database, and back with more than what is stored.
    ai.call("delete", doid)
    alice.wait("CLIENT_OBJECT_LEAVING", doid)
    ai.wait("left", "ai", doid)
    ai.cut()
    alice.cut()
    ai.call("activate", doid, DISTRICT, 20, "Avatar", {"setKept": [99]})
    alice.wait("entered", "view", doid, "Avatar", DISTRICT, 20)
    alice.wait("field", "view", doid, "setKept", [99])
    assert ("view", doid, "setName", ["Alicia"]) in fields(alice.since())


def text(stage, valid=("Zoë", "日本語", "🐼"), accepts_invalid=False):
    """Text as Panda3D packs it, from clients, to clients, into the database and back."""
    ai = stage.ai()
    stage.world(ai)
    alice, bob = stage.log_in(ai, "alice"), stage.log_in(ai, "bob")
    ai.call("generate", "Sign", SIGN, DISTRICT, 10, {"setText": ["plain"]})
    for client in (alice, bob):
        client.call("interest", "zone", DISTRICT, 10)
        client.wait("interest", "zone")
    for word in valid:
        ai.call("update", SIGN, "setText", [word])
        alice.wait("field", "view", SIGN, "setText", [word])
        alice.call("update", LOGIN_MANAGER, "login", [word, "x"])
        ai.wait("field", "ai", LOGIN_MANAGER, "login", [word, "x"])
        ai.call("create", DATABASE, "Avatar", {"setName": [word]}, "made " + word)
        doid = ai.wait("callback", "made " + word)[2]
        assert doid, word
        ai.call("query", DATABASE, doid, "Avatar", ["setName"], "read " + word)
        assert ai.wait("callback", "read " + word)[2:] == ["Avatar", {"setName": [word]}]
    # A Latin-1 byte, which is no UTF-8: Panda3D's packer would not make it. From an AI it is refused or kept, and
    # nobody dies; from a client it costs the connection or passes.
    ai.call("raw_update", SIGN, "setText", "0400" + b"Zo\xeb!".hex())
    ai.call("update", SIGN, "note", [1])
    number_of_login = field_number_of(stage, "LoginManager", "login")
    if accepts_invalid:
        # The client gets the very bytes. Its Python view cannot make text of them; what it does then is its own affair.
        alice.wait("message", SET_FIELD, SIGN, 4 + 2 + 2 + 4)
        return
    alice.wait("field", "view", SIGN, "note", [1])
    assert [f[3] for f in fields(alice.since()) if f[2] == "setText"] == [["plain"]] + [[word] for word in valid]
    bad = struct.pack("<HI", SET_FIELD, LOGIN_MANAGER).hex() + number_of_login
    bob.call("raw", bad + "0400" + b"Zo\xeb!".hex() + "0100" + b"x".hex())
    bob.wait("CLIENT_EJECT", 127)


def text_utf8(stage):
    text(stage)


def text_bytes(stage):
    text(stage, accepts_invalid=True)


def text_ascii(stage):
    """The reference's rule: 7 bits. A client that sends more is ejected; an AI is refused; the daemon lives."""
    text(stage, valid=("plain ASCII, 7 bits",))
    ai = stage.peers[0]
    alice = next(peer for peer in stage.peers if peer.name == "alice")
    ai.call("update", SIGN, "setText", ["Zoë"])
    ai.call("update", SIGN, "note", [2])
    alice.wait("field", "view", SIGN, "note", [2])
    assert ["Zoë"] not in [f[3] for f in fields(alice.since())]
    ai.call("create", DATABASE, "Avatar", {"setName": ["Zoë"]}, "refused")
    assert ai.wait("callback", "refused")[2] == 0
    alice.call("update", LOGIN_MANAGER, "login", ["Zoë", "x"])
    alice.wait("CLIENT_EJECT", 127)


def field_number_of(stage, dclass, name):
    from panda3d.core import Filename
    from panda3d.direct import DCFile

    field_number(stage, "toAll")
    file = DCFile()
    assert file.read(Filename.fromOsSpecific(stage.folder + "/numbers.dc"))
    return struct.pack("<H", file.getClassByName(dclass).getFieldByName(name).getNumber()).hex()


def main():
    scene, contract, message_director, client_agent, folder = sys.argv[1:]
    stage = Stage(contract, message_director, client_agent, folder)
    try:
        globals()[scene](stage)
    except BaseException:
        traceback.print_exc()
        for peer in stage.peers:
            print(f"--- {peer.name}: last reports", *peer.reports[-15:], sep="\n  ", file=sys.stderr)
            with open(peer.log_path) as log:
                print(f"--- {peer.name}: its log ends so\n" + log.read()[-3000:], file=sys.stderr)
        sys.exit(1)
    finally:
        stage.close()


if __name__ == "__main__":
    main()

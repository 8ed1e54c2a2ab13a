//! Whatever arrives on the two ports costs at most the connection that it arrives on
//! (`protocol-md-ca-el.md` §2.7, §3.4, §3.14). Before, between and after, one AI and one client must be served as if
//! nothing had happened.

use donet::wire::{Encoder, MessageType, message_type as t};
use donet_perf::Failure;
use donet_perf::client::Client;
use donet_perf::contract::Names;
use donet_perf::daemon::{Daemon, EXAMPLE_DC, Setup, numbers};
use donet_perf::internal::Internal;
use donet_perf::message::{Message, Payload, client_frame, internal_frame};
use donet_perf::peer::Hub;
use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

const AI: u64 = 3_000_000;
const STRANGER: u64 = 3_000_009;
const MARKER: MessageType = MessageType(40_000);
const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon with two executors, and the AI and the client that must not be disturbed.
struct Stage {
    // Before the setup, whose folder it uses.
    daemon: Daemon,
    setup: Setup,
    hub: Hub,
    names: Names,
    ai: Internal,
    client: Client,
    next: Cell<u32>,
}

impl Stage {
    fn open() -> Result<Self, Failure> {
        let setup = Setup::new(2)?;
        let daemon = setup.start(Path::new(env!("CARGO_BIN_EXE_donetd")))?;
        let hub = Hub::new(PATIENCE)?;
        let names = Names::parse("example.dc", EXAMPLE_DC)?;
        let ai = Internal::connect(&hub, "the good AI", daemon.address("message_director")?, AI)?;
        ai.subscribe(numbers::LOGIN_MANAGER.into());
        let client = Client::connect(&hub, "the good client", daemon.address("client_agent")?)?;
        client.hello(names.hash(), numbers::VERSION)?;
        let stage = Self { daemon, setup, hub, names, ai, client, next: Cell::new(1) };
        stage.prove_link(&stage.ai)?;
        stage.prove_undisturbed()?;
        Ok(stage)
    }

    fn number(&self) -> u32 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }

    /// The link is served: the database answers it, and nothing else has come.
    fn prove_link(&self, link: &Internal) -> Result<(), Failure> {
        let context = self.number();
        link.publish(&[numbers::DATABASE], t::DBSERVER_OBJECT_GET_ALL, &Payload::new().u32(context).u32(999));
        let answer = Payload::new().u32(context).u8(0);
        let answer = Message::internal(&[link.channel()], numbers::DATABASE, t::DBSERVER_OBJECT_GET_ALL_RESP, &answer);
        link.expect_message("the database's answer", &answer)
    }

    /// From the client to the AI and back; nothing else has come to either.
    fn prove_undisturbed(&self) -> Result<(), Failure> {
        let number = self.number();
        let login = self.names.field("LoginManager", "login")?;
        let value = Payload::new().blob(number.to_string().as_bytes()).blob(b"");
        self.client.set_field(numbers::LOGIN_MANAGER, login.0, &value);
        let request = Payload::new().u32(numbers::LOGIN_MANAGER).u16(login.0).bytes(&value);
        let received = self.ai.expect("the client's request", |message| message.payload() == request.as_bytes())?;
        let frame = client_frame(MARKER, &Payload::new().u32(number));
        let nested = Payload::new().blob(&frame[2..]);
        self.ai.publish(&[received.sender()], t::CLIENTAGENT_SEND_DATAGRAM, &nested);
        self.client.expect_message("the AI's answer", &Message::client(MARKER, &Payload::new().u32(number)))
    }

    fn link(&self, name: &str) -> Result<Internal, Failure> {
        Internal::connect(&self.hub, name, self.daemon.address("message_director")?, STRANGER)
    }

    fn new_client(&self, name: &str) -> Result<Client, Failure> {
        Client::connect(&self.hub, name, self.daemon.address("client_agent")?)
    }

    /// The daemon has lived through all of it, and ends as it should.
    fn close(self) -> Result<(), Failure> {
        self.prove_link(&self.ai)?;
        self.prove_undisturbed()?;
        self.daemon.stop()?;
        let log = std::fs::read_to_string(self.setup.log_path())?;
        let panics: Vec<&str> = log.lines().filter(|line| line.contains("panicked")).collect();
        assert!(panics.is_empty(), "contained, but still a fault: {panics:#?}");
        Ok(())
    }
}

fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = u16::try_from(body.len()).unwrap().to_le_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

fn control(message_type: MessageType, payload: &[u8]) -> Vec<u8> {
    Encoder::control(message_type).bytes(payload).finish().unwrap().to_vec()
}

/// Bytes of a fixed seed (xorshift): the same garbage in every run.
struct Garbage(u64);

impl Garbage {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let count = self.next() as usize % most + 1;
        (0..count).map(|_| self.next() as u8).collect()
    }
}

#[test]
fn on_the_message_director() -> Result<(), Failure> {
    let stage = Stage::open()?;
    let to_control_alone = [&[1_u8][..], &1_u64.to_le_bytes()].concat();
    let cut_recipients = [&[2_u8][..], &7_u64.to_le_bytes(), &[1, 2, 3]].concat();
    let nested_too_long = Payload::new().u64(1).u16(500).bytes(&[0; 20]);
    let costs_the_link: [(&str, Vec<u8>); 8] = [
        ("an empty frame", frame(&[])),
        ("an empty frame, and one that never ends", [frame(&[]), vec![255, 255, 1]].concat()),
        ("one recipient, cut short", frame(&[1, 9, 9])),
        ("only a count", frame(&[1])),
        ("a control message without a type", frame(&to_control_alone)),
        ("a control message with half a type", frame(&[&to_control_alone[..], &[40]].concat())),
        ("a subscription without a channel", control(t::CONTROL_ADD_CHANNEL, &[1, 2])),
        ("a post-remove longer than its frame", control(t::CONTROL_ADD_POST_REMOVE, &nested_too_long)),
    ];
    for (what, bytes) in costs_the_link {
        let link = stage.link(what)?;
        stage.prove_link(&link)?;
        link.send(&bytes);
        link.expect_end("the end of its connection")?;
        stage.prove_undisturbed()?;
    }

    let everybody: Vec<u64> = (0..255).map(|index| 5_000_000 + index).collect();
    let is_tolerated: [(&str, Vec<u8>); 7] = [
        ("several recipients, cut short", frame(&cut_recipients)),
        ("no recipients", internal_frame(&[], 1, t::STATESERVER_OBJECT_SET_FIELD, &[])),
        ("recipients and no more", frame(&[&[1_u8][..], &5_000_000_u64.to_le_bytes()].concat())),
        ("an unknown control message", control(MessageType(9999), &[1; 100])),
        ("an inverted range", control(t::CONTROL_ADD_RANGE, &Payload::new().u64(9).u64(3))),
        ("the largest frame there is", {
            let room = usize::from(u16::MAX) - (1 + 255 * 8 + 8 + 2);
            internal_frame(&everybody, 1, MessageType(60_000), &vec![0xa5; room])
        }),
        (
            "requests to the roles that end early",
            [t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED, t::DBSERVER_CREATE_OBJECT, t::DBSERVER_OBJECT_SET_FIELDS]
                .into_iter()
                .flat_map(|message_type| {
                    let both = [numbers::STATE_SERVER, numbers::DATABASE];
                    internal_frame(&both, 0, message_type, &[1, 2, 3])
                })
                .collect(),
        ),
    ];
    for (what, bytes) in is_tolerated {
        let link = stage.link(what)?;
        link.send(&bytes);
        stage.prove_link(&link)?;
        stage.prove_undisturbed()?;
    }

    let link = stage.link("half a frame, then the end")?;
    link.send(&[255, 255, 1, 2, 3]);
    link.finish();
    link.expect_end("the end of its connection")?;
    let link = stage.link("half a frame, then a reset")?;
    stage.prove_link(&link)?;
    link.send(&[255, 255, 1, 2, 3]);
    link.flush()?;
    link.reset();
    stage.prove_undisturbed()?;

    let mut garbage = Garbage(0x9e37_79b9_7f4a_7c15);
    for round in 0..100 {
        let link = stage.link("random bytes")?;
        for _ in 0..4 {
            link.send(&garbage.bytes(2_000));
            // Well framed garbage gets further than the framing.
            link.send(&frame(&garbage.bytes(60)));
        }
        link.finish();
        link.until_end("the end of its connection")?;
        if round % 10 == 0 {
            stage.prove_undisturbed()?;
        }
    }
    stage.close()
}

#[test]
fn on_the_client_agent() -> Result<(), Failure> {
    let stage = Stage::open()?;
    let login = stage.names.field("LoginManager", "login")?;
    let hash = stage.names.hash();
    let hello = Payload::new().u32(hash).blob(numbers::VERSION.as_bytes());
    let set = |doid: u32, field: u16, value: &[u8]| {
        client_frame(t::CLIENT_OBJECT_SET_FIELD, &Payload::new().u32(doid).u16(field).bytes(value))
    };
    let set_login = |value: &[u8]| set(numbers::LOGIN_MANAGER, login.0, value);

    let instead_of_hello: [(&str, Vec<u8>, u16); 9] = [
        ("an empty frame", frame(&[]), 109),
        ("one byte", frame(&[1]), 109),
        ("a heartbeat", client_frame(t::CLIENT_HEARTBEAT, &[]), 107),
        ("a goodbye", client_frame(t::CLIENT_DISCONNECT, &[]), 107),
        ("an unknown message", client_frame(MessageType(65_535), &[0; 30]), 107),
        ("half a hello", client_frame(t::CLIENT_HELLO, &hello[..5]), 109),
        (
            "a hello with a version longer than its frame",
            client_frame(t::CLIENT_HELLO, &[0, 0, 0, 0, 255, 255, 1]),
            109,
        ),
        ("a hello and more", client_frame(t::CLIENT_HELLO, &hello.clone().u8(0)), 106),
        ("the largest frame there is", frame(&[0xff; 65_535]), 107),
    ];
    for (what, bytes, code) in instead_of_hello {
        let client = stage.new_client(what)?;
        client.send(&bytes);
        client.expect_eject(code)?;
        stage.prove_undisturbed()?;
    }

    let texts = |account: &[u8], token: &[u8]| Payload::new().blob(account).blob(token);
    let after_hello: [(&str, Vec<u8>, u16); 14] = [
        ("an empty frame", frame(&[]), 109),
        ("one byte", frame(&[120]), 109),
        ("a second hello", client_frame(t::CLIENT_HELLO, &hello), 108),
        ("an unknown message", client_frame(MessageType(999), &[1, 2, 3]), 108),
        ("what only the server says", client_frame(t::CLIENT_EJECT, &[1, 0, 0, 0]), 108),
        ("what only an established client may", client_frame(t::CLIENT_REMOVE_INTEREST, &[0; 6]), 108),
        ("an update without an object", client_frame(t::CLIENT_OBJECT_SET_FIELD, &[1, 2]), 109),
        ("an update of an unknown object", set(7_777_777, login.0, &texts(b"", b"")), 117),
        ("a field of another class", set_login_field(u16::MAX), 118),
        ("a value that ends early", set_login(&[5, 0, b'a']), 109),
        ("a value longer than its frame", set_login(&[255, 255, 1]), 109),
        ("a value and more", set_login(&texts(b"a", b"b").u8(0)), 106),
        ("text that is none", set_login(&texts(b"\xff\xfe", b"b")), 127),
        ("an update too large to pass on", set_login(&texts(&[b'a'; 40_000], &[b'b'; 25_523])), 106),
    ];
    for (what, bytes, code) in after_hello {
        let client = stage.new_client(what)?;
        client.hello(hash, numbers::VERSION)?;
        client.send(&bytes);
        // Behind the fault, in the same burst, a good message: nobody may get it.
        client.send(&set_login(&texts(b"too", b"late")));
        client.expect_eject(code)?;
        stage.prove_undisturbed()?;
    }

    for says_hello in [false, true] {
        let client = stage.new_client("half a frame, then the end")?;
        if says_hello {
            client.hello(hash, numbers::VERSION)?;
        }
        client.send(&[200, 0, 120]);
        client.finish();
        client.expect_end("the end of its connection, without an eject")?;
        let client = stage.new_client("half a frame, then a reset")?;
        if says_hello {
            client.hello(hash, numbers::VERSION)?;
        }
        client.send(&[200, 0, 120]);
        client.flush()?;
        client.reset();
        stage.prove_undisturbed()?;
    }

    let mut garbage = Garbage(0x0123_4567_89ab_cdef);
    for round in 0..100 {
        let client = stage.new_client("random bytes")?;
        let says_hello = round % 2 == 1;
        if says_hello {
            client.hello(hash, numbers::VERSION)?;
        }
        client.send(&frame(&garbage.bytes(60)));
        client.send(&garbage.bytes(2_000));
        client.finish();
        let (said, _) = client.until_end("the end of its connection")?;
        let is_one_eject = said.len() == 1 && said[0].is(t::CLIENT_EJECT);
        assert!(is_one_eject, "random bytes were answered with {said:?}");
        if round % 10 == 0 {
            stage.prove_undisturbed()?;
        }
    }
    stage.close()
}

/// An update of a field that the class does not have.
fn set_login_field(field: u16) -> Vec<u8> {
    client_frame(t::CLIENT_OBJECT_SET_FIELD, &Payload::new().u32(numbers::LOGIN_MANAGER).u16(field))
}

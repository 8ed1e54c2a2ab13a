//! Every eject code that the Client Agent has of its own, and one that an AI passes through, each over TCP: the code,
//! a reason, the end of the stream in order, and nothing behind it (`protocol-md-ca-el.md` §3.14, CA-13, CA-51).

use donet::wire::{Channel, Doid, MessageType, message_type as t};
use donet_perf::Failure;
use donet_perf::client::Client;
use donet_perf::contract::Names;
use donet_perf::daemon::{Daemon, EXAMPLE_DC, Setup, numbers};
use donet_perf::internal::Internal;
use donet_perf::message::Payload;
use donet_perf::peer::Hub;
use std::path::Path;
use std::time::Duration;

const AI: Channel = 3_000_000;
const PATIENCE: Duration = Duration::from_secs(60);
const AVATAR: Doid = 7000;

struct Stage {
    daemon: Daemon,
    _setup: Setup,
    hub: Hub,
    names: Names,
    ai: Internal,
}

impl Stage {
    fn open(shards: usize, change: impl FnOnce(&mut Setup)) -> Result<Self, Failure> {
        let mut setup = Setup::new(shards)?;
        change(&mut setup);
        let daemon = setup.start(Path::new(env!("CARGO_BIN_EXE_donetd")))?;
        let hub = Hub::new(PATIENCE)?;
        let names = Names::parse("example.dc", EXAMPLE_DC)?;
        let ai = Internal::connect(&hub, "the AI", daemon.address("message_director")?, AI)?;
        ai.subscribe(numbers::LOGIN_MANAGER.into());
        // Clients speak on connections of their own, and may be faster than this one.
        let prober = Internal::connect(&hub, "a prober", daemon.address("message_director")?, AI + 1)?;
        prober.until_heard(&ai, numbers::LOGIN_MANAGER.into())?;
        Ok(Self { daemon, _setup: setup, hub, names, ai })
    }

    fn connect(&self) -> Result<Client, Failure> {
        Client::connect(&self.hub, "a client", self.daemon.address("client_agent")?)
    }

    fn anonymous(&self) -> Result<Client, Failure> {
        let client = self.connect()?;
        client.hello(self.names.hash(), numbers::VERSION)?;
        Ok(client)
    }

    /// The channel of a client, by a request of it.
    fn channel_of(&self, client: &Client) -> Result<Channel, Failure> {
        let login = self.names.field("LoginManager", "login")?;
        client.set_field(numbers::LOGIN_MANAGER, login.0, &Payload::new().blob(b"me").blob(b"secret"));
        Ok(self.ai.next("the login")?.sender())
    }

    fn tell(&self, channel: Channel, message_type: MessageType, payload: &Payload) {
        self.ai.publish(&[channel], message_type, payload);
    }

    /// An established client that knows one declared avatar, and its channel.
    fn established(&self) -> Result<(Client, Channel), Failure> {
        let client = self.anonymous()?;
        let channel = self.channel_of(&client)?;
        let class = self.names.class("Avatar")?;
        self.tell(channel, t::CLIENTAGENT_DECLARE_OBJECT, &Payload::new().u32(AVATAR).u16(class));
        self.tell(channel, t::CLIENTAGENT_SET_STATE, &Payload::new().u16(2));
        // A frame of the AI's comes behind both: the client says nothing before they are in force.
        self.tell(channel, t::CLIENTAGENT_SEND_DATAGRAM, &Payload::new().blob(&[0x40, 0x9C]));
        client.next("the AI's mark")?;
        Ok((client, channel))
    }

    fn avatar_field(&self, name: &str) -> Result<u16, Failure> {
        Ok(self.names.field("Avatar", name)?.0)
    }
}

fn play(shards: usize) -> Result<(), Failure> {
    let stage = Stage::open(shards, |_| ())?;
    let hash = stage.names.hash();

    let client = stage.connect()?;
    client.heartbeat();
    client.expect_eject(107)?;
    let client = stage.connect()?;
    client.say_hello(hash, "another version");
    client.expect_eject(124)?;
    let client = stage.connect()?;
    client.say_hello(hash ^ 1, numbers::VERSION);
    client.expect_eject(125)?;
    let client = stage.anonymous()?;
    client.tell(MessageType(9999), &[]);
    client.expect_eject(108)?;
    let client = stage.anonymous()?;
    client.send(&[1, 0, 5]);
    client.expect_eject(109)?;
    let client = stage.anonymous()?;
    client.tell(t::CLIENT_HEARTBEAT, &[1]);
    client.expect_eject(106)?;

    let client = stage.anonymous()?;
    let channel = stage.channel_of(&client)?;
    let class = stage.names.class("Avatar")?;
    stage.tell(channel, t::CLIENTAGENT_DECLARE_OBJECT, &Payload::new().u32(AVATAR).u16(class));
    stage.tell(channel, t::CLIENTAGENT_SEND_DATAGRAM, &Payload::new().blob(&[0x40, 0x9C]));
    client.next("the AI's mark")?;
    let emote = stage.avatar_field("emote")?;
    client.set_field(AVATAR, emote, &[1]);
    client.expect_eject(113)?;

    let (client, _) = stage.established()?;
    client.add_interest(1, 1, 4_000_000, &[1]);
    client.expect_eject(115)?;
    let (client, _) = stage.established()?;
    client.set_field(AVATAR + 1, emote, &[1]);
    client.expect_eject(117)?;
    let (client, _) = stage.established()?;
    client.set_field(AVATAR, stage.avatar_field("setX")?, &[1, 0]);
    client.expect_eject(118)?;
    let (client, _) = stage.established()?;
    client.remove_interest(1, 77);
    client.expect_eject(1)?;
    // A value that its range does not hold: the login's field has none, so an AI grants one that has.
    let (client, channel) = stage.established()?;
    let health = stage.avatar_field("setHealth")?;
    let grant = Payload::new().u32(AVATAR).u16(1).u16(health);
    stage.tell(channel, t::CLIENTAGENT_SET_FIELDS_SENDABLE, &grant);
    stage.tell(channel, t::CLIENTAGENT_SEND_DATAGRAM, &Payload::new().blob(&[0x40, 0x9C]));
    client.next("the AI's mark")?;
    client.set_field(AVATAR, health, &1001_u16.to_le_bytes());
    client.expect_eject(127)?;

    // An owned session object is deleted under its client.
    let (client, channel) = stage.established()?;
    stage.tell(channel, t::CLIENTAGENT_ADD_SESSION_OBJECT, &Payload::new().u32(AVATAR));
    stage.tell(channel, t::STATESERVER_OBJECT_DELETE_RAM, &Payload::new().u32(AVATAR));
    client.expect_eject(153)?;

    // Passed through, to the letter.
    let (client, channel) = stage.established()?;
    stage.tell(channel, t::CLIENTAGENT_EJECT, &Payload::new().u16(152).blob("a moderator says: enough".as_bytes()));
    assert_eq!(client.expect_eject(152)?, "a moderator says: enough");
    stage.daemon.stop()
}

#[test]
fn each_code_and_one_passed_through_on_one_executor() -> Result<(), Failure> {
    play(1)
}

#[test]
fn each_code_and_one_passed_through_on_four_executors() -> Result<(), Failure> {
    play(4)
}

#[test]
fn relocation_that_is_not_allowed_is_119() -> Result<(), Failure> {
    let stage = Stage::open(2, |setup| setup.replace = vec![("relocate = true", "relocate = false".to_owned())])?;
    let (client, _) = stage.established()?;
    client.set_location(AVATAR, 5000, 1);
    client.expect_eject(119)?;
    stage.daemon.stop()
}

#[test]
fn silence_is_345() -> Result<(), Failure> {
    let with = "relocate = true\nheartbeat_timeout_ms = 3000".to_owned();
    let stage = Stage::open(2, |setup| setup.replace = vec![("relocate = true", with)])?;
    stage.anonymous()?.expect_eject(345)?;
    stage.connect()?.expect_eject(345)?;
    stage.daemon.stop()
}

#[test]
fn an_exhausted_range_is_1() -> Result<(), Failure> {
    let stage = Stage::open(2, |setup| {
        setup.replace = vec![("channel_max = 1999999", "channel_max = 1000001".to_owned())];
    })?;
    let _first = stage.anonymous()?;
    let _second = stage.anonymous()?;
    let reason = stage.connect()?.expect_eject(1)?;
    assert!(reason.contains("no channel is free"), "{reason}");
    stage.daemon.stop()
}

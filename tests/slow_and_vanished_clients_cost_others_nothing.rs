//! Clients that stop reading, and clients whose machine is gone without a word (issue of the Client Agent: "a client that
//! stops reading costs others nothing", half-open connections): the others are told everything, in order; the slow one is
//! dropped at its budget, or still gets the reason of its eject; the vanished are noticed.

#[path = "support/admin.rs"]
mod admin;
mod support;

use donet::wire::{Channel, Doid, Encoder, message_type as t, next_frame};
use donet_perf::client::Client;
use donet_perf::contract::Names;
use donet_perf::daemon::{Daemon, EXAMPLE_DC, Setup, numbers};
use donet_perf::internal::Internal;
use donet_perf::message::{Message, Payload};
use donet_perf::peer::Hub;
use donet_perf::{Failure, wait};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

const AI: Channel = 3_000_000;
const PARENT: Doid = 5000;
const DISTRICT: Doid = 5001;
const ZONE: u32 = 7;
const BUDGET: usize = 64 << 10;
/// Of one update.
const NAME_BYTES: usize = 8000;

struct Stage {
    daemon: Daemon,
    _setup: Setup,
    hub: Hub,
    names: Names,
    ai: Internal,
}

impl Stage {
    fn open(shards: usize, keys: &str) -> Result<Self, Failure> {
        let mut setup = Setup::new(shards)?;
        setup.replace = vec![("relocate = true", format!("relocate = true\n{keys}"))];
        setup.after = "[admin]\nbind = \"127.0.0.1:0\"\n".to_owned();
        let daemon = setup.start(Path::new(env!("CARGO_BIN_EXE_donetd")))?;
        let hub = Hub::new(wait::PATIENCE)?;
        let names = Names::parse("example.dc", EXAMPLE_DC)?;
        let ai = Internal::connect(&hub, "the AI", daemon.address("message_director")?, AI)?;
        ai.subscribe(numbers::LOGIN_MANAGER.into());
        for (doid, parent, zone) in [(PARENT, 0, 0), (DISTRICT, PARENT, ZONE)] {
            let create = Payload::new().u32(doid).u32(parent).u32(zone).u16(names.class("District")?).blob(b"");
            ai.publish(&[numbers::STATE_SERVER], t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED, &create);
        }
        // Answered when its subscriptions are in effect and the objects are there.
        ai.publish(&[DISTRICT.into()], t::STATESERVER_OBJECT_GET_LOCATION, &Payload::new().u32(1));
        ai.expect("where the district is", |message| message.is(t::STATESERVER_OBJECT_GET_LOCATION_RESP))?;
        Ok(Self { daemon, _setup: setup, hub, names, ai })
    }

    fn hello(&self) -> Vec<u8> {
        let hello = Encoder::client(t::CLIENT_HELLO).u32(self.names.hash()).blob(numbers::VERSION.as_bytes());
        hello.finish().expect("fits").to_vec()
    }

    fn login(&self) -> Result<Payload, Failure> {
        let login = self.names.field("LoginManager", "login")?;
        Ok(Payload::new().u32(numbers::LOGIN_MANAGER).u16(login.0).blob(b"me").blob(b""))
    }

    /// Lets the client in that has just logged in, and opens the zone for it. Returns its channel.
    fn let_in(&self) -> Result<Channel, Failure> {
        let session = self.ai.next("the login")?.sender();
        self.ai.publish(&[session], t::CLIENTAGENT_SET_STATE, &Payload::new().u16(2));
        let interest = Payload::new().u16(1).u32(PARENT).u32(ZONE);
        self.ai.publish(&[session], t::CLIENTAGENT_ADD_INTEREST, &interest);
        self.ai.expect("the interest is open", |message| message.is(t::CLIENTAGENT_DONE_INTEREST_RESP))?;
        Ok(session)
    }

    /// A client that reads, with its channel.
    fn reader(&self, name: &str) -> Result<(Client, Channel), Failure> {
        let client = Client::connect(&self.hub, name, self.daemon.address("client_agent")?)?;
        client.hello(self.names.hash(), numbers::VERSION)?;
        client.tell(t::CLIENT_OBJECT_SET_FIELD, &self.login()?);
        let session = self.let_in()?;
        client.until("its interest", |message| message.is(t::CLIENT_DONE_INTEREST_RESP))?;
        Ok((client, session))
    }

    /// A client with a small window that has read what it was told so far, and reads nothing more until it is asked to.
    fn slow(&self) -> Result<(TcpStream, Channel), Failure> {
        let address: SocketAddr = self.daemon.address("client_agent")?;
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        socket.set_recv_buffer_size(4096)?;
        socket.connect(&address.into())?;
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(wait::PATIENCE))?;
        stream.write_all(&self.hello())?;
        let login = Encoder::client(t::CLIENT_OBJECT_SET_FIELD).bytes(&self.login()?);
        stream.write_all(&login.finish().expect("fits"))?;
        Ok((stream, self.let_in()?))
    }

    fn update(&self, number: u32) -> Result<Payload, Failure> {
        let name = self.names.field("District", "name")?;
        let mut value = vec![b'x'; NAME_BYTES];
        value[..10].copy_from_slice(format!("{number:010}").as_bytes());
        Ok(Payload::new().u32(DISTRICT).u16(name.0).blob(&value))
    }

    /// An update that every one of these clients is told of next, and of nothing else.
    fn update_reaches(&self, number: u32, clients: &[&Client]) -> Result<(), Failure> {
        let update = self.update(number)?;
        self.ai.publish(&[DISTRICT.into()], t::STATESERVER_OBJECT_SET_FIELD, &update);
        for client in clients {
            client.expect_message("the update", &Message::client(t::CLIENT_OBJECT_SET_FIELD, &update))?;
        }
        Ok(())
    }

    fn open_sessions(&self) -> Result<u64, Failure> {
        admin::figure(&self.daemon, "donet_sessions_open", "")
    }

    /// How many connections ended for that.
    fn closed_for(&self, reason: &str) -> Result<u64, Failure> {
        admin::figure(&self.daemon, "donet_closed_total", &format!("reason=\"{reason}\""))
    }
}

/// The frames of everything that comes until the end of the stream, which must be one in order.
fn read_to_the_end(stream: &mut TcpStream) -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the end in order");
    let mut frames = Vec::new();
    let mut rest = &bytes[..];
    while let Some((body, length)) = next_frame(rest) {
        frames.push(body.to_vec());
        rest = &rest[length..];
    }
    assert!(rest.is_empty(), "whole frames only");
    frames
}

#[test]
fn who_stops_reading_is_dropped_at_its_budget_and_the_others_miss_nothing() -> Result<(), Failure> {
    for shards in [1, 2, 4] {
        let stage = Stage::open(shards, &format!("write_buffer_size = {BUDGET}\nwrite_timeout_ms = 0"))?;
        let (first, _) = stage.reader("a client")?;
        let (mut slow, _) = stage.slow()?;
        let (second, _) = stage.reader("a later client")?;
        assert_eq!(stage.open_sessions()?, 3);
        // More than the budget and all that the sockets may hold.
        let most = (64 << 20) / NAME_BYTES as u32;
        let mut number = 0;
        while stage.closed_for("write_budget")? == 0 {
            assert!(number < most, "{shards} executors: the slow one is never dropped");
            for _ in 0..20 {
                stage.update_reaches(number, &[&first, &second])?;
                number += 1;
            }
        }
        for _ in 0..20 {
            stage.update_reaches(number, &[&first, &second])?;
            number += 1;
        }
        assert_eq!(stage.open_sessions()?, 2);
        // What was on its way may arrive; then it is over.
        let mut rest = Vec::new();
        let _ = slow.read_to_end(&mut rest);
        assert!(rest.len() < number as usize * NAME_BYTES);
        stage.daemon.stop()?;
    }
    Ok(())
}

#[test]
fn the_reason_of_an_eject_reaches_a_client_that_was_slow_to_read() -> Result<(), Failure> {
    for shards in [1, 4] {
        let keys = format!("write_buffer_size = {}\nwrite_timeout_ms = 0\neject_linger_ms = 120_000", 8 << 20);
        let stage = Stage::open(shards, &keys)?;
        let (reader, _) = stage.reader("a client")?;
        let (mut slow, session) = stage.slow()?;
        const UPDATES: u32 = 600;
        for number in 0..UPDATES {
            stage.update_reaches(number, &[&reader])?;
        }
        stage.ai.publish(&[session], t::CLIENTAGENT_EJECT, &Payload::new().u16(154).blob(b"for its own good"));
        stage.ai.flush()?;
        wait::until("the session's end", || Ok(stage.open_sessions()? == 1))?;
        stage.update_reaches(UPDATES, &[&reader])?;
        // It goes on sending, as if it had not heard.
        slow.write_all(&[2, 0, 5, 0].repeat(1000))?;
        let frames = read_to_the_end(&mut slow);
        let is_update = |frame: &&Vec<u8>| frame[..2] == t::CLIENT_OBJECT_SET_FIELD.0.to_le_bytes();
        let told: Vec<u32> = frames
            .iter()
            .filter(is_update)
            .map(|frame| std::str::from_utf8(&frame[10..20]).expect("digits").parse().expect("a number"))
            .collect();
        assert_eq!(told, (0..UPDATES).collect::<Vec<_>>(), "everything before the eject, in order");
        let eject = Payload::new().u16(t::CLIENT_EJECT.0).u16(154).blob(b"for its own good");
        assert_eq!(frames.last().map(Vec::as_slice), Some(eject.as_bytes()), "the reason is the last thing");
        stage.daemon.stop()?;
    }
    Ok(())
}

/// Connects so many clients, has each say hello and wait for the answer, and takes their sockets away without a word to
/// the other side (TCP_REPAIR), as when their machine is switched off.
const VANISH: &str = "
import socket, sys
host, port, count, hello = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), bytes.fromhex(sys.argv[4])
clients = [socket.create_connection((host, port)) for _ in range(count)]
for client in clients:
    client.sendall(hello)
for client in clients:
    assert len(client.recv(4)) == 4
    client.setsockopt(socket.IPPROTO_TCP, 19, 1)
    client.close()
";

#[test]
fn clients_that_have_vanished_without_a_word_are_noticed_and_cost_others_nothing() -> Result<(), Failure> {
    const TEST: &str = "clients_that_have_vanished_without_a_word_are_noticed_and_cost_others_nothing";
    const COUNT: u64 = 100;
    let stage = Stage::open(2, "heartbeat_timeout_ms = 15000")?;
    let address = stage.daemon.address("client_agent")?;
    let hello: String = stage.hello().iter().map(|byte| format!("{byte:02x}")).collect();
    let arguments = [address.ip().to_string(), address.port().to_string(), COUNT.to_string(), hello];
    let vanished = Command::new("python3").args(["-c", VANISH]).args(arguments).output();
    let Ok(vanished) = vanished.and_then(|output| {
        let is_allowed = !String::from_utf8_lossy(&output.stderr).contains("PermissionError");
        if is_allowed { Ok(output) } else { Err(std::io::ErrorKind::PermissionDenied.into()) }
    }) else {
        support::skip(TEST, "python3 with the right to repair sockets (root)");
        return Ok(());
    };
    assert!(vanished.status.success(), "{}", String::from_utf8_lossy(&vanished.stderr));
    let (reader, _) = stage.reader("a client")?;
    let mut number = 0;
    // Nobody tells the daemon that they are gone: it has to notice by their silence.
    wait::until("the vanished to be noticed", || {
        reader.heartbeat();
        stage.update_reaches(number, &[&reader])?;
        number += 1;
        Ok(stage.closed_for("no_heartbeat")? == COUNT)
    })?;
    wait::until("their sessions' ends", || {
        reader.heartbeat();
        reader.flush()?;
        Ok(stage.open_sessions()? == 1)
    })?;
    stage.daemon.stop()
}

//! What clients see when the upstream link of their daemon was lost and stands again (`upstream_reconnect`): what is there
//! then, whatever happened meanwhile; over sockets, with 1, 2 and 4 executors.

#[path = "support/cluster.rs"]
mod cluster;

use cluster::Node;
use donet::wire::{MessageType, message_type as t};
use donet_perf::client::Client;
use donet_perf::contract::Names;
use donet_perf::daemon::{EXAMPLE_DC, numbers};
use donet_perf::internal::Internal;
use donet_perf::message::{Message, Payload};
use donet_perf::peer::Hub;
use donet_perf::{Failure, wait};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

const STATE_SERVER: u64 = 102_000;
const SESSION: u64 = 1_000_000;
const KEEPER: u64 = 70_000;
const PARENT: u32 = 50_000;

fn root_services(bind: &str) -> String {
    format!(
        "[services.message_director]\nbind = \"{bind}\"\n[services.state_server]\ncontrol_channel = {STATE_SERVER}\n"
    )
}

fn leaf_services(upstream: SocketAddr) -> String {
    format!(
        "[services.message_director]\nbind = \"127.0.0.1:0\"\nupstream = \"{upstream}\"\nupstream_reconnect = true\n\
         [services.client_agent]\nbind = \"127.0.0.1:0\"\nversion_string = \"{}\"\nchannel_min = {SESSION}\n\
         channel_max = 1000999\ninterest_permission = \"enabled\"\n",
        numbers::VERSION
    )
}

/// Moves the bytes of every connection to a server and back, until it is cut: then all of them break, and new ones are
/// ended at once.
struct Wire {
    address: SocketAddr,
    /// None while it is cut.
    connections: Arc<Mutex<Option<Vec<TcpStream>>>>,
}

impl Wire {
    fn to(server: SocketAddr) -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let connections = Arc::new(Mutex::new(Some(Vec::new())));
        let open = connections.clone();
        // Ends with the test's process.
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let mut open = open.lock().expect("nobody panics with it");
                if let (Some(open), Ok(far)) = (open.as_mut(), TcpStream::connect(server)) {
                    for (from, to) in [(&near, &far), (&far, &near)] {
                        let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                        thread::spawn(move || pass_on(from, to));
                    }
                    open.extend([near, far]);
                }
            }
        });
        Ok(Self { address, connections })
    }

    fn cut(&self) {
        let connections = self.connections.lock().expect("nobody panics with it").take();
        for connection in connections.into_iter().flatten() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    fn mend(&self) {
        *self.connections.lock().expect("nobody panics with it") = Some(Vec::new());
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    let mut chunk = [0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        if to.write_all(&chunk[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// What a client has been told; that it could be told so is checked.
#[derive(Default)]
struct View {
    /// By object: its zone and name.
    objects: BTreeMap<u32, (u32, Vec<u8>)>,
    done: BTreeSet<u32>,
}

impl View {
    fn take(&mut self, message: &Message) -> Result<(), Failure> {
        let mut reader = message.reader();
        if message.is(t::CLIENT_DONE_INTEREST_RESP) {
            assert!(self.done.insert(reader.u32()?), "an interest is done once");
            return Ok(());
        }
        let doid = reader.doid()?;
        if message.is(t::CLIENT_ENTER_OBJECT_REQUIRED) {
            let (_parent, zone, _class) = (reader.doid()?, reader.zone()?, reader.u16()?);
            let before = self.objects.insert(doid, (zone, reader.blob()?.to_vec()));
            assert_eq!(before, None, "{doid} is in view already");
        } else if message.is(t::CLIENT_OBJECT_LEAVING) {
            assert!(self.objects.remove(&doid).is_some(), "{doid} is not in view");
        } else if message.is(t::CLIENT_OBJECT_SET_FIELD) {
            reader.u16()?;
            self.objects.get_mut(&doid).expect("in view").1 = reader.blob()?.to_vec();
        } else {
            return Err(Failure::new(format!("the client is told {message}")));
        }
        Ok(())
    }
}

struct Scene {
    hub: Hub,
    class: u16,
    name: u16,
    keeper: Internal,
    client: Client,
    view: View,
}

impl Scene {
    /// A client below, established by a keeper above.
    fn open(root: &Node, leaf: &Node) -> Result<Self, Failure> {
        let contract = Names::parse("example.dc", EXAMPLE_DC)?;
        let hub = Hub::new(wait::PATIENCE)?;
        let keeper = Internal::connect(&hub, "the keeper", root.director(), KEEPER)?;
        let client = Client::connect(&hub, "the client", leaf.daemon.address("client_agent")?)?;
        client.hello(contract.hash(), numbers::VERSION)?;
        let (class, name) = (contract.class("District")?, contract.field("District", "name")?.0);
        let scene = Self { hub, class, name, keeper, client, view: View::default() };
        // The session is heard of above by now or soon.
        let ask = || scene.keeper.publish(&[SESSION], t::CLIENTAGENT_GET_NETWORK_ADDRESS, &Payload::new().u32(1));
        let is_answer = |message: &Message| message.is(t::CLIENTAGENT_GET_NETWORK_ADDRESS_RESP);
        wait::until("the session to answer", || {
            ask();
            scene.keeper.flush()?;
            Ok(scene.keeper.try_next()?.is_some_and(|message| is_answer(&message)))
        })?;
        scene.keeper.publish(&[SESSION], t::CLIENTAGENT_SET_STATE, &Payload::new().u16(2));
        scene.keeper.publish(&[SESSION], t::CLIENTAGENT_GET_TLVS, &Payload::new().u32(2));
        scene.keeper.until("the session's state", |message| message.is(t::CLIENTAGENT_GET_TLVS_RESP))?;
        Ok(scene)
    }

    fn tell(&self, doid: u32, message_type: MessageType, payload: &Payload) {
        self.keeper.publish(&[doid.into()], message_type, payload);
    }

    fn create(&self, doid: u32, place: (u32, u32), name: &[u8]) {
        let payload = Payload::new().u32(doid).u32(place.0).u32(place.1).u16(self.class).blob(name);
        self.keeper.publish(&[STATE_SERVER], t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED, &payload);
    }

    fn rename(&self, doid: u32, name: &[u8]) {
        self.tell(doid, t::STATESERVER_OBJECT_SET_FIELD, &Payload::new().u32(doid).u16(self.name).blob(name));
    }

    /// The State Server has done everything that the keeper has asked of this object.
    fn is_done(&self, doid: u32) -> Result<(), Failure> {
        self.tell(doid, t::STATESERVER_OBJECT_GET_LOCATION, &Payload::new().u32(doid));
        let is_it = |message: &Message| message.is(t::STATESERVER_OBJECT_GET_LOCATION_RESP);
        self.keeper.until("a location", is_it).map(drop)
    }

    /// Waits until the client sees just this.
    fn sees(&mut self, what: &str, objects: &[(u32, u32, &[u8])], done: &[u32]) -> Result<(), Failure> {
        let expected = objects.iter().map(|&(doid, zone, name)| (doid, (zone, name.to_vec()))).collect();
        let done = done.iter().copied().collect();
        while self.view.objects != expected || self.view.done != done {
            let message = self.client.next(what).map_err(|failure| {
                Failure::new(format!("{failure}; in view: {:?}, done: {:?}", self.view.objects, self.view.done))
            })?;
            self.view.take(&message)?;
        }
        Ok(())
    }
}

#[test]
fn what_changed_behind_a_link_that_was_cut_is_seen_when_it_stands_again() -> Result<(), Failure> {
    let [gone, renamed, moved, new, other] = [51_000, 51_001, 51_002, 51_003, 51_004];
    for shards in [1, 2, 4] {
        let root = Node::start(shards, &root_services("127.0.0.1:0"))?;
        let wire = Wire::to(root.director())?;
        let leaf = Node::start(shards, &leaf_services(wire.address))?;
        let mut scene = Scene::open(&root, &leaf)?;
        scene.create(PARENT, (0, 0), b"parent");
        scene.create(gone, (PARENT, 1), b"gone");
        scene.create(renamed, (PARENT, 1), b"as it was");
        scene.create(moved, (PARENT, 2), b"moved");
        scene.is_done(moved)?;
        scene.is_done(renamed)?;
        scene.is_done(gone)?;
        scene.client.add_interest(1, 1, PARENT, &[1, 2]);
        let all: [(u32, u32, &[u8]); 3] = [(gone, 1, b"gone"), (renamed, 1, b"as it was"), (moved, 2, b"moved")];
        scene.sees("the zones", &all, &[1])?;

        for round in 1..=2 {
            wire.cut();
            let is_lost = || Ok(leaf.daemon.log().matches("upstream link lost").count() == round);
            wait::until("the loss of the link", is_lost)?;
            scene.client.add_interest(1 + round as u32, 1 + round as u16, PARENT, &[3 + round as u32]);
            match round {
                1 => {
                    scene.tell(gone, t::STATESERVER_OBJECT_DELETE_RAM, &Payload::new().u32(gone));
                    scene.rename(renamed, b"as it is");
                    scene.tell(moved, t::STATESERVER_OBJECT_SET_LOCATION, &Payload::new().u32(PARENT).u32(9));
                    scene.create(new, (PARENT, 2), b"new");
                    scene.create(other, (PARENT, 4), b"where nobody could ask");
                }
                _ => {
                    scene.create(gone, (PARENT, 1), b"another one");
                    scene.tell(moved, t::STATESERVER_OBJECT_SET_LOCATION, &Payload::new().u32(PARENT).u32(2));
                    scene.tell(new, t::STATESERVER_OBJECT_SET_LOCATION, &Payload::new().u32(PARENT).u32(5));
                }
            }
            for doid in [renamed, moved, new, other] {
                scene.is_done(doid)?;
            }
            wire.mend();
            let elsewhere: &[u8] = b"where nobody could ask";
            match round {
                1 => scene.sees(
                    "what changed",
                    &[(renamed, 1, b"as it is"), (new, 2, b"new"), (other, 4, elsewhere)],
                    &[1, 2],
                )?,
                _ => scene.sees(
                    "what changed again",
                    &[
                        (gone, 1, b"another one"),
                        (renamed, 1, b"as it is"),
                        (moved, 2, b"moved"),
                        (new, 5, b"new"),
                        (other, 4, elsewhere),
                    ],
                    &[1, 2, 3],
                )?,
            }
        }
        // From here on as ever: an update reaches what entered anew, and another keeper's too.
        scene.rename(moved, b"and named");
        let second = Internal::connect(&scene.hub, "another keeper", root.director(), KEEPER + 1)?;
        let end = Payload::new().u32(gone);
        second.publish(&[gone.into()], t::STATESERVER_OBJECT_DELETE_RAM, &end);
        let elsewhere: &[u8] = b"where nobody could ask";
        let rest: [(u32, u32, &[u8]); 4] =
            [(renamed, 1, b"as it is"), (moved, 2, b"and named"), (new, 5, b"new"), (other, 4, elsewhere)];
        scene.sees("the updates", &rest, &[1, 2, 3])?;
        assert!(!leaf.daemon.log().contains("panicked"));
        leaf.daemon.stop()?;
        root.daemon.stop()?;
    }
    Ok(())
}

/// The State Server's daemon is killed and started again: it has no objects until somebody makes them, the parent last.
#[test]
fn what_is_made_anew_by_a_killed_state_server_is_seen_and_the_rest_leaves() -> Result<(), Failure> {
    let [again, gone, new] = [51_000, 51_001, 51_002];
    for shards in [1, 4] {
        let root = Node::start(shards, &root_services("127.77.3.1:0"))?;
        let address = root.director().to_string();
        let leaf = Node::start(shards, &leaf_services(root.director()))?;
        let mut scene = Scene::open(&root, &leaf)?;
        scene.create(PARENT, (0, 0), b"parent");
        scene.create(again, (PARENT, 1), b"first");
        scene.create(gone, (PARENT, 1), b"gone");
        scene.is_done(again)?;
        scene.is_done(gone)?;
        scene.client.add_interest(1, 1, PARENT, &[1]);
        scene.sees("the zone", &[(again, 1, b"first"), (gone, 1, b"gone")], &[1])?;

        root.daemon.kill()?;
        let root = Node::start_again(shards, &root_services(&address))?;
        scene.keeper = Internal::connect(&scene.hub, "the keeper", root.director(), KEEPER)?;
        wait::until("the link", || Ok(leaf.daemon.log().matches("upstream link established").count() >= 2))?;
        scene.create(again, (PARENT, 1), b"second");
        scene.create(new, (PARENT, 1), b"new");
        scene.create(PARENT, (0, 0), b"parent");
        scene.sees("what is there now", &[(again, 1, b"second"), (new, 1, b"new")], &[1])?;
        leaf.daemon.stop()?;
        root.daemon.stop()?;
    }
    Ok(())
}

//! Daemons joined into a tree play as one (`protocol-md-ca-el.md` §2.1, §2.5, §2.8): over real sockets, with 1, 2 and 4
//! executors each.

#[path = "support/cluster.rs"]
mod cluster;

use cluster::Node;
use donet::wire::{Encoder, MessageType, message_type as t};
use donet_perf::daemon::{Setup, numbers};
use donet_perf::internal::Internal;
use donet_perf::message::{Message, Payload};
use donet_perf::peer::Hub;
use donet_perf::session::{Target, run};
use donet_perf::{Failure, wait};
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

const NOTE: MessageType = MessageType(4321);

fn director(upstream: Option<SocketAddr>, more: &str) -> String {
    let upstream = upstream.map_or(String::new(), |upstream| format!("upstream = \"{upstream}\"\n"));
    director_at("127.0.0.1:0", &format!("{upstream}{more}"))
}

fn director_at(bind: &str, more: &str) -> String {
    format!("[services.message_director]\nbind = \"{bind}\"\n{more}")
}

/// Addresses of single tests: a port of theirs that is free for a while is nobody else's.
const ORPHANED: &str = "127.77.0.1:0";
const RETURNING: &str = "127.77.0.2:0";

fn note(number: u32) -> Payload {
    Payload::new().u32(number)
}

#[test]
fn a_message_reaches_every_subscriber_of_the_tree_once() -> Result<(), Failure> {
    for shards in [1, 2, 4] {
        let root = Node::start(shards, &director(None, ""))?;
        let left = Node::start(shards, &director(Some(root.director()), ""))?;
        let right = Node::start(shards, &director(Some(root.director()), ""))?;
        let leaf = Node::start(shards, &director(Some(right.director()), ""))?;
        let hub = Hub::new(wait::PATIENCE)?;
        let nodes = [&root, &left, &right, &leaf];
        let mut links = Vec::new();
        for (number, node) in (0..).zip(nodes) {
            let link = Internal::connect(&hub, &format!("link {number}"), node.director(), 70_000 + number)?;
            link.subscribe(90_000);
            links.push(link);
        }
        for speaker in 0..links.len() {
            for listener in (0..links.len()).filter(|&listener| listener != speaker) {
                links[speaker].until_heard(&links[listener], 70_000 + listener as u64)?;
            }
        }
        for round in 0..50 {
            for speaker in 0..links.len() {
                let number = round * 10 + speaker as u32;
                links[speaker].publish(&[90_000, 90_000], NOTE, &note(number));
                let expected = Message::internal(&[90_000, 90_000], links[speaker].channel(), NOTE, &note(number));
                for (_, link) in links.iter().enumerate().filter(|&(listener, _)| listener != speaker) {
                    link.expect_message("the note, once", &expected)?;
                }
            }
        }
        // Nothing else has come: each answers a question of its own next.
        for (number, link) in links.iter().enumerate() {
            let other = &links[(number + 1) % links.len()];
            other.publish(&[link.channel()], NOTE, &note(9999));
            link.expect_message("the last", &Message::internal(&[link.channel()], other.channel(), NOTE, &note(9999)))?;
        }
        for node in [leaf, left, right, root] {
            node.daemon.stop()?;
        }
    }
    Ok(())
}

#[test]
fn a_whole_session_plays_through_three_daemons() -> Result<(), Failure> {
    for shards in [1, 2, 4] {
        let (state_server, database) = (numbers::STATE_SERVER, numbers::DATABASE);
        let (generate_min, generate_max) = numbers::STORED_DOIDS.into_inner();
        let (channel_min, channel_max) = numbers::CLIENT_CHANNELS.into_inner();
        let world = director(
            None,
            &format!(
                "[services.state_server]\ncontrol_channel = {state_server}\n\
                 [services.database_server]\ncontrol_channel = {database}\n\
                 generate_min = {generate_min}\ngenerate_max = {generate_max}\n\
                 [services.dbss]\ndb_channel = {database}\nrange_min = {generate_min}\nrange_max = {generate_max}\n"
            ),
        );
        let root = Node::start(shards, &world)?;
        let clients = format!(
            "[services.client_agent]\nbind = \"127.0.0.1:0\"\nversion_string = \"{}\"\n\
             channel_min = {channel_min}\nchannel_max = {channel_max}\ninterest_timeout_ms = 20000\n\
             [[uberdogs]]\nid = {}\nclass = \"LoginManager\"\nanonymous = true\n",
            numbers::VERSION,
            numbers::LOGIN_MANAGER
        );
        let agent = Node::start(shards, &director(Some(root.director()), &clients))?;
        let ai = Node::start(shards, &director(Some(root.director()), ""))?;
        let target = Target::Running {
            message_director: ai.director(),
            client_agent: agent.daemon.address("client_agent")?,
            version: numbers::VERSION.to_owned(),
        };
        let report =
            run(&target, &mut |_| {}).map_err(|failure| failure.within(&format!("{shards} executors each")))?;
        assert_eq!(report.steps.len(), 7);
        for node in [agent, ai, root] {
            node.daemon.stop()?;
        }
    }
    Ok(())
}

#[test]
fn md_27_upstream_loss_and_failure_to_connect_end_the_daemon_with_status_1() -> Result<(), Failure> {
    let root = Node::start(2, &director_at(ORPHANED, ""))?;
    let mut leaf = Node::start(2, &director(Some(root.director()), ""))?;
    let address = root.director();
    // It is ready before its link stands.
    leaf.daemon.until_logged("upstream link established")?;
    root.daemon.kill()?;
    assert_eq!(leaf.daemon.wait_for_end(wait::PATIENCE)?.code(), Some(1));
    assert!(leaf.daemon.log().contains("is lost"), "{}", leaf.daemon.log());
    let setup = Setup::new(2)?;
    let mut orphan = Node::spawn(&setup, &director(Some(address), ""))?;
    assert_eq!(orphan.wait_for_end(wait::PATIENCE)?.code(), Some(1));
    let log = std::fs::read_to_string(setup.log_path())?;
    assert!(log.contains("cannot be reached: connection refused; start it first"), "{log}");
    Ok(())
}

#[test]
fn with_upstream_reconnect_a_daemon_starts_alone_and_outlives_its_upstream() -> Result<(), Failure> {
    for shards in [1, 2, 4] {
        // An address of ours that is free again.
        let root = Node::start(shards, &director_at(RETURNING, ""))?;
        let address = root.director();
        root.daemon.kill()?;
        let leaf = Node::start(shards, &director(Some(address), "upstream_reconnect = true\n"))?;
        let hub = Hub::new(wait::PATIENCE)?;
        let link = Internal::connect(&hub, "the link", leaf.director(), 70_000)?;
        for _ in 0..3 {
            let root = Node::start_again(shards, &director_at(&address.to_string(), ""))?;
            let asker = Internal::connect(&hub, "the asker", address, 80_000)?;
            asker.until_heard(&link, 70_000)?;
            link.publish(&[80_000], NOTE, &note(2));
            asker.until("what goes up", |message| message.payload() == note(2).as_bytes())?;
            root.daemon.kill()?;
        }
        leaf.daemon.stop()?;
    }
    Ok(())
}

/// A frame from a raw stream, with its length.
fn frame(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).expect("a frame");
    let mut frame = length.to_vec();
    frame.resize(2 + usize::from(u16::from_le_bytes(length)), 0);
    stream.read_exact(&mut frame[2..]).expect("its body");
    frame
}

#[test]
fn md_28_what_comes_before_the_upstream_link_stands_is_sent_when_it_does() -> Result<(), Failure> {
    for shards in [1, 2, 4] {
        // Somebody who connects and is not accepted fills the queue: the daemon's attempt is not answered for as long.
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        listener.listen(0)?;
        let listener = TcpListener::from(listener);
        let address = listener.local_addr()?;
        let first = TcpStream::connect(address)?;
        let leaf = Node::start(shards, &director(Some(address), ""))?;
        let hub = Hub::new(wait::PATIENCE)?;
        let link = Internal::connect(&hub, "the link", leaf.director(), 70_000)?;
        let numbers: Vec<u32> = (0..100).collect();
        for &number in &numbers {
            link.publish(&[80_000], NOTE, &note(number));
        }
        // All of it has been routed by now.
        let neighbour = Internal::connect(&hub, "its neighbour", leaf.director(), 70_001)?;
        link.until_heard(&neighbour, 70_001)?;
        assert!(!leaf.daemon.log().contains("upstream link established"), "{}", leaf.daemon.log());
        drop(first);
        listener.accept()?;
        let (mut upstream, _) = listener.accept()?;
        upstream.set_read_timeout(Some(wait::PATIENCE))?;
        let is_note = |frame: &Vec<u8>| frame[3..11] == 80_000_u64.to_le_bytes();
        let mut frames = std::iter::repeat_with(|| frame(&mut upstream));
        let of_link = Encoder::control(t::CONTROL_ADD_CHANNEL).channel(70_000).finish().unwrap();
        assert!(frames.by_ref().take_while(|frame| !is_note(frame)).any(|frame| of_link == frame));
        for number in numbers {
            let expected = Encoder::internal(&[80_000], 70_000, NOTE).u32(number).finish().unwrap();
            assert_eq!(frames.find(is_note), Some(expected.to_vec()));
        }
        // Garbage from upstream costs itself: unreadable bodies are dropped, what follows is delivered.
        upstream.write_all(&[0, 0, 1, 0, 1, 3, 0, 2, 0, 0, 5, 0, 1, 2, 3, 4, 5])?;
        upstream.write_all(&Encoder::internal(&[70_000], 5, NOTE).u32(7).finish().unwrap())?;
        link.expect_message("the good one", &Message::internal(&[70_000], 5, NOTE, &note(7)))?;
        leaf.daemon.stop()?;
    }
    Ok(())
}

#[test]
fn ten_thousand_subscriptions_and_a_flapping_upstream() -> Result<(), Failure> {
    const COUNT: u64 = 10_000;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let leaf = Node::start(2, &director(Some(address), "upstream_reconnect = true\n"))?;
    let hub = Hub::new(wait::PATIENCE)?;
    let link = Internal::connect(&hub, "the link", leaf.director(), 70_000)?;
    for channel in 0..COUNT {
        link.subscribe(1_000_000 + channel);
    }
    link.flush()?;
    // Some that end at once, one in the middle of the replay, one that stays.
    for round in 0..5 {
        let (mut upstream, _) = listener.accept()?;
        upstream.set_read_timeout(Some(wait::PATIENCE))?;
        if round == 3 {
            frame(&mut upstream);
        }
    }
    let (mut upstream, _) = listener.accept()?;
    upstream.set_read_timeout(Some(wait::PATIENCE))?;
    let mut channels = std::collections::BTreeSet::new();
    // Its own channel is among them.
    while channels.len() < COUNT as usize + 1 {
        let frame = frame(&mut upstream);
        assert_eq!(frame[11..13], t::CONTROL_ADD_CHANNEL.0.to_le_bytes());
        let channel = u64::from_le_bytes(frame[13..21].try_into().unwrap());
        assert!(channels.insert(channel), "channel {channel} twice");
    }
    link.publish(&[80_000], NOTE, &note(1));
    link.flush()?;
    let expected = Encoder::internal(&[80_000], 70_000, NOTE).u32(1).finish().unwrap();
    assert_eq!(frame(&mut upstream), expected);
    leaf.daemon.stop()
}

//! The hot paths of the Message Director: frames, encoding, the mesh, and bursts through a whole daemon.

use super::{Work, world};
use bytes::Bytes;
use donet::daemon::{LINK_ACCEPTOR, LINK_LISTENER};
use donet::wire::{Channel, Datagram, Encoder, MessageType, message_type as t, next_frame};
use donet_shards::mesh::ports;
use donet_shards::sim::Peer;
use std::hint::black_box;

const MESSAGES: u64 = 64;
const PAYLOAD: [u8; 64] = [7; 64];
/// A type that no role acts on.
const NOTE: MessageType = MessageType(60_000);
/// A location: an open channel.
const OPEN: Channel = 900_000_000 << 32;

pub fn all() -> Vec<Work> {
    let mut all = vec![parse(), encode()];
    all.extend([1, 8, 64].map(mesh_hop));
    for (where_to, shards) in [("one executor", 1), ("two executors, here", 2), ("two executors, there", 2)] {
        let there = where_to.ends_with("there");
        all.push(daemon(format!("daemon, one channel, {where_to}"), shards, there, |_| OPEN));
        all.push(daemon(format!("daemon, a channel each, {where_to}"), shards, there, |number| OPEN + number));
    }
    all
}

fn burst(channel: impl Fn(u64) -> Channel) -> Vec<u8> {
    let frames = (0..MESSAGES).map(|number| {
        Encoder::internal(&[channel(number)], 9, NOTE).bytes(&PAYLOAD).finish().expect("a short message")
    });
    frames.flatten().collect()
}

/// Frames, recipients, sender and type, each message in memory of its own.
fn parse() -> Work {
    let bytes = burst(|_| OPEN);
    Work::new("frame and header", MESSAGES, move || {
        let mut rest = &bytes[..];
        while let Some((body, length)) = next_frame(rest) {
            let datagram = Datagram::from_body(body).expect("a whole header");
            black_box(datagram.recipients().next());
            black_box(datagram.message().is_ok());
            rest = &rest[length..];
        }
    })
}

fn encode() -> Work {
    Work::new("encode", 1, || {
        let encoder = Encoder::internal(&[black_box(OPEN)], 9, NOTE);
        black_box(encoder.bytes(&PAYLOAD).finish().expect("a short message"));
    })
}

const CONFIG: &str = "[services.message_director]\nbind = \"127.0.0.1:7199\"\n";

/// From one executor to another and taken there: a turn's batch of so many messages.
fn mesh_hop(messages: u64) -> Work {
    let mut ports = ports::<(u64, Bytes)>(2, 64);
    let body = Bytes::from_static(&PAYLOAD);
    Work::new(format!("mesh hop, batch of {messages}"), messages, move || {
        let batch: Vec<_> = (0..messages).map(|number| (number, body.clone())).collect();
        let [from, to] = &mut ports[..] else { unreachable!("two were made") };
        from.emit(&mut [Vec::new(), batch]);
        from.commit(|shard| _ = black_box(shard));
        to.take(|from, message| _ = black_box((from, message)));
        // The other way a turn emits nothing: it commits all the same.
        to.commit(|_| ());
    })
}

/// A burst of one link through a whole daemon to another link on the same executor or the other, under the simulator,
/// which costs the same on either way: the difference is the hop's.
fn daemon(name: String, shards: usize, there: bool, channel: impl Fn(u64) -> Channel) -> Work {
    let (mut world, _) = world(&[], CONFIG, shards);
    // Links go to the executor that has the fewest: with two the second is on the other, the third beside the first.
    let links: Vec<Peer> = (0..3)
        .map(|_| {
            let link = world.connect(LINK_ACCEPTOR, LINK_LISTENER);
            world.run();
            link
        })
        .collect();
    let (sender, receiver) = (links[0], links[if there { 1 } else { 2 }]);
    for number in 0..MESSAGES {
        let subscribe = Encoder::control(t::CONTROL_ADD_CHANNEL).channel(channel(number));
        world.send(receiver, &subscribe.finish().expect("a short message"));
    }
    world.run();
    let bytes = burst(channel);
    Work::new(name, MESSAGES, move || {
        world.send(sender, &bytes);
        world.run();
        assert_eq!(world.received(receiver).len(), bytes.len());
    })
}

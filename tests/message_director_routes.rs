//! The Message Director's numbered statements (`protocol-md-ca-el.md` §2.10) that need no upstream, played by links against
//! whole daemons under the simulator: with 1, 2 and 4 executors and several seeds each.

#[path = "simulation/stage.rs"]
mod stage;

use donet::daemon::{Daemon, LINK_ACCEPTOR, LINK_LISTENER};
use donet::wire::{Encoder, MessageType, message_type as t, next_frame};
use donet_shards::sim::{Peer, Shape, World};
use stage::Stage;

const CONFIG: &str = "[services.message_director]\nbind = \"127.0.0.1:7199\"\n";
const NOTE: MessageType = MessageType(4321);
const SILENCE: [u32; 0] = [];

struct Bus {
    world: World<Daemon>,
}

impl Bus {
    fn new(seed: u64, shards: usize) -> Self {
        Self { world: Stage::new("", CONFIG).world(seed, Shape::new(shards, 2)) }
    }

    fn link(&mut self) -> Peer {
        let link = self.world.connect(LINK_ACCEPTOR, LINK_LISTENER);
        self.world.run();
        link
    }

    fn control(&mut self, link: Peer, message_type: MessageType, channels: &[u64]) {
        let message = channels.iter().fold(Encoder::control(message_type), |message, &channel| message.u64(channel));
        self.world.send(link, &message.finish().unwrap());
    }

    fn publish(&mut self, link: Peer, recipients: &[u64], number: u32) {
        let message = Encoder::internal(recipients, 9, NOTE).u32(number);
        self.world.send(link, &message.finish().unwrap());
    }

    /// The numbers that a link has received by now, in order.
    fn heard(&mut self, link: Peer) -> Vec<u32> {
        self.world.run();
        let bytes = self.world.received(link);
        let mut rest = &bytes[..];
        let mut numbers = Vec::new();
        while let Some((body, length)) = next_frame(rest) {
            let datagram = donet::wire::Datagram::from_body(body).unwrap();
            let (_, message_type, mut payload) = datagram.message().unwrap();
            assert_eq!(message_type, NOTE);
            numbers.push(payload.u32().unwrap());
            rest = &rest[length..];
        }
        assert!(rest.is_empty());
        numbers
    }
}

/// Plays with every number of executors and several interleavings.
fn with_all(play: impl Fn(&mut Bus)) {
    for shards in [1, 2, 4] {
        for seed in 0..12 {
            play(&mut Bus::new(seed, shards));
        }
    }
}

#[test]
fn md_3_md_4_md_5_once_each_and_never_to_the_sender() {
    with_all(|bus| {
        let (sender, receiver) = (bus.link(), bus.link());
        for link in [sender, receiver] {
            bus.control(link, t::CONTROL_ADD_CHANNEL, &[5000]);
            bus.control(link, t::CONTROL_ADD_CHANNEL, &[5001]);
            bus.control(link, t::CONTROL_ADD_RANGE, &[4000, 6000]);
        }
        bus.world.run();
        bus.publish(sender, &[5000, 5001, 5000, 5500], 1);
        assert_eq!(bus.heard(receiver), [1]);
        assert_eq!(bus.heard(sender), SILENCE);
    });
}

/// What a link sends to the same recipients in one go is routed together: nobody may be able to tell.
#[test]
fn a_burst_is_heard_as_if_sent_one_by_one() {
    const SETS: [&[u64]; 4] = [&[A], &[B], &[A, B], &[7000]];
    const A: u64 = 5 << 32;
    const B: u64 = 6 << 32;
    with_all(|bus| {
        let (sender, on_a, on_both, on_none) = (bus.link(), bus.link(), bus.link(), bus.link());
        bus.control(on_a, t::CONTROL_ADD_CHANNEL, &[A]);
        bus.control(on_both, t::CONTROL_ADD_RANGE, &[A, B]);
        bus.control(on_both, t::CONTROL_ADD_CHANNEL, &[7000]);
        bus.world.run();
        // Stretches of 1, 2, 3, … messages to one set of recipients after the other; the sender subscribes in between.
        let (mut bytes, mut number) = (Vec::new(), 0);
        let mut expected = (Vec::new(), Vec::new());
        for stretch in 1..=12 {
            let set = SETS[stretch % SETS.len()];
            if stretch == 7 {
                bytes.extend_from_slice(&Encoder::control(t::CONTROL_ADD_CHANNEL).u64(A).finish().unwrap());
            }
            for _ in 0..stretch {
                number += 1;
                bytes.extend_from_slice(&Encoder::internal(set, 9, NOTE).u32(number).finish().unwrap());
                if set.contains(&A) {
                    expected.0.push(number);
                }
                expected.1.push(number);
            }
        }
        bus.world.send(sender, &bytes);
        assert_eq!((bus.heard(on_a), bus.heard(on_both)), expected);
        assert_eq!((bus.heard(sender), bus.heard(on_none)), (vec![], vec![]));
        // The sender hears what others send to where it has subscribed meanwhile, in one go as well.
        let burst: Vec<u8> =
            (1..=3).flat_map(|number| Encoder::internal(&[A], 9, NOTE).u32(number).finish().unwrap()).collect();
        bus.world.send(on_none, &burst);
        assert_eq!(bus.heard(sender), [1, 2, 3]);
    });
}

#[test]
fn md_7_md_9_what_is_unsubscribed_is_not_heard() {
    with_all(|bus| {
        let (sender, first, second) = (bus.link(), bus.link(), bus.link());
        for link in [first, second] {
            bus.control(link, t::CONTROL_ADD_CHANNEL, &[5000]);
        }
        bus.control(first, t::CONTROL_REMOVE_CHANNEL, &[5000]);
        bus.world.run();
        bus.publish(sender, &[5000], 1);
        assert_eq!((bus.heard(first), bus.heard(second)), (vec![], vec![1]));
        bus.control(second, t::CONTROL_REMOVE_CHANNEL, &[5000]);
        bus.control(first, t::CONTROL_ADD_CHANNEL, &[5000]);
        bus.world.run();
        bus.publish(sender, &[5000], 2);
        assert_eq!((bus.heard(first), bus.heard(second)), (vec![2], vec![]));
    });
}

#[test]
fn md_10_md_11_md_13_md_14_md_15_ranges() {
    with_all(|bus| {
        let (sender, receiver) = (bus.link(), bus.link());
        bus.control(receiver, t::CONTROL_ADD_RANGE, &[5000, 5010]);
        bus.control(receiver, t::CONTROL_ADD_RANGE, &[7000, 6000]);
        bus.control(receiver, t::CONTROL_ADD_CHANNEL, &[5005]);
        bus.control(receiver, t::CONTROL_REMOVE_CHANNEL, &[5006]);
        bus.world.run();
        for (number, channel) in [4999, 5000, 5005, 5006, 5010, 5011, 6500].into_iter().enumerate() {
            bus.publish(sender, &[channel], number as u32);
        }
        assert_eq!(bus.heard(receiver), [1, 2, 3, 4]);
        bus.control(receiver, t::CONTROL_REMOVE_RANGE, &[5003, 5007]);
        bus.world.run();
        for (number, channel) in [5002, 5003, 5005, 5007, 5008].into_iter().enumerate() {
            bus.publish(sender, &[channel], number as u32);
        }
        assert_eq!(bus.heard(receiver), [0, 4]);
    });
}

#[test]
fn md_8_a_closed_link_is_gone() {
    with_all(|bus| {
        let (sender, receiver) = (bus.link(), bus.link());
        bus.control(receiver, t::CONTROL_ADD_CHANNEL, &[5000]);
        bus.world.run();
        bus.world.disconnect(receiver);
        bus.world.run();
        bus.publish(sender, &[5000], 1);
        assert_eq!(bus.heard(receiver), SILENCE);
        assert!(!bus.world.is_closed(sender));
    });
}

#[test]
fn md_17_md_18_md_19_post_removes_fire_once_unless_cleared() {
    with_all(|bus| {
        let (dying, witness) = (bus.link(), bus.link());
        for link in [dying, witness] {
            bus.control(link, t::CONTROL_ADD_CHANNEL, &[5000]);
        }
        bus.world.run();
        for (key, number) in [(1, 1), (2, 2), (1, 3)] {
            let nested = Encoder::internal(&[5000], 0, NOTE).u32(number).finish().unwrap();
            let register = Encoder::control(t::CONTROL_ADD_POST_REMOVE).channel(key).blob(&nested[2..]);
            bus.world.send(dying, &register.finish().unwrap());
        }
        bus.control(dying, t::CONTROL_CLEAR_POST_REMOVES, &[2]);
        assert_eq!(bus.heard(witness), SILENCE);
        bus.world.disconnect(dying);
        assert_eq!(bus.heard(witness), [1, 3]);
        assert_eq!(bus.heard(dying), SILENCE);
    });
}

#[test]
fn md_20_an_empty_frame_costs_its_link_and_fires_its_post_removes() {
    with_all(|bus| {
        let (broken, witness) = (bus.link(), bus.link());
        bus.control(witness, t::CONTROL_ADD_CHANNEL, &[5000]);
        bus.world.run();
        let nested = Encoder::internal(&[5000], 0, NOTE).u32(7).finish().unwrap();
        let register = Encoder::control(t::CONTROL_ADD_POST_REMOVE).channel(1).blob(&nested[2..]).finish().unwrap();
        bus.world.send(broken, &register);
        bus.world.send(broken, &[0, 0]);
        bus.publish(broken, &[5000], 8);
        assert_eq!(bus.heard(witness), [7], "what comes after the broken frame is not handled");
        assert!(bus.world.is_closed(broken));
    });
}

#[test]
fn md_21_md_22_md_23_md_24_what_is_odd_costs_nothing() {
    with_all(|bus| {
        let (odd, witness) = (bus.link(), bus.link());
        bus.control(witness, t::CONTROL_ADD_CHANNEL, &[1]);
        bus.control(witness, t::CONTROL_ADD_CHANNEL, &[5000]);
        bus.world.run();
        bus.publish(odd, &[], 1);
        bus.control(odd, t::CONTROL_SET_CON_NAME, &[]); // Cut short it would end the link; this is an unknown one:
        bus.world.run();
        assert!(bus.world.is_closed(odd), "a control message without its argument is cut short");
        let odd = bus.link();
        bus.control(odd, MessageType(9999), &[]);
        bus.world.send(odd, &[3, 0, 2, 0, 0]);
        bus.publish(odd, &[5000], 2);
        assert_eq!(bus.heard(witness), [2], "control messages reach nobody");
        assert!(!bus.world.is_closed(odd));
    });
}

#[test]
fn g4_what_follows_a_subscription_on_a_link_is_seen() {
    with_all(|bus| {
        let (asker, answerer) = (bus.link(), bus.link());
        bus.control(answerer, t::CONTROL_ADD_CHANNEL, &[7000]);
        bus.world.run();
        // In one burst: subscribe, then ask whoever will answer on that channel.
        for round in 0..20 {
            let channel = 8000 + u64::from(round);
            bus.control(asker, t::CONTROL_ADD_CHANNEL, &[channel]);
            bus.publish(asker, &[7000], round);
            assert_eq!(bus.heard(answerer), [round]);
            bus.publish(answerer, &[channel], round);
            assert_eq!(bus.heard(asker), [round]);
        }
    });
}

#[test]
fn g1_one_source_one_destination_one_order() {
    with_all(|bus| {
        let (sender, receiver) = (bus.link(), bus.link());
        bus.control(receiver, t::CONTROL_ADD_RANGE, &[5000, 5099]);
        bus.world.run();
        for number in 0..200 {
            bus.publish(sender, &[5000 + u64::from(number) % 100], number);
        }
        assert_eq!(bus.heard(receiver), (0..200).collect::<Vec<_>>());
    });
}

#[test]
fn md_26_segments_do_not_matter() {
    with_all(|bus| {
        let (sender, receiver) = (bus.link(), bus.link());
        bus.control(receiver, t::CONTROL_ADD_CHANNEL, &[5000]);
        bus.world.run();
        let frames: Vec<u8> = (0..20)
            .flat_map(|number| Encoder::internal(&[5000], 9, NOTE).u32(number).finish().unwrap().to_vec())
            .collect();
        bus.world.send(sender, &frames);
        assert_eq!(bus.heard(receiver), (0..20).collect::<Vec<_>>(), "all at once");
        let mut heard = Vec::new();
        for &byte in &frames {
            bus.world.send(sender, &[byte]);
            heard.extend(bus.heard(receiver));
        }
        assert_eq!(heard, (0..20).collect::<Vec<_>>(), "byte by byte");
    });
}

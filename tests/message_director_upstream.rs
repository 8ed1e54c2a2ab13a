//! The Message Director's numbered statements (`protocol-md-ca-el.md` §2.10) about its upstream link, to the byte: links
//! play against whole daemons under the simulator, with 1, 2 and 4 executors and several seeds each.

#![expect(clippy::cloned_ref_to_slice_refs, reason = "what is heard is written as a list, also where it is one")]

#[path = "simulation/stage.rs"]
mod stage;

use bytes::Bytes;
use donet::daemon::{Daemon, LINK_ACCEPTOR, LINK_LISTENER};
use donet::wire::{Datagram, Encoder, MessageType, message_type as t, next_frame};
use donet_shards::sim::{Peer, Shape, World};
use stage::Stage;

const NOTE: MessageType = MessageType(4321);
const NOTHING: [Bytes; 0] = [];
const UPSTREAM: &str = "10.9.8.7:7199";

struct Bus {
    world: World<Daemon>,
    upstream: Peer,
}

fn control(message_type: MessageType, channels: &[u64]) -> Bytes {
    let message = channels.iter().fold(Encoder::control(message_type), |message, &channel| message.u64(channel));
    message.finish().unwrap()
}

fn note(recipients: &[u64], number: u32) -> Bytes {
    Encoder::internal(recipients, 9, NOTE).u32(number).finish().unwrap()
}

fn post_remove(key: u64, nested: &[u8]) -> Bytes {
    Encoder::control(t::CONTROL_ADD_POST_REMOVE).channel(key).blob(&nested[2..]).finish().unwrap()
}

fn frames(bytes: &[u8]) -> Vec<Bytes> {
    let mut rest = bytes;
    let mut frames = Vec::new();
    while let Some((_, length)) = next_frame(rest) {
        frames.push(Bytes::copy_from_slice(&rest[..length]));
        rest = &rest[length..];
    }
    assert!(rest.is_empty(), "only whole frames");
    frames
}

impl Bus {
    fn new(seed: u64, shards: usize, more: &str) -> Self {
        let text = format!("[services.message_director]\nbind = \"127.0.0.1:7199\"\nupstream = \"{UPSTREAM}\"\n{more}");
        let mut world = Stage::new("", &text).world(seed, Shape::new(shards, 2));
        world.run();
        let [(address, upstream)] = world.dialled[..] else { panic!("one dial: {:?}", world.dialled) };
        assert_eq!(address, UPSTREAM.parse::<std::net::SocketAddr>().unwrap());
        Self { world, upstream }
    }

    fn link(&mut self) -> Peer {
        let link = self.world.connect(LINK_ACCEPTOR, LINK_LISTENER);
        self.world.run();
        link
    }

    fn send(&mut self, link: Peer, frames: &[Bytes]) {
        for frame in frames {
            self.world.send(link, frame);
        }
    }

    /// The frames that somebody has received by now, in order.
    fn heard(&mut self, link: Peer) -> Vec<Bytes> {
        self.world.run();
        frames(&self.world.received(link))
    }

    /// What goes upstream for one message of a link.
    fn upstream_for(&mut self, link: Peer, frame: Bytes) -> Vec<Bytes> {
        self.world.send(link, &frame);
        self.heard(self.upstream)
    }
}

fn with_all(play: impl Fn(&mut Bus)) {
    for shards in [1, 2, 4] {
        for seed in 0..12 {
            play(&mut Bus::new(seed, shards, ""));
        }
    }
}

#[test]
fn md_1_md_3_md_21_every_datagram_of_a_link_goes_up_once_as_it_is() {
    with_all(|bus| {
        let (sender, receiver) = (bus.link(), bus.link());
        let range = control(t::CONTROL_ADD_RANGE, &[5000, 5999]);
        bus.send(receiver, &[control(t::CONTROL_ADD_CHANNEL, &[5000]), range.clone()]);
        bus.send(sender, &[control(t::CONTROL_ADD_CHANNEL, &[5000])]);
        assert_eq!(bus.heard(bus.upstream), [control(t::CONTROL_ADD_CHANNEL, &[5000]), range]);
        let recipients_only = Bytes::from_static(&[9, 0, 1, 0x88, 0x13, 0, 0, 0, 0, 0, 0]);
        let sent =
            [note(&[5000], 1), note(&[7777], 2), note(&[5001, 5000, 5001], 3), note(&[], 4), recipients_only.clone()];
        bus.send(sender, &sent);
        assert_eq!(bus.heard(bus.upstream), sent, "with receivers here, without, with many, with none, and cut short");
        assert_eq!(bus.heard(receiver), [sent[0].clone(), sent[2].clone(), recipients_only]);
        assert_eq!(bus.heard(sender), NOTHING);
    });
}

#[test]
fn md_2_md_22_what_comes_from_upstream_is_delivered_and_never_sent_up() {
    with_all(|bus| {
        let (one, other) = (bus.link(), bus.link());
        for link in [one, other] {
            bus.send(link, &[control(t::CONTROL_ADD_CHANNEL, &[5000]), control(t::CONTROL_ADD_CHANNEL, &[1])]);
        }
        bus.heard(bus.upstream);
        // From upstream, a datagram to [1] is an ordinary one, also when it looks like a control message.
        let sent = [note(&[5000], 1), note(&[1], 2), control(t::CONTROL_ADD_CHANNEL, &[6000]), note(&[6000], 3)];
        bus.send(bus.upstream, &sent);
        for link in [one, other] {
            assert_eq!(bus.heard(link), sent[..3]);
        }
        assert_eq!(bus.heard(bus.upstream), NOTHING);
    });
}

#[test]
fn md_6_md_7_md_9_the_first_subscription_and_the_last_removal_go_up() {
    with_all(|bus| {
        let (one, other) = (bus.link(), bus.link());
        let (add, remove) = (control(t::CONTROL_ADD_CHANNEL, &[5000]), control(t::CONTROL_REMOVE_CHANNEL, &[5000]));
        assert_eq!(bus.upstream_for(one, add.clone()), [add.clone()]);
        assert_eq!(bus.upstream_for(one, add.clone()), NOTHING);
        assert_eq!(bus.upstream_for(other, add.clone()), NOTHING);
        assert_eq!(bus.upstream_for(one, remove.clone()), NOTHING);
        assert_eq!(bus.upstream_for(one, remove.clone()), NOTHING);
        assert_eq!(bus.upstream_for(other, remove.clone()), [remove]);
        bus.send(bus.upstream, &[note(&[5000], 1)]);
        assert_eq!((bus.heard(one), bus.heard(other)), (vec![], vec![]));
    });
}

#[test]
fn md_8_the_end_of_a_link_is_told_as_messages_would() {
    with_all(|bus| {
        let (dying, other) = (bus.link(), bus.link());
        for channel in [5000, 5001] {
            bus.send(dying, &[control(t::CONTROL_ADD_CHANNEL, &[channel])]);
        }
        bus.send(dying, &[control(t::CONTROL_ADD_RANGE, &[7000, 7999])]);
        bus.send(dying, &[control(t::CONTROL_REMOVE_RANGE, &[7500, 7599])]);
        bus.send(other, &[control(t::CONTROL_ADD_CHANNEL, &[5001])]);
        bus.heard(bus.upstream);
        bus.world.disconnect(dying);
        let mut expected = vec![control(t::CONTROL_REMOVE_CHANNEL, &[5000])];
        expected.extend([[7000, 7499], [7600, 7999]].map(|range| control(t::CONTROL_REMOVE_RANGE, &range)));
        assert_eq!(bus.heard(bus.upstream), expected);
    });
}

/// The worked sequence of §2.4.2: every row, byte by byte.
#[test]
fn md_12_the_worked_sequence() {
    with_all(|bus| {
        let add = |first, last| control(t::CONTROL_ADD_RANGE, &[first, last]);
        let remove = |first, last| control(t::CONTROL_REMOVE_RANGE, &[first, last]);
        let (c1, c2) = (bus.link(), bus.link());
        assert_eq!(bus.upstream_for(c1, add(1000, 1999)), [add(1000, 1999)]);
        assert_eq!(bus.upstream_for(c1, remove(1300, 1700)), [remove(1300, 1700)]);
        assert_eq!(bus.upstream_for(c1, add(1900, 2100)), [add(1900, 2100)]);
        assert_eq!(bus.upstream_for(c1, remove(1000, 1999)), [remove(1000, 1999)]);
        bus.world.disconnect(c1);
        assert_eq!(bus.heard(bus.upstream), [remove(2000, 2100)]);
        let c1 = bus.link();
        assert_eq!(bus.upstream_for(c1, add(3000, 5000)), [add(3000, 5000)]);
        assert_eq!(bus.upstream_for(c1, remove(2950, 3043)), [remove(3000, 3043)]);
        assert_eq!(bus.upstream_for(c1, remove(4763, 6000)), [remove(4763, 5000)]);
        for (first, last) in [(3951, 4049), (4030, 4070), (3891, 4040), (3700, 4200)] {
            assert_eq!(bus.upstream_for(c1, remove(first, last)), [remove(first, last)]);
        }
        assert_eq!(bus.upstream_for(c2, add(3500, 4500)), [add(3500, 4500)]);
        assert_eq!(bus.upstream_for(c1, remove(3650, 3800)), NOTHING);
        assert_eq!(bus.upstream_for(c1, remove(3475, 3525)), [remove(3475, 3499)]);
        assert_eq!(bus.upstream_for(c2, remove(3620, 4300)), [remove(3650, 4200)]);
        bus.world.disconnect(c2);
        assert_eq!(bus.heard(bus.upstream), [remove(3500, 3525)]);
        let c2 = bus.link();
        assert_eq!(bus.upstream_for(c2, add(1000, 5000)), [add(1000, 5000)]);
        assert_eq!(
            bus.upstream_for(c2, remove(1000, 5000)),
            [remove(1000, 3043), remove(3475, 3525), remove(3650, 4200), remove(4763, 5000)]
        );
    });
}

#[test]
fn md_10_md_11_both_remnants_of_a_split_range_hear_upstream() {
    with_all(|bus| {
        let link = bus.link();
        bus.send(
            link,
            &[control(t::CONTROL_ADD_RANGE, &[5000, 5010]), control(t::CONTROL_REMOVE_RANGE, &[5003, 5007])],
        );
        bus.heard(bus.upstream);
        let sent: Vec<Bytes> = (4999..=5011).map(|channel| note(&[channel], channel as u32)).collect();
        bus.send(bus.upstream, &sent);
        let heard: Vec<Bytes> =
            [5000, 5001, 5002, 5008, 5009, 5010].map(|channel| note(&[channel], channel as u32)).into();
        assert_eq!(bus.heard(link), heard);
    });
}

#[test]
fn md_13_md_14_md_15_what_changes_nothing_is_not_told() {
    with_all(|bus| {
        let link = bus.link();
        let range = control(t::CONTROL_ADD_RANGE, &[5000, 5999]);
        assert_eq!(bus.upstream_for(link, range.clone()), [range.clone()]);
        assert_eq!(bus.upstream_for(link, control(t::CONTROL_ADD_CHANNEL, &[5500])), NOTHING);
        assert_eq!(bus.upstream_for(link, control(t::CONTROL_REMOVE_CHANNEL, &[5500])), NOTHING);
        assert_eq!(bus.upstream_for(link, control(t::CONTROL_REMOVE_CHANNEL, &[9])), NOTHING);
        assert_eq!(bus.upstream_for(link, control(t::CONTROL_ADD_RANGE, &[8000, 7000])), NOTHING);
        assert_eq!(bus.upstream_for(link, control(t::CONTROL_REMOVE_RANGE, &[5999, 5000])), NOTHING);
        bus.send(bus.upstream, &[note(&[5500], 1)]);
        assert_eq!(bus.heard(link), [note(&[5500], 1)]);
        // (a) of 9002: its own range again is told again.
        assert_eq!(bus.upstream_for(link, range.clone()), [range]);
    });
}

/// The holes of §2.4.3, closed: who subscribes individually inside another's range keeps hearing when that goes.
#[test]
fn an_individual_subscriber_does_not_go_deaf_with_another_ones_range() {
    with_all(|bus| {
        let (single, ranged) = (bus.link(), bus.link());
        let add = control(t::CONTROL_ADD_CHANNEL, &[5500]);
        bus.send(ranged, &[control(t::CONTROL_ADD_RANGE, &[5000, 5999])]);
        bus.heard(bus.upstream);
        assert_eq!(bus.upstream_for(single, add.clone()), [add.clone()], "a range around it does not suppress it");
        let remove = control(t::CONTROL_REMOVE_RANGE, &[5000, 5999]);
        assert_eq!(bus.upstream_for(ranged, remove.clone()), [remove.clone(), add.clone()]);
        let again = bus.link();
        bus.send(again, &[add]);
        let remove_again = bus.upstream_for(again, remove);
        assert_eq!(remove_again, NOTHING, "individual subscriptions go with a range also where there is none");
    });
}

#[test]
fn md_16_md_17_md_18_md_19_post_removes_go_up_fire_once_and_are_cleared() {
    with_all(|bus| {
        let (dying, witness) = (bus.link(), bus.link());
        for link in [dying, witness] {
            bus.send(link, &[control(t::CONTROL_ADD_CHANNEL, &[5000])]);
        }
        bus.heard(bus.upstream);
        let bodies = [note(&[5000], 1), note(&[6000], 2), note(&[5000], 3), note(&[5000], 4)];
        let keys = [7, 8, 7, 9];
        for (key, body) in keys.into_iter().zip(&bodies) {
            let register = post_remove(key, body);
            assert_eq!(bus.upstream_for(dying, register.clone()), [register]);
        }
        let clear = |key| control(t::CONTROL_CLEAR_POST_REMOVES, &[key]);
        assert_eq!(bus.upstream_for(dying, clear(9)), [clear(9)]);
        assert_eq!(bus.upstream_for(dying, clear(10)), [clear(10)], "even if there are none");
        bus.world.disconnect(dying);
        assert_eq!(
            bus.heard(bus.upstream),
            [bodies[0].clone(), bodies[1].clone(), bodies[2].clone(), clear(7), clear(8)],
            "the witness is still subscribed; each once in order, then one clearing for each key"
        );
        assert_eq!(bus.heard(witness), [bodies[0].clone(), bodies[2].clone()]);
        assert_eq!(bus.heard(dying), NOTHING);
    });
}

#[test]
fn a_shared_key_keeps_the_survivors_post_removes() {
    with_all(|bus| {
        let (dying, survivor) = (bus.link(), bus.link());
        bus.send(dying, &[post_remove(7, &note(&[6000], 1))]);
        bus.world.run();
        bus.send(survivor, &[post_remove(7, &note(&[6000], 2))]);
        bus.heard(bus.upstream);
        bus.world.disconnect(dying);
        let clear = control(t::CONTROL_CLEAR_POST_REMOVES, &[7]);
        assert_eq!(bus.heard(bus.upstream), [note(&[6000], 1), clear, post_remove(7, &note(&[6000], 2))]);
    });
}

#[test]
fn md_20_an_empty_frame_brings_nothing_upstream_but_the_post_removes() {
    with_all(|bus| {
        let broken = bus.link();
        bus.world.send(broken, &[0, 0, 255, 255, 1]);
        assert_eq!(bus.heard(bus.upstream), NOTHING);
        assert!(bus.world.is_closed(broken));
    });
}

#[test]
fn md_23_md_24_what_is_odd_does_not_go_up() {
    with_all(|bus| {
        let link = bus.link();
        assert_eq!(bus.upstream_for(link, control(MessageType(9999), &[])), NOTHING);
        assert_eq!(bus.upstream_for(link, Bytes::from_static(&[3, 0, 2, 0, 0])), NOTHING);
        assert_eq!(bus.upstream_for(link, control(t::CONTROL_SET_CON_NAME, &[0])), NOTHING);
        // With a sender, to channel 1: an unknown control message, not for others (§2.7).
        let with_sender = Encoder::internal(&[1], 77, t::CONTROL_ADD_CHANNEL).u64(5).finish().unwrap();
        assert_eq!(bus.upstream_for(link, with_sender), NOTHING);
        assert_eq!(bus.upstream_for(link, note(&[7], 1)), [note(&[7], 1)], "the link is unaffected");
    });
}

#[test]
fn md_25_an_event_is_one_packet_or_goes_up_where_there_is_no_logger() {
    let event = Encoder::control(t::CONTROL_LOG_MESSAGE).blob(&[0x81, 0xa1, b'a', 1]).finish().unwrap();
    with_all(|bus| {
        let link = bus.link();
        assert_eq!(bus.upstream_for(link, event.clone()), [event.clone()]);
        assert!(bus.world.packets.is_empty());
    });
    for shards in [1, 2, 4] {
        let mut bus = Bus::new(1, shards, "[global]\neventlogger = \"127.0.0.1:7197\"\n");
        let link = bus.link();
        assert_eq!(bus.upstream_for(link, event.clone()), NOTHING);
        assert_eq!(
            bus.world.packets,
            [("127.0.0.1:7197".parse::<std::net::SocketAddr>().unwrap(), vec![0x81, 0xa1, b'a', 1])]
        );
    }
}

#[test]
fn md_27_upstream_loss_ends_the_daemon_badly() {
    with_all(|bus| {
        bus.world.disconnect(bus.upstream);
        bus.world.run();
        let [failure] = &bus.world.failures[..] else { panic!("{:?}", bus.world.failures) };
        assert!(failure.contains("10.9.8.7:7199 is lost: it has closed the link"), "{failure}");
    });
}

#[test]
fn a_new_upstream_link_is_told_everything_before_any_data() {
    for shards in [1, 2, 4] {
        for seed in 0..12 {
            let mut bus = Bus::new(seed, shards, "upstream_reconnect = true\n");
            let (one, other) = (bus.link(), bus.link());
            bus.send(one, &[control(t::CONTROL_ADD_CHANNEL, &[5000]), control(t::CONTROL_ADD_RANGE, &[7000, 7999])]);
            bus.send(other, &[control(t::CONTROL_ADD_CHANNEL, &[5001]), control(t::CONTROL_ADD_CHANNEL, &[5000])]);
            bus.send(other, &[post_remove(7, &note(&[6000], 1))]);
            bus.heard(bus.upstream);
            bus.world.disconnect(bus.upstream);
            bus.send(one, &[note(&[9000], 1), note(&[9000], 2)]);
            bus.world.run();
            assert_eq!(bus.world.failures, [""; 0]);
            let [_, (_, again)] = bus.world.dialled[..] else { panic!("two dials: {:?}", bus.world.dialled) };
            let told = bus.heard(again);
            let expected = [
                control(t::CONTROL_ADD_CHANNEL, &[5000]),
                control(t::CONTROL_ADD_CHANNEL, &[5001]),
                control(t::CONTROL_ADD_RANGE, &[7000, 7999]),
                post_remove(7, &note(&[6000], 1)),
            ];
            assert_eq!(told[..4], expected);
            let late = [note(&[9000], 1), note(&[9000], 2)];
            assert!(
                late.ends_with(&told[4..]),
                "what came while the link was down is lost, the rest is in order: {told:?}"
            );
            bus.send(one, &[note(&[9000], 3)]);
            assert_eq!(bus.heard(again), [note(&[9000], 3)]);
            bus.send(again, &[note(&[5000, 7000], 4)]);
            assert_eq!(
                (bus.heard(one), bus.heard(other)),
                (vec![note(&[5000, 7000], 4)], vec![note(&[5000, 7000], 4)])
            );
        }
    }
}

#[test]
fn g4_a_subscription_is_on_its_way_before_what_follows_it() {
    with_all(|bus| {
        let links: Vec<Peer> = (0..4).map(|_| bus.link()).collect();
        for round in 0..20 {
            for (number, &link) in links.iter().enumerate() {
                let channel = 8000 + round * 10 + number as u64;
                bus.send(link, &[control(t::CONTROL_ADD_CHANNEL, &[channel]), note(&[7000], channel as u32)]);
            }
        }
        let up = bus.heard(bus.upstream);
        for (place, frame) in up.iter().enumerate() {
            let datagram = Datagram::from_body(&frame[2..]).unwrap();
            if datagram.recipients().eq([7000]) {
                let (_, _, mut payload) = datagram.message().unwrap();
                let subscription = control(t::CONTROL_ADD_CHANNEL, &[payload.u32().unwrap().into()]);
                assert!(up[..place].contains(&subscription), "asked before it was subscribed");
            }
        }
        assert_eq!(up.len(), 2 * 20 * 4);
    });
}

#[test]
fn roles_are_reached_from_upstream() {
    for shards in [1, 2, 4] {
        for seed in 0..6 {
            let text = "[services.state_server]\ncontrol_channel = 102000\n\
                        [services.dbss]\ndb_channel = 103000\nrange_min = 9000\nrange_max = 9999\nfollow_database = true\n";
            let mut bus = Bus::new(seed, shards, text);
            let told = bus.heard(bus.upstream);
            let expected = [
                control(t::CONTROL_ADD_CHANNEL, &[102_000]),
                control(t::CONTROL_ADD_CHANNEL, &[12]),
                control(t::CONTROL_ADD_RANGE, &[9000, 9999]),
                control(t::CONTROL_ADD_RANGE, &[(2 << 32) + 9000, (2 << 32) + 9999]),
            ];
            assert_eq!(told, expected);
        }
    }
}

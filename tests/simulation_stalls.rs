//! A daemon that stops taking what another one sends it, on the simulated clock (design G8): for less than
//! `link_stall_timeout_ms` its sources wait, unread, and everything comes in order when it goes on; for longer the link is
//! dropped with the named reason, and those behind it go on. Up and down the tree, with rings of one slot too.

#[path = "simulation/stage.rs"]
mod stage;

use bytes::Bytes;
use donet::admin::{Answer, Inspection, Question};
use donet::daemon::{Daemon, External, LINK_ACCEPTOR, LINK_LISTENER};
use donet::reason::Reason;
use donet::wire::{Datagram, Encoder, MessageType, message_type as t, next_frame};
use donet_shards::ShardId;
use donet_shards::sim::{DaemonId, Peer, Shape, World};
use stage::Stage;
use std::sync::mpsc;

const CONTRACT: &str = "dclass Thing { setValue(uint32 value) required broadcast ram; };";
const NOTE: MessageType = MessageType(4321);
const SINK: u64 = 80_000;
const BUDGET: usize = 65_537;
const STALL_TIMEOUT_US: u64 = 2_000_000;
const SOURCES: u64 = 3;
/// Of each source: together many times what may wait for a link.
const NOTES: u32 = 300;
const PAYLOAD: [u8; 1000] = [7; 1000];

fn services(number: usize, upstream: bool) -> String {
    let upstream = if upstream { "upstream = \"127.0.0.1:7100\"\nupstream_reconnect = true\n" } else { "" };
    format!(
        "[services.message_director]\nbind = \"127.0.0.1:{}\"\nlink_budget_bytes = {BUDGET}\n\
         link_stall_timeout_ms = {}\n{upstream}",
        7100 + number,
        STALL_TIMEOUT_US / 1000
    )
}

fn frame(encoder: Encoder) -> Bytes {
    encoder.finish().expect("small")
}

/// Two daemons; sources at one, and a sink at the other.
struct Play {
    world: World<Daemon>,
    shape: Shape,
    below: DaemonId,
    /// The two ends of the link between them: of the daemon below, and of the one above.
    uplink: Peer,
    downlink: Peer,
    is_up: bool,
    sink: Peer,
    unread: Vec<u8>,
    next: Vec<u32>,
    sources: Vec<Peer>,
}

impl Play {
    /// The sources send up, or down.
    fn new(seed: u64, is_up: bool) -> Self {
        let shape = Shape { batches: 1 + (seed % 3) as usize, ..Shape::new([1, 2, 4][(seed / 3 % 3) as usize], 1) };
        let mut world = Stage::new(CONTRACT, &services(0, false)).world(seed, shape);
        world.holds_dials = true;
        let below = Stage::new(CONTRACT, &services(1, true)).join(&mut world, shape);
        let (uplink, downlink) = Self::join(&mut world);
        let (near, far) = if is_up { (below, DaemonId::FIRST) } else { (DaemonId::FIRST, below) };
        let sink = world.connect_to(far, LINK_ACCEPTOR, LINK_LISTENER);
        world.send(sink, &frame(Encoder::control(t::CONTROL_ADD_CHANNEL).channel(SINK)));
        let sources = (0..SOURCES).map(|_| world.connect_to(near, LINK_ACCEPTOR, LINK_LISTENER)).collect();
        world.run();
        let next = vec![0; SOURCES as usize];
        Self { world, shape, below, uplink, downlink, is_up, sink, unread: Vec::new(), next, sources }
    }

    /// The daemon above answers what the one below has dialled last.
    fn join(world: &mut World<Daemon>) -> (Peer, Peer) {
        let &(_, dialled) = world.dialled.last().expect("it dials");
        let accepted = world.connect_to(DaemonId::FIRST, LINK_ACCEPTOR, LINK_LISTENER);
        world.join(dialled, accepted);
        (dialled, accepted)
    }

    /// What the daemon writes for the other one, that is not taken.
    fn full(&self) -> Peer {
        if self.is_up { self.uplink } else { self.downlink }
    }

    fn send(&mut self, from: u32, to: u32) {
        for number in from..to {
            for source in 0..SOURCES {
                let note = Encoder::internal(&[SINK], source, NOTE).u32(number).bytes(&PAYLOAD);
                self.world.send(self.sources[source as usize], &frame(note));
            }
        }
    }

    /// What the sink has heard; in the order of each source.
    fn hear(&mut self) {
        self.unread.extend(self.world.received(self.sink));
        let mut used = 0;
        while let Some((body, length)) = next_frame(&self.unread[used..]) {
            let datagram = Datagram::from_body(body).expect("a datagram");
            let (sender, _, mut payload) = datagram.message().expect("a message");
            let number = payload.u32().expect("a number");
            let next = &mut self.next[sender as usize];
            assert!(number >= *next, "source {sender}: {number} where {next} was due");
            *next = number + 1;
            used += length;
        }
        self.unread.drain(..used);
    }

    fn closed(&mut self, daemon: DaemonId, reason: Reason) -> u64 {
        let (send, figures) = mpsc::channel();
        for shard in 0..self.shape.shards as u16 {
            let send = send.clone();
            let reply = Box::new(move |answer| send.send(answer).expect("it is awaited"));
            let inspection = Inspection { question: Question::Figures, reply };
            self.world.inject_into(daemon, ShardId(shard), External::Inspect(inspection));
        }
        self.world.run();
        let of = |answer| match answer {
            Answer::Figures(figures) => figures.metrics.closed(reason),
            _ => 0,
        };
        figures.try_iter().map(of).sum()
    }

    fn dropped(&mut self) -> u64 {
        let near = if self.is_up { self.below } else { DaemonId::FIRST };
        self.closed(near, Reason::WriteTimeout)
    }

    /// The other daemon takes nothing, for so long; its sources are not read, and little waits.
    fn stall_for(&mut self, stall_us: u64) {
        let full = self.full();
        self.world.stall(full, true);
        self.send(0, NOTES);
        self.world.run();
        let unread: usize = self.sources.iter().map(|&source| self.world.unread_bytes(source)).sum();
        let waiting = self.world.unsent_bytes(full);
        let all = NOTES as usize * SOURCES as usize * PAYLOAD.len();
        assert!(waiting > BUDGET && waiting < all / 2, "{waiting} of {all} bytes wait for the link");
        assert!(unread > all / 4, "only {unread} of {all} bytes of the sources are unread");
        self.world.run_until(self.world.now_us() + stall_us);
    }
}

fn plays() -> impl Iterator<Item = (u64, bool)> {
    (0..45).flat_map(|seed| [true, false].map(|is_up| (seed, is_up)))
}

#[test]
fn a_short_stall_pauses_the_sources_and_everything_comes_in_order() {
    for (seed, is_up) in plays() {
        let mut play = Play::new(seed, is_up);
        play.stall_for(STALL_TIMEOUT_US / 2);
        play.hear();
        assert_eq!(play.dropped(), 0, "seed {seed}, up: {is_up}");
        play.world.stall(play.full(), false);
        play.world.run();
        play.hear();
        assert_eq!(play.next, [NOTES; SOURCES as usize], "seed {seed}, up: {is_up}: all of it, in order");
        assert!(play.world.unread_bytes(play.sources[0]) == 0 && play.world.unsent_bytes(play.full()) == 0);
    }
}

#[test]
fn a_long_stall_costs_the_link_by_name_and_the_sources_go_on() {
    for (seed, is_up) in plays() {
        let mut play = Play::new(seed, is_up);
        play.stall_for(2 * STALL_TIMEOUT_US);
        assert_eq!(play.dropped(), 1, "seed {seed}, up: {is_up}: write_timeout");
        for &source in &play.sources {
            assert!(!play.world.is_closed(source), "seed {seed}, up: {is_up}: a source paid for it");
            assert_eq!(play.world.unread_bytes(source), 0, "seed {seed}, up: {is_up}: a source is still paused");
        }
        play.hear();
        let before = play.next.clone();
        // The daemon below has dialled again.
        (play.uplink, play.downlink) = Play::join(&mut play.world);
        play.world.run();
        play.send(NOTES, NOTES + 10);
        play.world.run();
        play.hear();
        assert!(before.iter().all(|&next| next < NOTES), "seed {seed}, up: {is_up}: what waited was lost");
        assert_eq!(play.next, [NOTES + 10; SOURCES as usize], "seed {seed}, up: {is_up}: the new link");
    }
}

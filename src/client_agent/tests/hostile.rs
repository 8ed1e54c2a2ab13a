//! Whatever a client sends, and in whatever order the cluster answers: no panic, at most one eject and nothing after it,
//! no leaving of what was not told, no entry of what is there, and nothing kept when the session has ended.

use super::*;
use donet_shards::sim::Random;
use std::collections::BTreeSet;

/// What the client has been told, checked message by message.
#[derive(Default)]
struct View {
    visible: BTreeSet<Doid>,
    has_ended: bool,
}

impl View {
    fn check(&mut self, seen: &[Seen], context: &str) {
        for action in seen {
            match action {
                Seen::Client(_, message_type, payload) => {
                    assert!(!self.has_ended, "{message_type} after the end: {context}");
                    let mut reader = Reader::new(payload);
                    match *message_type {
                        t::CLIENT_ENTER_OBJECT_REQUIRED | t::CLIENT_ENTER_OBJECT_REQUIRED_OTHER => {
                            let doid = reader.doid().unwrap();
                            assert!(self.visible.insert(doid), "{doid} enters twice: {context}");
                        }
                        t::CLIENT_OBJECT_LEAVING => {
                            let doid = reader.doid().unwrap();
                            assert!(self.visible.remove(&doid), "{doid} leaves and was not there: {context}");
                        }
                        t::CLIENT_EJECT => {
                            let code = reader.u16().unwrap();
                            assert_ne!(code, 0, "{context}");
                            assert!(!reader.blob().unwrap().is_empty(), "an eject says why: {context}");
                        }
                        _ => {}
                    }
                }
                Seen::Close(..) => {
                    assert!(!std::mem::replace(&mut self.has_ended, true), "closed twice: {context}");
                }
                _ => {}
            }
        }
    }
}

/// One run: a client that is mostly honest, a cluster that answers in any order.
struct Run {
    fixture: Fixture,
    random: Random,
    client: Client,
    view: View,
    /// Subscriptions that are not in effect yet, and queries that are not answered yet.
    tokens: Vec<u64>,
    queries: Vec<(u32, Doid, Vec<Zone>)>,
    timers: Vec<ClientTimer>,
    /// Interests that the client believes to have.
    open: BTreeSet<u16>,
    seed: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut fixture = Fixture::with(|agent| {
            agent.relocate = true;
        });
        let client = fixture.established();
        Self {
            fixture,
            random: Random::new(seed),
            client,
            view: View::default(),
            tokens: Vec::new(),
            queries: Vec::new(),
            timers: Vec::new(),
            open: BTreeSet::new(),
            seed,
        }
    }

    fn note(&mut self, seen: Vec<Seen>) {
        self.view.check(&seen, &format!("seed {}", self.seed));
        for action in seen {
            match action {
                Seen::Await(token) => self.tokens.push(token),
                Seen::Timer(_, timer) => self.timers.push(timer),
                Seen::Published { message_type: t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, payload, .. } => {
                    let mut reader = Reader::new(&payload);
                    let (context, parent) = (reader.u32().unwrap(), reader.doid().unwrap());
                    let count = reader.u16().unwrap();
                    let zones = (0..count).map(|_| reader.zone().unwrap()).collect();
                    self.queries.push((context, parent, zones));
                }
                _ => {}
            }
        }
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.random.below(from.len())].clone())
    }

    fn doid(&mut self) -> Doid {
        7000 + self.random.below(60) as Doid
    }

    fn zone(&mut self) -> Zone {
        1 + self.random.below(6) as Zone
    }

    /// A message that an honest client could send.
    fn valid(&mut self) -> Vec<u8> {
        let say = self.fixture.avatar_field("say");
        let visible: Vec<Doid> = self.view.visible.iter().copied().collect();
        let open: Vec<u16> = self.open.iter().copied().collect();
        let message = match self.random.below(8) {
            0 => Encoder::client(t::CLIENT_HEARTBEAT),
            1..=3 => {
                let count = 1 + self.random.below(3);
                let zones: Vec<Zone> = (0..count).map(|_| self.zone()).collect();
                let id = self.random.below(6) as u16;
                self.open.insert(id);
                add_interest(self.random.number() as u32, id, 5000, &zones)
            }
            4 => match self.pick(&open) {
                Some(id) => {
                    self.open.remove(&id);
                    Encoder::client(t::CLIENT_REMOVE_INTEREST).u32(1).u16(id)
                }
                None => Encoder::client(t::CLIENT_HEARTBEAT),
            },
            _ => match self.pick(&visible) {
                Some(doid) => Encoder::client(t::CLIENT_OBJECT_SET_FIELD).doid(doid).u16(say).blob(b"hello"),
                None => Encoder::client(t::CLIENT_HEARTBEAT),
            },
        };
        message.finish().unwrap().to_vec()
    }

    /// The same with something wrong.
    fn mutated(&mut self) -> Vec<u8> {
        let mut frame = self.valid();
        match self.random.below(4) {
            0 => {
                let index = self.random.below(frame.len());
                frame[index] = self.random.number() as u8;
            }
            1 => frame.truncate(self.random.below(frame.len())),
            2 => {
                let extra = self.random.below(20);
                frame.extend((0..extra).map(|index| index as u8));
                let length = (frame.len() - 2) as u16;
                frame[..2].copy_from_slice(&length.to_le_bytes());
            }
            _ => frame = (0..self.random.below(200)).map(|_| self.random.number() as u8).collect(),
        }
        frame
    }

    /// Something of the cluster: an answer, a move, an update, a deletion, the passing of time.
    fn cluster(&mut self) {
        let client = self.client;
        let (doid, zone, to) = (self.doid(), self.zone(), self.zone());
        let field = self.fixture.avatar_field("setPosition");
        let seen = match self.random.below(12) {
            0..=2 => {
                let Some(token) = self.pick(&self.tokens.clone()) else { return };
                self.tokens.retain(|other| *other != token);
                self.fixture.agents.on_subscribed(client.channel, token, &mut self.fixture.out);
                self.fixture.seen()
            }
            3..=4 => {
                let Some((context, parent, zones)) = self.pick(&self.queries.clone()) else { return };
                let zone = zones[self.random.below(zones.len())];
                self.fixture.snapshot(client, context, doid, parent, zone)
            }
            5 => {
                let Some((context, ..)) = self.pick(&self.queries.clone()) else { return };
                self.queries.retain(|(other, ..)| *other != context);
                let count = self.random.below(5) as u32;
                self.fixture.count(client, context, count)
            }
            6 => self.fixture.enter(client, doid, 5000, zone),
            7 => self.fixture.moved(client, doid, (5000, to), (5000, zone)),
            8 => self.fixture.update(client, doid, field, b"1234"),
            9 => self.fixture.delete(client, doid),
            10 => {
                self.fixture.agents.on_sent(client.connection, &mut self.fixture.out);
                self.fixture.seen()
            }
            _ => {
                self.fixture.out.now_us += INTEREST_TIMEOUT_US / 3;
                let Some(timer) = self.pick(&self.timers.clone()) else { return };
                self.timers.retain(|other| *other != timer);
                self.fixture.fire(timer)
            }
        };
        self.note(seen);
    }

    fn client_sends(&mut self, bytes: &[u8]) {
        let used = self.fixture.agents.on_received(self.client.connection, bytes, &mut self.fixture.out);
        assert!(used <= bytes.len());
        let seen = self.fixture.seen();
        self.note(seen);
    }

    fn finish(mut self) {
        if !self.view.has_ended {
            let seen = self.fixture.lose(self.client);
            assert!(seen.contains(&Seen::Release(0, self.client.channel)), "seed {}", self.seed);
        }
        assert_eq!(self.fixture.out.metrics.panics, 0, "seed {}", self.seed);
        assert_eq!(self.fixture.out.metrics.sessions_open, 0, "seed {}", self.seed);
        let agents = &self.fixture.agents;
        assert!(agents.sessions.is_empty() && agents.connections.is_empty(), "seed {}", self.seed);
        // Nothing that comes late finds anybody.
        let client = self.client;
        assert_eq!(self.fixture.enter(client, 7000, 5000, 1), []);
        self.fixture.agents.on_sent(client.connection, &mut self.fixture.out);
        assert_eq!(self.fixture.seen(), []);
    }
}

#[test]
fn honest_conversations_in_any_order_keep_the_view_right() {
    for seed in 0..400 {
        let mut run = Run::new(seed);
        for _ in 0..150 {
            if run.random.below(4) == 0 {
                let message = run.valid();
                run.client_sends(&message);
            } else {
                run.cluster();
            }
            assert!(!run.view.has_ended, "an honest client is not ejected: seed {seed}");
        }
        run.finish();
    }
}

#[test]
fn mutated_conversations_cost_their_session_and_nothing_else() {
    let mut ended = 0;
    for seed in 0..2000 {
        let mut run = Run::new(seed);
        for _ in 0..60 {
            match run.random.below(6) {
                0 => {
                    let message = run.mutated();
                    run.client_sends(&message);
                }
                1 | 2 => {
                    let message = run.valid();
                    run.client_sends(&message);
                }
                _ => run.cluster(),
            }
        }
        ended += usize::from(run.view.has_ended);
        run.finish();
    }
    assert!(ended > 500, "mutations are found out: {ended} of 2000");
}

#[test]
fn random_frames_in_every_state_end_the_session_at_most() {
    for seed in 0..2000 {
        let mut random = Random::new(seed);
        let mut fixture = Fixture::new();
        let client = match seed % 3 {
            0 => fixture.connect(),
            1 => fixture.anonymous(),
            _ => fixture.established(),
        };
        let mut view = View::default();
        for _ in 0..30 {
            let mut body: Vec<u8> = (0..random.below(40)).map(|_| random.number() as u8).collect();
            if body.len() >= 2 && random.below(3) > 0 {
                let known = [1, 2, 3, 4, 5, 120, 121, 132, 140, 142, 200, 201, 203, 204];
                body[..2].copy_from_slice(&u16::to_le_bytes(known[random.below(known.len())]));
            }
            let mut frame = (body.len() as u16).to_le_bytes().to_vec();
            frame.extend(body);
            fixture.agents.on_received(client.connection, &frame, &mut fixture.out);
            let seen = fixture.seen();
            view.check(&seen, &format!("seed {seed}"));
        }
        assert_eq!(fixture.out.metrics.panics, 0, "seed {seed}");
    }
}

//! Stored objects: an archivist creates, reads, writes and deletes them at the Database Server, wakes them by the Database
//! State Server, writes and reads them asleep and awake, and lets them go (`protocol-ss-dbss-db.md` §3, §4).
//!
//! The database is the engine's own, over memory, and writes when the play says so. Whatever is done to an object until the
//! next rest takes one way, by the one role or by the other: between the two there is no order. The archivist hears every
//! answer, what the database announces, and what is said where its objects are; it must hear exactly that.

use crate::simulation::cast::Link;
use crate::simulation::contract::{CLASS_STORED, MOOD, PURSE, RANK, RANK_DEFAULT, TITLE};
use crate::simulation::play::Play;
use crate::simulation::view::Place;
use crate::simulation::wire::{Answer, Payload, compare, describe_internal, frame, note};
use donet::wire::{
    Channel, Datagram, Doid, Encoder, MessageType, database_broadcast_channel, location_channel, message_type as t,
};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

pub const STORED: RangeInclusive<Doid> = 100_000..=100_999;
pub const DATABASE: Channel = 103_000;
const ARCHIVIST: Channel = 810_000;
/// Nobody is there, and nobody else looks there.
const ARCHIVE: Doid = 19_000;
const STORED_MAX: usize = 12;

/// Which role it is that something is done by until the next rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Database,
    StateServer,
}

/// Packed values by field.
type Values = BTreeMap<u16, Vec<u8>>;

#[derive(Debug, Default)]
struct Stored {
    /// What the database has of it.
    disk: Option<Values>,
    /// What it has while it is awake, and where it is.
    live: Option<(Place, Values)>,
    way: Option<Way>,
    is_settled: bool,
    /// It was told to wake since the last rest: told once more, it may be loading or not.
    was_woken: bool,
}

/// Whoever does all this.
pub struct Archivist {
    pub link: Link,
    stored: BTreeMap<Doid, Stored>,
    /// What each channel must have brought of each object since the last rest, in order.
    told: BTreeMap<(Channel, Doid), Vec<Answer>>,
    number: u32,
}

fn pairs(payload: Payload, values: &Values) -> Payload {
    let payload = payload.u16(values.len() as u16);
    values.iter().fold(payload, |payload, (field, value)| payload.u16(*field).bytes(value))
}

fn only(values: &Values, fields: &[u16]) -> Values {
    values.iter().filter(|(field, _)| fields.contains(field)).map(|(field, value)| (*field, value.clone())).collect()
}

impl Archivist {
    pub fn new(link: Link) -> Self {
        Self { link, stored: BTreeMap::new(), told: BTreeMap::new(), number: 0 }
    }

    /// How many are awake.
    pub fn awake(&self) -> usize {
        self.stored.values().filter(|stored| stored.live.is_some()).count()
    }

    /// The database says what it has changed.
    fn announces(&mut self, doid: Doid, message_type: MessageType, payload: Payload) {
        let told = self.told.entry((database_broadcast_channel(doid), doid)).or_default();
        told.push((message_type, payload.0));
    }

    /// Said where it is.
    fn says(&mut self, (place, doid): (Place, Doid), message_type: MessageType, payload: Payload) {
        let told = self.told.entry((location_channel(place.0, place.1), doid)).or_default();
        told.push((message_type, payload.0));
    }

    fn answers(&mut self, message_type: MessageType, payload: Payload) {
        self.link.expected.push((message_type, payload.0));
    }

    /// The database has set these.
    fn stores(&mut self, doid: Doid, set: &Values) {
        let Some(disk) = self.stored.get_mut(&doid).and_then(|stored| stored.disk.as_mut()) else { return };
        disk.extend(set.clone());
        match (set.len(), set.iter().next()) {
            (1, Some((&field, value))) => {
                let payload = Payload::new().u32(doid).u16(field).bytes(value);
                self.announces(doid, t::DBSERVER_OBJECT_SET_FIELD, payload);
            }
            _ => self.announces(doid, t::DBSERVER_OBJECT_SET_FIELDS, pairs(Payload::new().u32(doid), set)),
        }
    }

    /// The database has nothing of it any more.
    fn forgets(&mut self, doid: Doid) {
        if self.stored.get_mut(&doid).and_then(|stored| stored.disk.take()).is_some() {
            self.announces(doid, t::DBSERVER_OBJECT_DELETE, Payload::new().u32(doid));
        }
    }
}

impl Play {
    pub fn open_the_archive(&mut self) {
        let (first, last) = (database_broadcast_channel(*STORED.start()), database_broadcast_channel(*STORED.end()));
        let (here, there) = (location_channel(ARCHIVE, 0), location_channel(ARCHIVE, u32::MAX));
        let own = Encoder::control(t::CONTROL_ADD_CHANNEL).channel(ARCHIVIST);
        let news = Encoder::control(t::CONTROL_ADD_RANGE).channel(first).channel(last);
        let place = Encoder::control(t::CONTROL_ADD_RANGE).channel(here).channel(there);
        for message in [own, news, place] {
            self.world.send(self.archivist.link.peer, &frame(message));
        }
    }

    fn archive(&mut self, to: Channel, message_type: MessageType, payload: Payload) {
        let frame = frame(Encoder::internal(&[to], ARCHIVIST, message_type).bytes(&payload.0));
        note(|| format!("archivist → {}", describe_internal(&frame[2..])));
        self.world.send(self.archivist.link.peer, &frame);
    }

    pub fn archivist_acts(&mut self) {
        let settled = self.archivist.stored.iter().filter(|(_, stored)| stored.is_settled);
        let settled: Vec<Doid> = settled.map(|(&doid, _)| doid).collect();
        let may_create = self.archivist.stored.len() < STORED_MAX;
        if may_create && (settled.is_empty() || self.random.below(6) == 0) {
            return self.store_anew();
        }
        if settled.is_empty() {
            return;
        }
        let doid = settled[self.random.below(settled.len())];
        let drawn = [Way::Database, Way::StateServer, Way::StateServer][self.random.below(3)];
        let stored = self.archivist.stored.get_mut(&doid).expect("drawn");
        match *stored.way.get_or_insert(drawn) {
            Way::Database if self.random.below(2) == 0 => self.read_at_database(doid),
            Way::Database => self.write_at_database(doid),
            Way::StateServer if self.random.below(2) == 0 => self.read_stored(doid),
            Way::StateServer => self.write_stored(doid),
        }
    }

    fn context(&mut self) -> u32 {
        self.next_question += 1;
        self.next_question
    }

    /// A value of a field that nothing else has.
    fn fresh(&mut self, field: u16) -> Vec<u8> {
        self.archivist.number += 1;
        let number = self.archivist.number;
        if field == TITLE { Payload::new().value((9000, number)).0 } else { Payload::new().u32(number).0 }
    }

    /// Of what it is given, the database takes what it stores; the rank has a default.
    fn store_anew(&mut self) {
        let context = self.context();
        let doid = STORED.start() + self.archivist.stored.len() as Doid;
        let mut disk = Values::from([(RANK, Payload::new().u32(RANK_DEFAULT).0)]);
        let mut given = Values::new();
        for field in [RANK, TITLE, PURSE, MOOD] {
            if self.random.below(3) == 0 {
                let value = self.fresh(field);
                given.insert(field, value);
            }
        }
        disk.extend(only(&given, &[RANK, TITLE, PURSE]));
        let payload = pairs(Payload::new().u32(context).u16(CLASS_STORED), &given);
        self.archive(DATABASE, t::DBSERVER_CREATE_OBJECT, payload);
        self.archivist.answers(t::DBSERVER_CREATE_OBJECT_RESP, Payload::new().u32(context).u32(doid));
        self.archivist.stored.insert(doid, Stored { disk: Some(disk), ..Stored::default() });
    }

    fn read_at_database(&mut self, doid: Doid) {
        let context = self.context();
        let (asked, answer) = (Payload::new().u32(context).u32(doid), Payload::new().u32(context));
        let disk = self.archivist.stored[&doid].disk.clone();
        match self.random.below(3) {
            0 => {
                self.archive(DATABASE, t::DBSERVER_OBJECT_GET_ALL, asked);
                let answer = match disk {
                    Some(disk) => pairs(answer.u8(1).u16(CLASS_STORED), &disk),
                    None => answer.u8(0),
                };
                self.archivist.answers(t::DBSERVER_OBJECT_GET_ALL_RESP, answer);
            }
            1 => {
                let field = [RANK, TITLE, PURSE][self.random.below(3)];
                self.archive(DATABASE, t::DBSERVER_OBJECT_GET_FIELD, asked.u16(field));
                let value = disk.and_then(|disk| disk.get(&field).cloned());
                let answer = match value {
                    Some(value) => answer.u8(1).u16(field).bytes(&value),
                    None => answer.u8(0),
                };
                self.archivist.answers(t::DBSERVER_OBJECT_GET_FIELD_RESP, answer);
            }
            _ => {
                let asked = asked.u16(2).u16(PURSE).u16(TITLE);
                self.archive(DATABASE, t::DBSERVER_OBJECT_GET_FIELDS, asked);
                let answer = match disk {
                    Some(disk) => pairs(answer.u8(1), &only(&disk, &[PURSE, TITLE])),
                    None => answer.u8(0),
                };
                self.archivist.answers(t::DBSERVER_OBJECT_GET_FIELDS_RESP, answer);
            }
        }
    }

    fn write_at_database(&mut self, doid: Doid) {
        let (rank, purse, title) = (self.fresh(RANK), self.fresh(PURSE), self.fresh(TITLE));
        match self.random.below(12) {
            0..=2 => {
                let (field, value) = [(RANK, rank), (PURSE, purse), (TITLE, title)][self.random.below(3)].clone();
                let payload = Payload::new().u32(doid).u16(field).bytes(&value);
                self.archive(DATABASE, t::DBSERVER_OBJECT_SET_FIELD, payload);
                self.archivist.stores(doid, &[(field, value)].into());
            }
            3..=5 => {
                let set = Values::from([(RANK, rank), (PURSE, purse)]);
                self.archive(DATABASE, t::DBSERVER_OBJECT_SET_FIELDS, pairs(Payload::new().u32(doid), &set));
                self.archivist.stores(doid, &set);
            }
            6..=8 => self.write_if(doid, purse, title),
            9 | 10 => {
                let field = [RANK, TITLE][self.random.below(2)];
                let payload = Payload::new().u32(doid).u16(field);
                self.archive(DATABASE, t::DBSERVER_OBJECT_DELETE_FIELD, payload);
                if field == RANK {
                    let default = Payload::new().u32(RANK_DEFAULT).0;
                    return self.archivist.stores(doid, &[(RANK, default)].into());
                }
                if let Some(disk) = self.archivist.stored.get_mut(&doid).and_then(|stored| stored.disk.as_mut()) {
                    disk.remove(&field);
                    let payload = Payload::new().u32(doid).u16(field);
                    self.archivist.announces(doid, t::DBSERVER_OBJECT_DELETE_FIELD, payload);
                }
            }
            _ => {
                self.archive(DATABASE, t::DBSERVER_OBJECT_DELETE, Payload::new().u32(doid));
                self.archivist.forgets(doid);
            }
        }
    }

    /// A purse that is as the archivist believes, or not; a title that is not taken yet.
    fn write_if(&mut self, doid: Doid, purse: Vec<u8>, title: Vec<u8>) {
        let context = self.context();
        let disk = self.archivist.stored[&doid].disk.clone();
        let current = |field: u16| disk.as_ref().and_then(|disk| disk.get(&field).cloned());
        let head = Payload::new().u32(context).u32(doid);
        let (response, field, value, is_met) = if self.random.below(2) == 0 {
            let believed = match current(PURSE) {
                Some(current) if self.random.below(2) == 0 => current,
                _ => self.fresh(PURSE),
            };
            let is_met = current(PURSE).as_ref() == Some(&believed);
            let payload = head.u16(PURSE).bytes(&believed).bytes(&purse);
            self.archive(DATABASE, t::DBSERVER_OBJECT_SET_FIELD_IF_EQUALS, payload);
            (t::DBSERVER_OBJECT_SET_FIELD_IF_EQUALS_RESP, PURSE, purse, is_met)
        } else {
            let is_met = disk.is_some() && current(TITLE).is_none();
            let payload = head.u16(TITLE).bytes(&title);
            self.archive(DATABASE, t::DBSERVER_OBJECT_SET_FIELD_IF_EMPTY, payload);
            (t::DBSERVER_OBJECT_SET_FIELD_IF_EMPTY_RESP, TITLE, title, is_met)
        };
        let answer = Payload::new().u32(context).u8(u8::from(is_met));
        if is_met {
            self.archivist.stores(doid, &[(field, value)].into());
            return self.archivist.answers(response, answer);
        }
        let answer = match current(field) {
            Some(current) => answer.u16(field).bytes(&current),
            None => answer,
        };
        self.archivist.answers(response, answer);
    }

    /// Awake it answers for itself; asleep the role does, of what is stored and of defaults.
    fn read_stored(&mut self, doid: Doid) {
        let context = self.context();
        let Stored { disk, live, .. } = &self.archivist.stored[&doid];
        let asked = Payload::new().u32(context).u32(doid);
        let (answer, none) = (Payload::new().u32(context), Payload::new().u32(context).u8(0));
        let (question, asked, response, answer) = match self.random.below(4) {
            0 => {
                let answer = answer.u32(doid).u8(u8::from(live.is_some()));
                (t::DBSS_OBJECT_GET_ACTIVATED, asked, t::DBSS_OBJECT_GET_ACTIVATED_RESP, Some(answer))
            }
            1 => {
                let field = [RANK, TITLE, PURSE, MOOD][self.random.below(4)];
                // The purse is the database's alone.
                let values = live.as_ref().map(|(_, values)| values).or(disk.as_ref());
                let value = values.and_then(|values| values.get(&field)).filter(|_| field != PURSE);
                let answer = value.map_or(none, |value| answer.u8(1).u16(field).bytes(value));
                (t::STATESERVER_OBJECT_GET_FIELD, asked.u16(field), t::STATESERVER_OBJECT_GET_FIELD_RESP, Some(answer))
            }
            2 => {
                let asked = asked.u16(3).u16(TITLE).u16(MOOD).u16(RANK);
                let answer = match (live, disk) {
                    (Some((_, values)), _) => pairs(answer.u8(1), &only(values, &[RANK, TITLE, MOOD])),
                    (None, Some(disk)) => {
                        // What is not stored comes first, with its default.
                        let found = only(disk, &[RANK, TITLE]);
                        let answer = answer.u8(1).u16(1 + found.len() as u16).u16(MOOD).u32(0);
                        found.iter().fold(answer, |answer, (field, value)| answer.u16(*field).bytes(value))
                    }
                    (None, None) => none,
                };
                (t::STATESERVER_OBJECT_GET_FIELDS, asked, t::STATESERVER_OBJECT_GET_FIELDS_RESP, Some(answer))
            }
            _ => {
                let asleep = disk.as_ref().map(|disk| ((0, 0), disk));
                let shown = live.as_ref().map(|(place, values)| (*place, values)).or(asleep);
                let answer = shown.map(|(place, values)| {
                    let answer = answer.u32(doid).u32(place.0).u32(place.1).u16(CLASS_STORED);
                    pairs(answer.bytes(&values[&RANK]), &only(values, &[TITLE, MOOD]))
                });
                (t::STATESERVER_OBJECT_GET_ALL, asked, t::STATESERVER_OBJECT_GET_ALL_RESP, answer)
            }
        };
        if let Some(answer) = answer {
            self.archivist.answers(response, answer);
        }
        self.archive(doid.into(), question, asked);
    }

    fn write_stored(&mut self, doid: Doid) {
        match self.random.below(10) {
            0..=2 => self.wake(doid),
            3..=6 => {
                let fields = [&[RANK][..], &[TITLE], &[PURSE], &[MOOD], &[RANK, TITLE, MOOD]][self.random.below(5)];
                let set: Values = fields.iter().map(|&field| (field, self.fresh(field))).collect();
                self.set_stored(doid, &set);
            }
            7 | 8 => {
                self.archive(doid.into(), t::STATESERVER_OBJECT_DELETE_RAM, Payload::new().u32(doid));
                let live = self.archivist.stored.get_mut(&doid).and_then(|stored| stored.live.take());
                if let Some((place, _)) = live {
                    let payload = Payload::new().u32(doid);
                    self.archivist.says((place, doid), t::STATESERVER_OBJECT_DELETE_RAM, payload);
                }
            }
            _ if self.random.below(3) == 0 => {
                self.archive(doid.into(), t::DBSS_OBJECT_DELETE_DISK, Payload::new().u32(doid));
                if let Some((place, _)) = self.archivist.stored[&doid].live {
                    self.archivist.says((place, doid), t::DBSS_OBJECT_DELETE_DISK, Payload::new().u32(doid));
                }
                self.archivist.forgets(doid);
            }
            _ => {}
        }
    }

    /// It wakes as it is stored, but for what it is given now: that the database does not hear of.
    fn wake(&mut self, doid: Doid) {
        let stored = self.archivist.stored.get_mut(&doid).expect("drawn");
        if std::mem::replace(&mut stored.was_woken, true) {
            return;
        }
        let place = (ARCHIVE, self.zone());
        let head = Payload::new().u32(doid).u32(place.0).u32(place.1);
        let mut given = Values::new();
        if self.random.below(2) == 0 {
            self.archive(doid.into(), t::DBSS_OBJECT_ACTIVATE_WITH_DEFAULTS, head);
        } else {
            let field = [RANK, TITLE, MOOD][self.random.below(3)];
            given.insert(field, self.fresh(field));
            let payload = pairs(head.u16(CLASS_STORED), &given);
            self.archive(doid.into(), t::DBSS_OBJECT_ACTIVATE_WITH_DEFAULTS_OTHER, payload);
        }
        let stored = self.archivist.stored.get_mut(&doid).expect("drawn");
        let Some(disk) = stored.disk.as_ref().filter(|_| stored.live.is_none()) else {
            self.refused += 1;
            return;
        };
        let mut values = only(disk, &[RANK, TITLE]);
        values.extend(given);
        stored.live = Some((place, values.clone()));
        let shown = Payload::new().u32(doid).u32(place.0).u32(place.1).u16(CLASS_STORED).bytes(&values[&RANK]);
        let others = only(&values, &[TITLE, MOOD]);
        let (message_type, shown) = match others.is_empty() {
            true => (t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED, shown),
            false => (t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED_OTHER, pairs(shown, &others)),
        };
        self.archivist.says((place, doid), message_type, shown);
    }

    fn set_stored(&mut self, doid: Doid, set: &Values) {
        let head = Payload::new().u32(doid);
        let (message_type, payload) = match (set.len(), set.iter().next()) {
            (1, Some((&field, value))) => (t::STATESERVER_OBJECT_SET_FIELD, head.u16(field).bytes(value)),
            _ => (t::STATESERVER_OBJECT_SET_FIELDS, pairs(head, set)),
        };
        self.archive(doid.into(), message_type, payload);
        let stored = self.archivist.stored.get_mut(&doid).expect("drawn");
        if let Some((place, values)) = &mut stored.live {
            let (place, kept) = (*place, only(set, &[RANK, TITLE, MOOD]));
            values.extend(kept.clone());
            for (field, value) in &kept {
                let payload = Payload::new().u32(doid).u16(*field).bytes(value);
                self.archivist.says((place, doid), t::STATESERVER_OBJECT_SET_FIELD, payload);
            }
        }
        let forwarded = only(set, &[RANK, TITLE, PURSE]);
        if forwarded.is_empty() {
            return;
        }
        self.archivist.stores(doid, &forwarded);
    }

    /// At rest the archivist has heard exactly what there was.
    pub fn check_archive(&mut self) -> Result<(), String> {
        let archivist = &mut self.archivist;
        let mut answers = Vec::new();
        let mut told: BTreeMap<(Channel, Doid), Vec<Answer>> = BTreeMap::new();
        for body in archivist.link.answers.drain(..) {
            let datagram = Datagram::from_body(&body).map_err(|error| error.to_string())?;
            let (_, message_type, payload) = datagram.message().map_err(|error| error.to_string())?;
            let channel = datagram.recipients().next().unwrap_or_default();
            let answer = (message_type, payload.rest().to_vec());
            if channel == ARCHIVIST {
                answers.push(answer);
            } else {
                let doid = { payload }.doid().map_err(|error| error.to_string())?;
                told.entry((channel, doid)).or_default().push(answer);
            }
        }
        compare(answers, std::mem::take(&mut archivist.link.expected)).map_err(|error| format!("archivist {error}"))?;
        let due = std::mem::take(&mut archivist.told);
        if told != due {
            let differs = |key: &&(Channel, Doid)| told.get(key) != due.get(key);
            let key = told.keys().chain(due.keys()).find(differs).expect("they differ");
            return Err(format!("of {key:?} came {:02x?}, due was {:02x?}", told.get(key), due.get(key)));
        }
        for stored in archivist.stored.values_mut() {
            (stored.way, stored.is_settled, stored.was_woken) = (None, true, false);
        }
        Ok(())
    }
}

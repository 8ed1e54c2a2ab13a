//! What everybody hears, and what must be true of it: of each message when it comes, of the whole at rest.

use crate::simulation::bus::BUS;
use crate::simulation::cast::{AI_CHANNELS, AI_CHANNELS_END, FAREWELL, Phase, Record, SINGLE_AIS};
use crate::simulation::contract::{self, Value};
use crate::simulation::play::Play;
use crate::simulation::view::{Place, Seen};
use crate::simulation::wire::{bodies, compare, describe_client, describe_internal, message, note};
use donet::admin::{Answer, ExecutorFigures, Inspection, Question};
use donet::daemon::External;
use donet::reason::Reason;
use donet::wire::{Channel, Datagram, Doid, MessageType, message_type as t};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;

impl Play {
    /// Reads what everybody was sent, checks it, and lets links answer.
    pub fn hear(&mut self) -> Result<(), String> {
        for body in self.recorder.bodies(&mut self.world) {
            self.record(&body)?;
        }
        for body in self.ais.bodies(&mut self.world) {
            self.ai_hears(&body)?;
        }
        for body in self.fool.link.bodies(&mut self.world) {
            note(|| format!("fool ← {}", describe_internal(&body)));
            self.fool.link.answers.push(body);
        }
        for body in self.archivist.link.bodies(&mut self.world) {
            note(|| format!("archivist ← {}", describe_internal(&body)));
            self.archivist.link.answers.push(body);
        }
        for who in 0..self.links.len() {
            let Some(link) = self.links[who].as_mut() else { continue };
            for body in link.bodies(&mut self.world) {
                note(|| format!("link {who} ← {}", describe_internal(&body)));
                self.link_hears(who, body).map_err(|error| format!("link {who}: {error}"))?;
            }
        }
        for number in 0..self.clients.len() {
            let client = &mut self.clients[number];
            client.unread.extend(self.world.received(client.peer));
            for body in bodies(&mut client.unread) {
                note(|| format!("client {number} ← {}", describe_client(&body)));
                client.view.read(&body).map_err(|error| format!("client {number}: {error}"))?;
            }
        }
        Ok(())
    }

    fn link_hears(&mut self, who: usize, body: Vec<u8>) -> Result<(), String> {
        let datagram = Datagram::from_body(&body).map_err(|error| error.to_string())?;
        let (_, message_type, mut payload) = datagram.message().map_err(|error| error.to_string())?;
        match message_type {
            BUS => {
                self.bus.hear(who, payload)?;
                if self.hall_answers > 0 {
                    self.answer_in_the_hall(who);
                } else if self.random.below(3) == 0 {
                    self.publish(who);
                }
            }
            FAREWELL => {
                let number = payload.u32().map_err(|error| error.to_string())?;
                if self.early_farewells.remove(&number) {
                    return Ok(());
                }
                let Some(count) = self.farewells.get_mut(&number) else {
                    return Err(format!("the post-remove of client {number} came before its end"));
                };
                *count += 1;
            }
            t::CLIENTAGENT_DONE_INTEREST_RESP => self.server_interests.1 += 1,
            _ => {
                let link = self.links[who].as_mut().expect("it hears");
                link.answers.push(body);
            }
        }
        Ok(())
    }

    /// What the recorder hears of an object is its history.
    fn record(&mut self, body: &[u8]) -> Result<(), String> {
        let short = |error: donet::wire::Truncated| error.to_string();
        let datagram = Datagram::from_body(body).map_err(|error| error.to_string())?;
        let (_, message_type, mut payload) = datagram.message().map_err(short)?;
        let doid = payload.doid().map_err(short)?;
        note(|| format!("recorder ← {}", describe_internal(body)));
        match message_type {
            t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED
            | t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED_OTHER => {
                let place = (payload.doid().map_err(short)?, payload.zone().map_err(short)?);
                payload.u16().map_err(short)?;
                let value = payload.u32().map_err(short)?;
                let mut others = BTreeMap::new();
                if message_type == t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED_OTHER {
                    for _ in 0..payload.u16().map_err(short)? {
                        let field = payload.u16().map_err(short)?;
                        others.extend(contract::read(field, &mut payload).map_err(short)?);
                    }
                }
                match self.records.get_mut(&doid) {
                    Some(record) if record.is_over => {
                        record.former.push(std::mem::replace(&mut record.history, others.into_iter().collect()));
                        (record.place, record.value, record.is_over) = (place, value, false);
                    }
                    // It moves, as it is.
                    Some(record) if record.value == value && record.set_fields() == others => record.place = place,
                    Some(record) => return Err(format!("recorder: {doid} is not what it was: {record:?}")),
                    None => {
                        let history = others.into_iter().collect();
                        self.records.insert(doid, Record { place, value, history, ..Record::default() });
                    }
                }
            }
            t::STATESERVER_OBJECT_DELETE_RAM => self.recorded(doid)?.is_over = true,
            t::STATESERVER_OBJECT_DELETE_FIELD_RAM => {
                let field = payload.u16().map_err(short)?;
                let record = self.recorded(doid)?;
                if !record.set_fields().contains_key(&field) {
                    return Err(format!("recorder: {doid} lost {field}, which it had not"));
                }
                record.history.push((field, contract::UNSET));
            }
            t::STATESERVER_OBJECT_SET_FIELD => {
                let field = payload.u16().map_err(short)?;
                let values = contract::read(field, &mut payload).map_err(short)?;
                let record = self.recorded(doid)?;
                if field == contract::VALUE {
                    let (_, value) = values[0];
                    if value.1 != record.value + 1 {
                        return Err(format!("recorder: {doid} went from {} to {}", record.value, value.1));
                    }
                    record.value = value.1;
                    return Ok(());
                }
                for (field, value) in values {
                    let last = record.history.iter().rev().find(|(_, other)| other.0 == value.0);
                    if last.is_some_and(|(_, other)| other.1 >= value.1) {
                        return Err(format!("recorder: {doid} got {value:?} after {last:?} (G1)"));
                    }
                    record.history.push((field, value));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What the recorder knows of an object that it is told of, which must be there.
    fn recorded(&mut self, doid: Doid) -> Result<&mut Record, String> {
        let record = self.records.get_mut(&doid).filter(|record| !record.is_over);
        record.ok_or(format!("recorder: {doid} is not there"))
    }

    /// An AI is told once of what it becomes responsible for, and once that it is not any more.
    fn ai_hears(&mut self, body: &[u8]) -> Result<(), String> {
        let short = |error: donet::wire::Truncated| error.to_string();
        let datagram = Datagram::from_body(body).map_err(|error| error.to_string())?;
        let (_, message_type, mut payload) = datagram.message().map_err(short)?;
        let doid = payload.doid().map_err(short)?;
        note(|| format!("AIs ← {}", describe_internal(body)));
        for ai in datagram.recipients().filter(|&recipient| (AI_CHANNELS..AI_CHANNELS_END).contains(&recipient)) {
            let is_entry = matches!(
                message_type,
                t::STATESERVER_OBJECT_ENTER_AI_WITH_REQUIRED | t::STATESERVER_OBJECT_ENTER_AI_WITH_REQUIRED_OTHER
            );
            if let Some(single) = ai.checked_sub(SINGLE_AIS).filter(|_| is_entry)
                && let Some((whose, is_told)) = self.single_ais.get_mut(single as usize)
            {
                *is_told |= *whose == doid;
                if !*is_told {
                    return Err(format!("AI {ai} has {doid} before {whose}, from which that has it (G2)"));
                }
            }
            let view = self.ai_views.entry(ai).or_default();
            let is_news = match message_type {
                t::STATESERVER_OBJECT_ENTER_AI_WITH_REQUIRED | t::STATESERVER_OBJECT_ENTER_AI_WITH_REQUIRED_OTHER => {
                    view.insert(doid)
                }
                t::STATESERVER_OBJECT_CHANGING_AI | t::STATESERVER_OBJECT_DELETE_RAM => view.remove(&doid),
                // Moves and updates of what it is responsible for.
                _ => view.contains(&doid),
            };
            if !is_news {
                return Err(format!("AI {ai}: {} is no news", describe_internal(body)));
            }
        }
        Ok(())
    }

    fn check_ais(&self) -> Result<(), String> {
        let mut expected: BTreeMap<Channel, BTreeSet<Doid>> = BTreeMap::new();
        for &doid in self.things.keys() {
            let ai = self.ai_of(doid);
            if (AI_CHANNELS..AI_CHANNELS_END).contains(&ai) {
                expected.entry(ai).or_default().insert(doid);
            }
        }
        let told: BTreeMap<_, _> = self.ai_views.iter().filter(|(_, doids)| !doids.is_empty()).collect();
        if told != expected.iter().collect() {
            Err(format!("AIs have {told:?}, should have {expected:?}"))
        } else {
            Ok(())
        }
    }

    /// Lets everything come to rest, links' answers to each other included.
    pub fn rest(&mut self) -> Result<(), String> {
        // Who has gone takes nothing any more.
        for client in self.clients.iter().filter(|client| client.stage != Phase::Gone) {
            let is_stuck = matches!(client.stage, Phase::Stuck { .. });
            self.world.stall(client.peer, is_stuck);
        }
        for _ in 0..200 {
            self.world.run();
            let before = self.bus.delivered;
            let has_stored = self.tree.step_database(usize::MAX, &mut self.world);
            self.hear()?;
            if self.bus.delivered == before && !has_stored && !self.world.advance(1) {
                return Ok(());
            }
        }
        Err("links answer each other for ever".to_owned())
    }

    pub fn check_at_rest(&mut self) -> Result<(), String> {
        self.rest()?;
        self.look_after_the_stuck()?;
        note(|| "--- rest".to_owned());
        self.bus.check_at_rest()?;
        let (asked, answered) = self.server_interests;
        let has_ended = self.clients.iter().any(|client| client.stage == Phase::Gone);
        if answered > asked || (answered < asked && !has_ended) {
            return Err(format!("{asked} interests were asked for by keepers, {answered} answered"));
        }
        if let Some(number) = self.early_farewells.first() {
            return Err(format!("the post-remove of client {number} never came, whose daemon seemed to end"));
        }
        let is_gone = |number: u32| self.clients[number as usize].stage == Phase::Gone;
        let mut ended = self.farewells.iter().filter(|&(&number, _)| is_gone(number));
        let may_be_lost = |number: &u32| self.lost_farewells.contains(number);
        if let Some((number, count)) =
            ended.find(|&(number, &count)| count != 1 && !(count == 0 && may_be_lost(number)))
        {
            return Err(format!("the post-remove of client {number} came {count} times"));
        }
        for (doid, thing) in self.things.iter().filter(|(_, thing)| thing.place.0 != 0) {
            let record = self.records.get(doid).ok_or(format!("the recorder never heard of {doid}"))?;
            let mut set = record.set_fields();
            set.retain(|field, _| contract::KEPT.contains(field));
            if (record.place, record.value, &set) != (thing.place, thing.value, &thing.set) {
                return Err(format!("recorder: {doid} is {record:?}, not {thing:?}"));
            }
        }
        let alive = self.records.iter().filter(|(_, record)| !record.is_over).map(|(&doid, _)| doid);
        let alive: BTreeSet<Doid> = alive.collect();
        let seen = self.things.iter().filter(|(_, thing)| thing.place.0 != 0).map(|(&doid, _)| doid);
        let seen: BTreeSet<Doid> = seen.chain(self.giants.keys().copied()).collect();
        if alive != seen {
            return Err(format!("recorder: {:?} end or live wrongly", alive.symmetric_difference(&seen)));
        }
        self.check_answers()?;
        self.check_archive()?;
        self.check_figures()?;
        self.check_ais()?;
        for number in 0..self.clients.len() {
            self.check_client(number).map_err(|error| format!("client {number}: {error}"))?;
        }
        for thing in self.things.values_mut() {
            (thing.owner_changed, thing.used, thing.is_settled, thing.is_pinned) = (false, false, true, false);
        }
        Ok(())
    }

    /// Keepers have been answered what they asked since the last rest, and the fool has heard nothing else at all.
    fn check_answers(&mut self) -> Result<(), String> {
        for (who, link) in self.links.iter_mut().enumerate() {
            let Some(link) = link else { continue };
            let heard = link.answers.drain(..).filter_map(|body| message(&body));
            let answers = heard.filter(|(message_type, _)| ANSWERS_TO_KEEPERS.contains(message_type)).collect();
            compare(answers, std::mem::take(&mut link.expected)).map_err(|error| format!("link {who} is {error}"))?;
        }
        let link = &mut self.fool.link;
        let answers = link.answers.drain(..).filter_map(|body| message(&body)).collect();
        compare(answers, std::mem::take(&mut link.expected)).map_err(|error| format!("the fool is {error}"))
    }

    /// What each executor has counted.
    fn figures(&mut self) -> Vec<ExecutorFigures> {
        let (send, figures) = mpsc::channel();
        for (daemon, shard) in self.tree.executors() {
            let send = send.clone();
            let reply = Box::new(move |answer| send.send(answer).expect("it is awaited"));
            let inspection = Inspection { question: Question::Figures, reply };
            self.world.inject_into(daemon, shard, External::Inspect(inspection));
        }
        drop(send);
        self.world.run();
        let figures = figures.try_iter().filter_map(|answer| match answer {
            Answer::Figures(figures) => Some(*figures),
            _ => None,
        });
        figures.collect()
    }

    /// Datagrams that daemons have not sent upstream for want of a link.
    pub fn count_lost_upstream(&mut self) -> u64 {
        self.figures().iter().map(|of| of.metrics.upstream_datagrams_lost).sum()
    }

    /// What is published while a link upstream is down is counted, each datagram.
    pub fn check_lost_upstream(&mut self) -> Result<(), String> {
        match self.count_lost_upstream() {
            lost if lost == self.lost_upstream => Ok(()),
            lost => Err(format!("{lost} upstream datagrams lost counted, not {}", self.lost_upstream)),
        }
    }

    /// What the executors have counted is what was done to them.
    fn check_figures(&mut self) -> Result<(), String> {
        let all = self.figures();
        let sum = |figure: fn(&ExecutorFigures) -> u64| all.iter().map(figure).sum::<u64>();
        let expected = [
            ("executors", self.tree.executors().len() as u64, all.len() as u64),
            (
                "objects",
                (self.things.len() + self.giants.len() + self.archivist.awake()) as u64,
                sum(|of| of.metrics.objects),
            ),
            ("refused", self.refused, sum(|of| of.metrics.object_messages_refused)),
            // Client Agents count what they do not pass on: that a field has no value any more.
            ("unknown", self.unknown, sum(|of| of.metrics.unknown_messages).min(self.unknown)),
            ("timed out interests", 0, if self.has_timeouts { 0 } else { sum(|of| of.metrics.interests_timed_out) }),
            ("waiting fan-outs", 0, sum(|of| of.metrics.fan_outs_waiting)),
            ("upstream datagrams lost", self.lost_upstream, sum(|of| of.metrics.upstream_datagrams_lost)),
            ("panics", 0, sum(|of| of.counters.uncontained_panics)),
        ];
        self.deferred = sum(|of| of.metrics.fan_outs_deferred);
        self.dropped = self.dropped.max(sum(|of| of.metrics.closed(Reason::WriteBudget)));
        match expected.iter().find(|(_, expected, counted)| expected != counted) {
            Some((what, expected, counted)) => Err(format!("{counted} {what} counted, not {expected}")),
            None => Ok(()),
        }
    }

    fn check_client(&mut self, number: usize) -> Result<(), String> {
        let client = &mut self.clients[number];
        if matches!(client.stage, Phase::Gone | Phase::Stuck { .. }) {
            client.view.windows.clear();
            return Ok(());
        }
        if let Some(code) = client.view.ejected {
            return Err(format!("ejected with {code}"));
        }
        if self.world.is_closed(client.peer) {
            return Err("closed".to_owned());
        }
        if client.view.done != client.asked {
            let missing: Vec<_> = client.asked.symmetric_difference(&client.view.done).collect();
            return Err(format!("interests {missing:?} are not done"));
        }
        if !client.view.announced.is_empty() {
            return Err(format!("interests of the server {:?} are not done", client.view.announced));
        }
        let covers = |place: &Place| {
            client.interests.values().any(|(parent, zones)| *parent == place.0 && zones.contains(&place.1))
        };
        let moved = &client.view.moved;
        let expected: BTreeMap<Doid, (Place, u32)> = self
            .things
            .iter()
            .filter(|(doid, thing)| covers(&thing.place) && !moved.contains(doid))
            .map(|(&doid, thing)| (doid, (thing.place, thing.value)))
            .collect();
        let state = |seen: &Seen| (seen.place, seen.value);
        let visible: BTreeMap<Doid, (Place, u32)> = client
            .view
            .visible
            .iter()
            .filter(|(doid, _)| !moved.contains(doid))
            .map(|(&doid, seen)| (doid, state(seen)))
            .collect();
        if visible != expected {
            let differ = |doid: &&Doid| visible.get(doid) != expected.get(doid);
            let all: BTreeSet<Doid> = visible.keys().chain(expected.keys()).copied().collect();
            let text: Vec<String> = all
                .iter()
                .filter(differ)
                .map(|doid| format!("{doid}: sees {:?}, should {:?}", visible.get(doid), expected.get(doid)))
                .collect();
            return Err(format!("(G5) {}", text.join("; ")));
        }
        let owned: BTreeSet<Doid> = client.view.owned.keys().copied().collect();
        let own = self.things.iter().filter(|(_, thing)| thing.owner == client.channel).map(|(&doid, _)| doid);
        let own: BTreeSet<Doid> = own.collect();
        if owned != own {
            return Err(format!("owns {owned:?}, should own {own:?}"));
        }
        let own_writer = 1 + number as u32;
        let open = client.view.visible.iter().map(|(&doid, seen)| (doid, seen.clone(), true));
        let ended = std::mem::take(&mut client.view.windows);
        let windows = ended.into_iter().map(|window| (window.doid, window.seen, window.is_open)).chain(open);
        let unknown = Record::default();
        for (doid, seen, is_open) in windows.filter(|(doid, ..)| !client.view.moved.contains(doid)) {
            let record = self.records.get(&doid).unwrap_or(&unknown);
            let outcome = check_window(&seen, is_open, &record.history, own_writer);
            let was_another = || {
                !is_open && record.former.iter().any(|history| check_window(&seen, false, history, own_writer).is_ok())
            };
            if let Err(error) = outcome
                && !was_another()
            {
                return Err(format!("{doid}: {error} (G6)"));
            }
        }
        Ok(())
    }
}

/// What keepers ask for themselves; the notices to them as AIs and owners are others' business.
const ANSWERS_TO_KEEPERS: [MessageType; 6] = [
    t::STATESERVER_OBJECT_GET_FIELD_RESP,
    t::STATESERVER_OBJECT_GET_FIELDS_RESP,
    t::STATESERVER_OBJECT_GET_ALL_RESP,
    t::STATESERVER_OBJECT_GET_LOCATION_RESP,
    t::STATESERVER_OBJECT_GET_AI_RESP,
    t::STATESERVER_OBJECT_GET_OWNER_RESP,
];

/// What a client was told while an object was in view must be what happened to it, in that order, but for what the client
/// wrote itself; if it is in view still, all of it.
fn check_window(seen: &Seen, is_open: bool, history: &[(u16, Value)], own: u32) -> Result<(), String> {
    let state_at = |place: usize| {
        let record = Record { history: history[..place].to_vec(), ..Record::default() };
        record.set_fields()
    };
    // Where it can have entered: after what it entered with, and before anything else of it happened.
    let places = (0..=history.len()).filter(|&place| state_at(place) == seen.entered_with);
    let mut outcome = Err(format!("entered with {:?}, as it never was in {history:?}", seen.entered_with));
    for place in places {
        outcome = check_told(seen, is_open, &history[place..], own);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn check_told(seen: &Seen, is_open: bool, history: &[(u16, Value)], own: u32) -> Result<(), String> {
    // Clients have no message for what is unset.
    let mut expected = history.iter().filter(|(_, value)| value.0 != own && *value != contract::UNSET);
    for told in &seen.told {
        let next = if seen.may_miss { expected.find(|value| *value == told) } else { expected.next() };
        if next != Some(told) {
            return Err(format!("told of {told:?} where {next:?} was due; of {history:?} it was told {:?}", seen.told));
        }
    }
    match expected.next() {
        _ if is_open && seen.may_miss => {
            Err("its view was not renewed, as after a lost link or a forgiven gap".to_owned())
        }
        Some(missed) if is_open => Err(format!("never told of {missed:?}")),
        _ => Ok(()),
    }
}

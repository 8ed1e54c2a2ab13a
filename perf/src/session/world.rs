//! The connections of the session, what everybody has heard, and the barrier between its phases.
//!
//! Nothing is compared before [`World::settle`] has proved that all consequences of a phase have arrived: so "exactly
//! once" and "nobody else" are facts and not a matter of how long one waits.

use super::cast::{AI, Cast, DISTRICT, MARKER, OBSERVER, update};
use crate::client::Client;
use crate::contract::Model;
use crate::daemon::numbers::{DATABASE, LOGIN_MANAGER};
use crate::failure::{Failure, ensure, exactly, exactly_in_any_order};
use crate::internal::Internal;
use crate::message::{Message, Payload, client_frame};
use crate::peer::Hub;
use donet::wire::{Channel, Doid, MessageType, Zone, database_broadcast_channel, message_type as t};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// How long the session waits for any one thing. Far beyond what any of them takes: it ends hangs and decides nothing.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Where the daemon listens.
#[derive(Clone, Copy, Debug)]
pub struct Endpoints {
    pub message_director: SocketAddr,
    pub client_agent: SocketAddr,
}

/// A client that has logged in.
#[derive(Debug)]
pub struct Player {
    pub client: Client,
    /// The channel that the Client Agent has given it.
    pub channel: Channel,
    pub avatar: Doid,
    /// The zones of the district that it looks at.
    pub view: Vec<Zone>,
}

impl Player {
    pub fn name(&self) -> &str {
        self.client.name()
    }
}

/// What everybody has received since the last comparison, or is to have received. Players by index.
#[derive(Debug, Default)]
pub struct Heard {
    pub ai: Vec<Message>,
    pub observer: Vec<Message>,
    pub players: BTreeMap<usize, Vec<Message>>,
}

/// The session's side of the world.
#[derive(Debug)]
pub struct World {
    pub cast: Cast,
    pub hub: Hub,
    pub endpoints: Endpoints,
    pub ai: Internal,
    pub observer: Internal,
    /// The players that are still connected, by index.
    pub players: BTreeMap<usize, Player>,
    /// Live objects.
    pub models: BTreeMap<Doid, Model>,
    /// What the database holds of each stored object.
    pub stored: BTreeMap<Doid, BTreeMap<u16, Vec<u8>>>,
    /// What was heard and not yet compared.
    heard: Heard,
    /// What should have been heard by now.
    pub expected: Heard,
    /// What the database has announced to the observer, and what it should have by now. A change is announced when it
    /// is on disk, and no barrier through live objects says when that is: these are awaited and compared by themselves.
    announced: Vec<Message>,
    expected_announcements: Vec<Message>,
    next_token: u32,
}

impl World {
    /// Connects the AI and the observer.
    ///
    /// # Errors
    /// When there is nobody to connect to.
    pub fn new(cast: Cast, endpoints: Endpoints) -> Result<Self, Failure> {
        let hub = Hub::new(PATIENCE)?;
        let ai = Internal::connect(&hub, "the AI", endpoints.message_director, AI)?;
        let observer = Internal::connect(&hub, "the observer", endpoints.message_director, OBSERVER)?;
        let mut world = Self {
            cast,
            hub,
            endpoints,
            ai,
            observer,
            players: BTreeMap::new(),
            models: BTreeMap::new(),
            stored: BTreeMap::new(),
            heard: Heard::default(),
            expected: Heard::default(),
            announced: Vec::new(),
            expected_announcements: Vec::new(),
            next_token: 1,
        };
        world.ai.subscribe(LOGIN_MANAGER.into());
        world.confirm_subscriptions()?;
        Ok(world)
    }

    /// Begins anew at a daemon that has been restarted: connections and live objects are gone, what is stored is not.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub fn reconnect(&mut self, endpoints: Endpoints) -> Result<(), Failure> {
        let stored = std::mem::take(&mut self.stored);
        let next_token = self.next_token;
        *self = Self::new(self.cast.clone(), endpoints)?;
        self.stored = stored;
        self.next_token = next_token;
        Ok(())
    }

    /// A number not used before: contexts and markers.
    pub fn token(&mut self) -> u32 {
        self.next_token += 1;
        self.next_token
    }

    /// Proves that everything which AI and observer have subscribed to so far is in effect: what follows a
    /// subscription on a link waits for it, and here a request follows whose answer comes back.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn confirm_subscriptions(&mut self) -> Result<(), Failure> {
        for link in [self.ai.clone(), self.observer.clone()] {
            let context = self.token();
            // No doid below 1000 is ever stored.
            link.publish(&[DATABASE], t::DBSERVER_OBJECT_GET_ALL, &Payload::new().u32(context).u32(999));
            let answer = Payload::new().u32(context).u8(0);
            let answer = Message::internal(&[link.channel()], DATABASE, t::DBSERVER_OBJECT_GET_ALL_RESP, &answer);
            let (before, _) =
                link.until("the database's word that doid 999 is not stored", |message| *message == answer)?;
            self.hear(link.channel(), before);
        }
        Ok(())
    }

    fn hear(&mut self, channel: Channel, messages: Vec<Message>) {
        if channel == self.ai.channel() {
            self.heard.ai.extend(messages);
        } else {
            self.heard.observer.extend(messages);
        }
    }

    /// Waits until the AI has got as many messages as `is_one` accepts, and returns them; what else came is kept for
    /// the next comparison.
    ///
    /// # Errors
    /// When they do not come.
    pub fn ai_awaits(
        &mut self,
        what: &str,
        count: usize,
        is_one: impl FnMut(&Message) -> bool,
    ) -> Result<Vec<Message>, Failure> {
        let (accepted, others) = self.ai.gather(what, count, is_one)?;
        self.heard.ai.extend(others);
        Ok(accepted)
    }

    /// As [`World::ai_awaits`], for the observer.
    ///
    /// # Errors
    /// When they do not come.
    pub fn observer_awaits(
        &mut self,
        what: &str,
        count: usize,
        is_one: impl FnMut(&Message) -> bool,
    ) -> Result<Vec<Message>, Failure> {
        let (accepted, others) = self.observer.gather(what, count, is_one)?;
        self.heard.observer.extend(others);
        Ok(accepted)
    }

    /// One answer to one request of the AI.
    ///
    /// # Errors
    /// When another answer comes, or none.
    pub fn ai_asks(&mut self, what: &str, answer: &Message) -> Result<(), Failure> {
        let seen = self.ai_awaits(what, 1, |message| {
            message.is(answer.message_type()) && message.payload().get(..4) == answer.payload().get(..4)
        })?;
        exactly("the AI", what, &seen, std::slice::from_ref(answer))
    }

    /// Waits until every consequence of what was sent so far has arrived everywhere.
    ///
    /// Each player tells the AI a token, behind everything that it sent. Then the AI asks every live avatar for its
    /// location: the question comes behind everything that the players had sent to it before the token, and the answer
    /// leaves behind everything that the avatar had to say. Then the AI sends everybody a marker, which nobody may
    /// see before what caused it (guarantees G1 and G2). What came before the markers is all there is.
    ///
    /// # Errors
    /// When one of these does not arrive.
    pub fn settle(&mut self) -> Result<(), Failure> {
        let token = self.token();
        let text = format!("token {token}");
        let request = update(LOGIN_MANAGER, self.cast.login, &self.cast.login_request(&text, "settle")?);
        for player in self.players.values() {
            player.client.tell(t::CLIENT_OBJECT_SET_FIELD, &request);
        }
        let mut awaited: BTreeSet<Channel> = self.players.values().map(|player| player.channel).collect();
        self.ai_awaits("every player's token", awaited.len(), |message| {
            message.is(t::STATESERVER_OBJECT_SET_FIELD)
                && message.payload() == request.as_bytes()
                && awaited.remove(&message.sender())
        })?;

        let live: Vec<(Doid, Doid, Zone)> =
            self.models.values().map(|model| (model.doid, model.parent, model.zone)).collect();
        let mut answers = Vec::new();
        for &(doid, parent, zone) in &live {
            let request = Payload::new().u32(token);
            self.ai.publish(&[doid.into()], t::STATESERVER_OBJECT_GET_LOCATION, &request);
            let answer = request.u32(doid).u32(parent).u32(zone);
            answers.push(Message::internal(&[AI], doid.into(), t::STATESERVER_OBJECT_GET_LOCATION_RESP, &answer));
        }
        let what = "the location of every live object";
        let seen =
            self.ai_awaits(what, answers.len(), |message| message.is(t::STATESERVER_OBJECT_GET_LOCATION_RESP))?;
        exactly_in_any_order("the AI", what, &seen, &answers)?;

        let marker = Payload::new().u32(token);
        let frame = client_frame(MARKER, &marker);
        let nested = Payload::new().blob(&frame[2..]);
        for player in self.players.values() {
            self.ai.publish(&[player.channel], t::CLIENTAGENT_SEND_DATAGRAM, &nested);
        }
        self.ai.publish(&[OBSERVER], MARKER, &marker);
        let expected = Message::internal(&[OBSERVER], AI, MARKER, &marker);
        let (before, _) = self.observer.until("the AI's marker", |message| *message == expected)?;
        self.heard.observer.extend(before);
        let expected = Message::client(MARKER, &marker);
        for (&index, player) in &self.players {
            let (before, _) = player.client.until("the AI's marker", |message| *message == expected)?;
            self.heard.players.entry(index).or_default().extend(before);
        }
        Ok(())
    }

    /// Deletes every object of the session, live and stored.
    ///
    /// # Errors
    /// When the database does not answer any more.
    pub fn clean_up(&mut self) -> Result<(), Failure> {
        for player in self.players.values() {
            player.client.close();
        }
        for &doid in self.models.keys() {
            self.ai.publish(&[doid.into()], t::STATESERVER_OBJECT_DELETE_RAM, &Payload::new().u32(doid));
        }
        for &doid in self.stored.keys() {
            self.ai.publish(&[DATABASE], t::DBSERVER_OBJECT_DELETE, &Payload::new().u32(doid));
        }
        // The answer to a question behind all of these.
        self.confirm_subscriptions()
    }

    /// Settles, and then compares what everybody has heard with what they should have: the same messages, each once,
    /// those of one object in this order, and nothing else.
    ///
    /// # Errors
    /// When there is any difference.
    pub fn settle_and_compare(&mut self, what: &str) -> Result<(), Failure> {
        self.settle()?;
        let mut heard = std::mem::take(&mut self.heard);
        self.announced.extend(heard.observer.extract_if(.., |message| is_announcement(message)));
        let mut expected = std::mem::take(&mut self.expected);
        per_object("the AI", what, &heard.ai, &expected.ai)?;
        per_object("the observer", what, &heard.observer, &expected.observer)?;
        for (index, player) in &self.players {
            let seen = heard.players.get(index).map_or(&[][..], Vec::as_slice);
            let expected = expected.players.remove(index).unwrap_or_default();
            per_object(player.name(), what, seen, &expected)?;
        }
        match expected.players.into_iter().find(|(_, messages)| !messages.is_empty()) {
            Some((index, _)) => Err(Failure::new(format!("player {index} was to hear something and is gone"))),
            None => Ok(()),
        }
    }

    /// Expects the database to announce a change that the Database State Server has forwarded in the object's name.
    pub fn expect_announcement(&mut self, doid: Doid, message_type: MessageType, payload: &[u8]) {
        let recipients = [database_broadcast_channel(doid)];
        self.expected_announcements.push(Message::internal(&recipients, doid.into(), message_type, payload));
    }

    /// Waits for every announcement that should have come by now, and compares them: each once, those of one object in
    /// order, and no others.
    ///
    /// # Errors
    /// When there is any difference.
    pub fn compare_announcements(&mut self) -> Result<(), Failure> {
        let what = "the database's announcements";
        let early = self.heard.observer.extract_if(.., |message| is_announcement(message));
        self.announced.extend(early);
        let missing = self.expected_announcements.len().saturating_sub(self.announced.len());
        let late = self.observer_awaits(what, missing, is_announcement)?;
        self.announced.extend(late);
        per_object("the observer", what, &self.announced, &self.expected_announcements)
    }

    /// Expects a field update: to whom it goes follows from the field's keywords and from who sees the object
    /// (`protocol-ss-dbss-db.md` §2.6). Also changes what the object holds, and what is stored of it.
    ///
    /// # Errors
    /// When the object is not known.
    pub fn expect_update(
        &mut self,
        sender: Channel,
        doid: Doid,
        field: crate::contract::FieldId,
        value: &[u8],
    ) -> Result<(), Failure> {
        let unknown = || Failure::new(format!("the session knows no object {doid}"));
        let model = self.models.get_mut(&doid).ok_or_else(unknown)?;
        model.set(field, value)?;
        let model = &self.models[&doid];
        let audience = self.cast.names.receivers(field);
        let owner = self.players.iter().find(|(_, player)| player.avatar == doid);
        let mut recipients = Vec::new();
        let location = donet::wire::location_channel(model.parent, model.zone);
        if audience.location {
            recipients.push(location);
        }
        if audience.ai && sender != AI {
            recipients.push(AI);
        }
        let mut to_owner = None;
        if let Some((&index, player)) = owner
            && audience.owner
            && sender != player.channel
        {
            recipients.push(player.channel);
            to_owner = Some(index);
        }
        let payload = update(doid, field, value);
        let message = Message::internal(&recipients, sender, t::STATESERVER_OBJECT_SET_FIELD, &payload);
        if recipients.contains(&AI) {
            self.expected.ai.push(message.clone());
        }
        if audience.location {
            self.expected.observer.push(message);
        }
        for (&index, player) in &self.players {
            let looks_there = model.parent == DISTRICT && player.view.contains(&model.zone);
            if player.channel != sender && ((audience.location && looks_there) || to_owner == Some(index)) {
                let message = Message::client(t::CLIENT_OBJECT_SET_FIELD, &payload);
                self.expected.players.entry(index).or_default().push(message);
            }
        }
        if audience.is_stored
            && let Some(stored) = self.stored.get_mut(&doid)
        {
            stored.insert(field.0, value.to_vec());
        }
        Ok(())
    }
}

fn is_announcement(message: &Message) -> bool {
    message.is(t::DBSERVER_OBJECT_SET_FIELD) || message.is(t::DBSERVER_OBJECT_SET_FIELDS)
}

/// Compares messages object by object: order matters within one object, no more and no fewer objects appear.
fn per_object(who: &str, what: &str, seen: &[Message], expected: &[Message]) -> Result<(), Failure> {
    let group = |messages: &[Message]| {
        let mut groups: BTreeMap<Option<Doid>, Vec<Message>> = BTreeMap::new();
        for message in messages {
            groups.entry(message.doid()).or_default().push(message.clone());
        }
        groups
    };
    let (mut seen, expected) = (group(seen), group(expected));
    for (doid, expected) in expected {
        let seen = seen.remove(&doid).unwrap_or_default();
        let what = format!("{what}, object {}", doid.unwrap_or_default());
        exactly(who, &what, &seen, &expected)?;
    }
    let surplus: Vec<Message> = seen.into_values().flatten().collect();
    ensure(surplus.is_empty(), || {
        format!("{who} awaited {what}; there came also:{}", crate::failure::listing(&surplus))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(doid: u8, number: u8) -> Message {
        Message::client(t::CLIENT_OBJECT_SET_FIELD, &[doid, 0, 0, 0, number])
    }

    #[test]
    fn order_counts_within_an_object_and_not_between_objects() {
        let expected = [said(1, 1), said(1, 2), said(2, 1)];
        assert!(per_object("x", "y", &[said(2, 1), said(1, 1), said(1, 2)], &expected).is_ok());
        for seen in [
            vec![said(1, 2), said(1, 1), said(2, 1)],
            vec![said(1, 1), said(1, 2)],
            vec![said(1, 1), said(1, 2), said(2, 1), said(2, 1)],
            vec![said(1, 1), said(1, 2), said(2, 1), said(3, 1)],
        ] {
            assert!(per_object("x", "y", &seen, &expected).is_err(), "{seen:?}");
        }
    }
}

//! Which executors a message reaches by placement alone, without any subscription (design §2, "Placement").

use super::ShardSet;
use crate::config::{self, Config};
use crate::outbox::Participant;
use crate::wire::{
    ALL_CLIENTS, ALL_DATABASE_SERVERS, ALL_STATE_SERVERS, CONTROL, Channel, Datagram, Doid, MessageType, Reader,
    children_channel, database_broadcast_channel, message_type as t,
};
use donet_shards::{ShardId, shard_of};
use std::ops::RangeInclusive;

/// The placement of this daemon's roles: a pure function of the configuration.
#[derive(Clone, Debug)]
pub struct Homes {
    shards: usize,
    client_channels: Vec<RangeInclusive<Channel>>,
    /// Whether live objects can be here.
    objects: bool,
    /// Stored objects, each range with the index of its role.
    stored: Vec<(u8, RangeInclusive<Doid>)>,
    /// Those that follow their database (AMB-2).
    followed: Vec<(u8, RangeInclusive<Doid>)>,
    state_server_channels: Vec<Channel>,
    database_channels: Vec<Channel>,
}

/// Where a message to a control channel is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlHome {
    /// On the executor of the object that the payload names.
    One(ShardId),
    /// On every executor, behind all earlier traffic of its source (O-17).
    All,
}

impl Homes {
    pub fn new(config: &Config, shards: usize) -> Self {
        Self {
            shards,
            client_channels: config.client_agents.iter().map(|agent| agent.channels.clone()).collect(),
            objects: !config.state_servers.is_empty() || !config.database_state_servers.is_empty(),
            stored: stored_ranges(config, |_| true),
            followed: stored_ranges(config, |role| role.follow_database),
            state_server_channels: config.state_servers.iter().map(|server| server.control_channel).collect(),
            database_channels: config.database_servers.iter().map(|server| server.control_channel).collect(),
        }
    }

    /// What the control roles are subscribed to: an upstream Message Director must know.
    pub fn role_channels(&self) -> Vec<Channel> {
        let state_servers = (!self.state_server_channels.is_empty()).then_some(ALL_STATE_SERVERS);
        let databases = (!self.database_channels.is_empty()).then_some(ALL_DATABASE_SERVERS);
        let controls = self.state_server_channels.iter().chain(&self.database_channels).copied();
        controls.chain(state_servers).chain(databases).collect()
    }

    /// The ranges that Database State Servers are subscribed to: their objects, and what a database says of those that
    /// follow it.
    pub fn role_ranges(&self) -> Vec<(Participant, Channel, Channel)> {
        let stored = self.stored.iter().map(|(role, range)| (role, u64::from(*range.start()), u64::from(*range.end())));
        let followed = self.followed.iter().map(|(role, range)| {
            (role, database_broadcast_channel(*range.start()), database_broadcast_channel(*range.end()))
        });
        let ranges = stored.chain(followed);
        ranges.map(|(&role, first, last)| (Participant::DatabaseStateServer(role), first, last)).collect()
    }

    /// Whether messages to this channel reach `shard` without any subscription being announced.
    pub fn is_home(&self, channel: Channel, shard: ShardId) -> bool {
        self.of_channel(channel).contains(shard)
    }

    /// The executors that own something addressed by this channel.
    pub fn of_channel(&self, channel: Channel) -> ShardSet {
        let mut homes = ShardSet::default();
        if channel == ALL_CLIENTS && !self.client_channels.is_empty() {
            return ShardSet::all(self.shards);
        }
        if self.client_channels.iter().any(|range| range.contains(&channel)) {
            homes.insert(shard_of(channel, self.shards));
        }
        if self.objects && channel > CONTROL {
            let low = channel as u32;
            if u64::from(low) == channel {
                homes.insert(shard_of(channel, self.shards));
            } else if channel == children_channel(low) {
                return ShardSet::all(self.shards);
            } else if channel == database_broadcast_channel(low)
                && self.followed.iter().any(|(_, range)| range.contains(&low))
            {
                homes.insert(shard_of(u64::from(low), self.shards));
            }
        }
        homes
    }

    /// The doid of this channel, if a live object alone is found there by placement.
    pub fn as_live_object(&self, channel: Channel) -> Option<Doid> {
        let doid = Doid::try_from(channel).ok().filter(|_| self.objects && channel > CONTROL)?;
        let is_other = matches!(channel, ALL_STATE_SERVERS | ALL_DATABASE_SERVERS | ALL_CLIENTS)
            || self.state_server_channels.contains(&channel)
            || self.database_channels.contains(&channel)
            || self.client_channels.iter().any(|range| range.contains(&channel))
            || self.stored.iter().chain(&self.followed).any(|(_, range)| range.contains(&doid));
        (!is_other).then_some(doid)
    }

    /// Whether only subscribers receive what is sent to this channel: nothing is found there by placement.
    pub fn is_open(&self, channel: Channel) -> bool {
        self.of_channel(channel).is_empty()
            && !self.state_server_channels.contains(&channel)
            && !self.database_channels.contains(&channel)
            && !matches!(channel, ALL_STATE_SERVERS | ALL_DATABASE_SERVERS | CONTROL)
    }

    /// Where the State Server's control role handles a datagram; `None` when it is not addressed to one.
    pub fn of_state_server_control(&self, datagram: &Datagram) -> Option<ControlHome> {
        let addressed = datagram.recipients().any(|channel| {
            self.state_server_channels.contains(&channel)
                || (channel == ALL_STATE_SERVERS && !self.state_server_channels.is_empty())
        });
        if !addressed {
            return None;
        }
        let (_, message_type, mut payload) = datagram.message().ok()?;
        Some(match message_type {
            t::STATESERVER_DELETE_AI_OBJECTS => ControlHome::All,
            // The doid comes first. What is too short for one is refused wherever it is handled.
            _ => ControlHome::One(shard_of(u64::from(payload.doid().unwrap_or(0)), self.shards)),
        })
    }

    /// Where the Database Servers addressed by a datagram handle it; `None` when it is addressed to none.
    pub fn of_database_control(&self, datagram: &Datagram) -> Option<ControlHome> {
        let control = *self.database_channels.first()?;
        let addressed = datagram
            .recipients()
            .any(|channel| channel == ALL_DATABASE_SERVERS || self.database_channels.contains(&channel));
        if !addressed {
            return None;
        }
        let (_, message_type, payload) = datagram.message().ok()?;
        let id = database_doid(message_type, payload).map_or(control, u64::from);
        Some(ControlHome::One(shard_of(id, self.shards)))
    }
}

fn stored_ranges(
    config: &Config,
    which: impl Fn(&config::DatabaseStateServer) -> bool,
) -> Vec<(u8, RangeInclusive<Doid>)> {
    let roles = (0..=u8::MAX).zip(&config.database_state_servers).filter(|(_, role)| which(role));
    roles.flat_map(|(index, role)| role.ranges.iter().map(move |range| (index, range.clone()))).collect()
}

/// The object that a database request names, if it names one: its operations keep the order of its executor.
fn database_doid(message_type: MessageType, mut payload: Reader<'_>) -> Option<u32> {
    match message_type {
        t::DBSERVER_OBJECT_SET_FIELD
        | t::DBSERVER_OBJECT_SET_FIELDS
        | t::DBSERVER_OBJECT_DELETE_FIELD
        | t::DBSERVER_OBJECT_DELETE_FIELDS
        | t::DBSERVER_OBJECT_DELETE => payload.doid().ok(),
        t::DBSERVER_OBJECT_GET_FIELD
        | t::DBSERVER_OBJECT_GET_FIELDS
        | t::DBSERVER_OBJECT_GET_ALL
        | t::DBSERVER_OBJECT_SET_FIELD_IF_EQUALS
        | t::DBSERVER_OBJECT_SET_FIELDS_IF_EQUALS
        | t::DBSERVER_OBJECT_SET_FIELD_IF_EMPTY
        | t::DBSERVER_OBJECT_SET_FIELDS_IF_EMPTY => {
            payload.u32().ok()?;
            payload.doid().ok()
        }
        _ => None,
    }
}

impl ControlHome {
    pub fn shards(self, shards: usize) -> ShardSet {
        match self {
            ControlHome::All => ShardSet::all(shards),
            ControlHome::One(shard) => {
                let mut set = ShardSet::default();
                set.insert(shard);
                set
            }
        }
    }

    pub fn includes(self, shard: ShardId) -> bool {
        match self {
            ControlHome::All => true,
            ControlHome::One(home) => home == shard,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn homes(roles: &str) -> Homes {
        let text = format!(
            "[services.client_agent]\nbind = \"127.0.0.1:0\"\nversion_string = \"v\"\nchannel_min = 100_000\n\
             channel_max = 101_999\n{roles}"
        );
        let config = config::parse(std::path::Path::new("/x.toml"), &text).unwrap_or_else(|error| panic!("{error}"));
        Homes::new(&config, 2)
    }

    #[test]
    fn only_what_nobody_else_answers_to_is_a_live_objects_channel() {
        let here = homes(
            "[services.state_server]\ncontrol_channel = 402_000\n\
             [services.database_server]\ncontrol_channel = 403_000\ngenerate_min = 9000\ngenerate_max = 9999\n\
             [services.dbss]\ndb_channel = 403_000\nrange_min = 9000\nrange_max = 9999\n",
        );
        for doid in [2000, 402_001, u32::MAX] {
            assert_eq!(here.as_live_object(doid.into()), Some(doid));
            assert!(here.of_channel(doid.into()).contains(shard_of(doid.into(), 2)));
        }
        let others = [
            0,
            CONTROL,
            ALL_CLIENTS,
            ALL_STATE_SERVERS,
            ALL_DATABASE_SERVERS,
            100_000,
            101_999,
            9000,
            9999,
            402_000,
            403_000,
            1 << 32,
            children_channel(2000),
            Channel::MAX,
        ];
        for channel in others {
            assert_eq!(here.as_live_object(channel), None, "{channel}");
        }
        assert_eq!(homes("").as_live_object(2000), None, "no objects are here");
    }
}

//! What every session of this executor reads and none changes: the contract, the uberdogs, the roles' settings, and the
//! limits of what one session may hold.

use super::parenting::Rules;
use super::rate::Price;
use crate::config::{self, InterestPermission};
use crate::wire::{Doid, MAX_BODY_BYTES, Zone};
use donet_dc::{Contract, TextPolicy};
use donet_shards::ShardId;
use hashbrown::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a 2102 query besides its zones: recipient count, one recipient, sender, type, context, parent, zone count.
const QUERY_OVERHEAD_BYTES: usize = 1 + 8 + 8 + 2 + 4 + 4 + 2;
/// Zones of all interests of a session together: what one 2102 query can name, so that no interest needs two. Each
/// costs a subscription on this executor and an entry in the tables of the others.
pub(super) const MAX_ZONES: usize = (MAX_BODY_BYTES - QUERY_OVERHEAD_BYTES) / 4;
/// Interests of a session without a configured limit: as many as there are ids.
const MAX_INTERESTS: usize = 1 << 16;
/// Requests of a session that wait for an interest to complete, and so also its running operations.
pub(super) const MAX_REQUESTS: usize = 4096;
/// Bytes that the running operations of a session may hold back: 64 Ki objects of 256 bytes. At the limit the oldest
/// operation finishes with what it has, as by its timeout; what comes later still enters (A12).
pub(super) const MAX_BUFFERED_BYTES: usize = 16 << 20;
/// Bytes that a session may hold back altogether, entries that wait for their turn included; a client that takes them
/// so slowly that more would be needed is ejected.
pub(super) const MAX_HELD_BYTES: usize = 4 * MAX_BUFFERED_BYTES;
/// Bytes of entries of interests being opened that are on their way at once: the next leave when these have been taken
/// by the system. Enough for the largest frame, and for a fast network between two turns.
pub(super) const PACE_BYTES: usize = 64 << 10;
/// Objects remembered after they left: enough for updates that were on their way, the oldest are forgotten first. In
/// the reference the set never shrinks (§3.15.4).
pub(super) const MAX_HISTORICAL: usize = 16 * 1024;

const _: () = assert!(QUERY_OVERHEAD_BYTES + MAX_ZONES * 4 <= MAX_BODY_BYTES);

/// An object that exists by configuration (§3.7).
#[derive(Clone, Copy, Debug)]
pub(super) struct Uberdog {
    pub(super) class: u16,
    pub(super) anonymous: bool,
}

/// One Client Agent role, ready for use.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) config: config::ClientAgent,
    pub(super) dc_hash: u32,
    pub(super) heartbeat_timeout_us: Option<u64>,
    pub(super) authentication_timeout_us: Option<u64>,
    pub(super) interest_timeout_us: u64,
    pub(super) historical_ttl_us: Option<u64>,
    pub(super) eject_linger_us: u64,
    pub(super) hello_timeout_us: Option<u64>,
    pub(super) idle_timeout_us: Option<u64>,
    pub(super) byte_price: Price,
    pub(super) message_price: Price,
    pub(super) interests_max: usize,
    pub(super) zones_max: usize,
    pub(super) visible_objects_max: usize,
    /// Where its channels and its listener live.
    pub(super) pool_home: ShardId,
    /// Of avatars whose parents have rules.
    pub(super) avatar_class: Option<u16>,
    zones_allow: ZoneRanges,
    zones_deny: ZoneRanges,
}

impl Agent {
    fn new(config: &config::ClientAgent, contract: &Contract, shards: usize) -> Self {
        let limits = &config.limits;
        let most = |limit: u32, otherwise: usize| match limit {
            0 => otherwise,
            limit => otherwise.min(limit as usize),
        };
        Self {
            hello_timeout_us: limits.hello_timeout.map(micros),
            idle_timeout_us: limits.idle_timeout.map(micros),
            byte_price: Price::per_second(limits.bytes_per_second),
            message_price: Price::per_second(limits.messages_per_second),
            interests_max: most(limits.interests, MAX_INTERESTS),
            zones_max: most(limits.zones, MAX_ZONES),
            visible_objects_max: most(limits.visible_objects, usize::MAX),
            pool_home: super::pool_home(&config.channels, shards),
            // The daemon refuses an unknown class before it builds the roles.
            avatar_class: config.avatar_class.as_deref().and_then(|name| Some(contract.class_by_name(name)?.id())),
            dc_hash: config.dc_file_hash.unwrap_or_else(|| contract.hash()),
            heartbeat_timeout_us: config.heartbeat_timeout.map(micros),
            authentication_timeout_us: config.auth_timeout.map(micros),
            interest_timeout_us: micros(config.interest_timeout),
            historical_ttl_us: config.historical_ttl.map(micros),
            eject_linger_us: micros(config.eject_linger),
            zones_allow: ZoneRanges::new(&config.interest_zones_allow),
            zones_deny: ZoneRanges::new(&config.interest_zones_deny),
            config: config.clone(),
        }
    }

    pub(super) fn interest_permission(&self) -> InterestPermission {
        self.config.interest_permission
    }

    /// Whether clients may open this zone themselves.
    pub(super) fn allows_zone(&self, zone: Zone) -> bool {
        (self.zones_allow.0.is_empty() || self.zones_allow.contains(zone)) && !self.zones_deny.contains(zone)
    }
}

/// Microseconds, saturating: a timeout of centuries is none.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Ranges of zones, sorted and disjoint.
#[derive(Debug)]
struct ZoneRanges(Vec<RangeInclusive<Zone>>);

impl ZoneRanges {
    fn new(ranges: &[RangeInclusive<Zone>]) -> Self {
        let mut sorted: Vec<_> = ranges.iter().filter(|range| !range.is_empty()).cloned().collect();
        sorted.sort_unstable_by_key(|range| *range.start());
        let mut disjoint: Vec<RangeInclusive<Zone>> = Vec::with_capacity(sorted.len());
        for range in sorted {
            match disjoint.last_mut() {
                Some(last) if range.start() <= last.end() => *last = *last.start()..=*last.end().max(range.end()),
                _ => disjoint.push(range),
            }
        }
        Self(disjoint)
    }

    fn contains(&self, zone: Zone) -> bool {
        let after = self.0.partition_point(|range| *range.start() <= zone);
        after > 0 && self.0[after - 1].contains(&zone)
    }
}

/// What all sessions of this executor share, read-only.
pub(super) struct Shared {
    pub(super) contract: Arc<Contract>,
    pub(super) text: TextPolicy,
    pub(super) uberdogs: HashMap<Doid, Uberdog>,
    pub(super) agents: Vec<Agent>,
    /// What the classes of the contract say of zones; nothing where no agent asks.
    pub(super) rules: Rules,
}

impl Shared {
    /// Other settings of the same agents. Those that were in force.
    pub(super) fn reload(&mut self, agents: &[config::ClientAgent], shards: usize) -> Vec<Agent> {
        let agents = agents.iter().map(|agent| Agent::new(agent, &self.contract, shards)).collect();
        std::mem::replace(&mut self.agents, agents)
    }

    pub(super) fn new(
        agents: &[config::ClientAgent],
        uberdogs: &[config::Uberdog],
        contract: Arc<Contract>,
        text: TextPolicy,
        shards: usize,
    ) -> Self {
        let resolve = |uberdog: &config::Uberdog| match contract.class_by_name(&uberdog.class) {
            Some(class) => Some((uberdog.id, Uberdog { class: class.id(), anonymous: uberdog.anonymous })),
            None => {
                // The daemon refuses such a configuration before it builds the roles.
                tracing::error!(doid = uberdog.id, class = uberdog.class, "uberdog of an unknown class left out");
                None
            }
        };
        Self {
            uberdogs: uberdogs.iter().filter_map(resolve).collect(),
            agents: agents.iter().map(|agent| Agent::new(agent, &contract, shards)).collect(),
            rules: if agents.iter().any(|agent| agent.avatar_class.is_some()) {
                Rules::new(&contract)
            } else {
                Rules::default()
            },
            contract,
            text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_ranges_merge_and_are_found_at_both_ends() {
        let zones = ZoneRanges::new(&[50..=60, 1..=5, 4..=9, u32::MAX..=u32::MAX]);
        for zone in [1, 5, 9, 50, 60, u32::MAX] {
            assert!(zones.contains(zone), "{zone}");
        }
        for zone in [0, 10, 49, 61, u32::MAX - 1] {
            assert!(!zones.contains(zone), "{zone}");
        }
    }
}

//! Identifiers and structured channels (`protocol-md-ca-el.md` §1.4, §1.5).

/// A 64-bit address on the message bus.
pub type Channel = u64;
/// The 32-bit id of a distributed object; 0 is "none".
pub type Doid = u32;
/// A subdivision of a parent object's location; 0 is an ordinary zone.
pub type Zone = u32;

pub const INVALID_CHANNEL: Channel = 0;
/// Messages to a Message Director itself.
pub const CONTROL: Channel = 1;
/// Every client session.
pub const ALL_CLIENTS: Channel = 10;
/// Every State Server control role.
pub const ALL_STATE_SERVERS: Channel = 12;
/// Every Database Server.
pub const ALL_DATABASE_SERVERS: Channel = 13;
/// Channels and doids up to this one are reserved.
pub const RESERVED_MAX: u64 = 999;

const CHILDREN_PREFIX: u64 = 1;
const DATABASE_PREFIX: u64 = 2;

/// The channel of everything that is visible in one zone of a parent.
pub const fn location_channel(parent: Doid, zone: Zone) -> Channel {
    (parent as u64) << 32 | zone as u64
}

/// The channel on which a parent speaks to its children.
pub const fn children_channel(parent: Doid) -> Channel {
    CHILDREN_PREFIX << 32 | parent as u64
}

/// The channel on which a Database Server announces changes of one object.
pub const fn database_broadcast_channel(doid: Doid) -> Channel {
    DATABASE_PREFIX << 32 | doid as u64
}

/// Whether configuration must refuse this channel (§1.4): 0, 1..999 and the prefix range `1<<32 ..= 999<<32`.
pub const fn is_reserved_channel(channel: Channel) -> bool {
    channel <= RESERVED_MAX || (channel >= 1 << 32 && channel <= RESERVED_MAX << 32)
}

/// Whether configuration must refuse this doid: 0 and 1..999.
pub const fn is_reserved_doid(doid: Doid) -> bool {
    doid as u64 <= RESERVED_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structured_channels_are_those_of_the_specification() {
        assert_eq!(location_channel(1234, 4321), 5_299_989_647_585);
        assert_eq!(children_channel(7001), 0x1_0000_1b59);
        assert_eq!(database_broadcast_channel(1_000_000), 0x2_000f_4240);
    }

    #[test]
    fn reserved_channels_are_refused_at_both_ends() {
        for reserved in [0, 1, 999, 1 << 32, 999 << 32] {
            assert!(is_reserved_channel(reserved), "{reserved}");
        }
        for free in [1000, (1 << 32) - 1, (999 << 32) + 1] {
            assert!(!is_reserved_channel(free), "{free}");
        }
    }
}

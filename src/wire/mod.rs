//! The wire protocol as bytes: frames, datagrams, channels, message numbers (`protocol-md-ca-el.md` §1).
//!
//! Decides how bytes are laid out and nothing else. It never routes, never looks at a contract and never touches a
//! socket. Everything it reads may be hostile: every reader is total, and nothing is allocated from a length that a
//! peer has claimed before the bytes are there.

mod channel;
mod datagram;
pub mod message_type;
mod reader;

pub use channel::{
    ALL_CLIENTS, ALL_DATABASE_SERVERS, ALL_STATE_SERVERS, CONTROL, Channel, Doid, INVALID_CHANNEL, RESERVED_MAX, Zone,
    children_channel, database_broadcast_channel, is_reserved_channel, is_reserved_doid, location_channel,
};
pub use datagram::{
    Datagram, Encoder, FrameTooLong, HeaderError, MAX_BODY_BYTES, MAX_RECIPIENTS, Run, message_of, message_type_of,
    next_frame, only_recipient,
};
pub use message_type::MessageType;
pub use reader::{Reader, Truncated};

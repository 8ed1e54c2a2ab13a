//! Executors, placement, mesh and turns: the thread-per-core, shared-nothing ground on which the roles stand.
//!
//! The only crate that names glommio. It knows nothing of messages, contracts or roles: an application implements
//! [`Shard`], and each executor drives one instance of it in turns (design §3). What crosses executors goes through the
//! [`mesh`]; what reaches the outside leaves only after the turn that made it is committed.

mod app;
mod counters;
mod engine;
pub mod faults;
pub mod mesh;
#[cfg(test)]
mod mesh_tests;
pub mod placement;
mod receive;
pub mod runtime;
pub mod sim;
#[cfg(test)]
mod sim_teeth;
mod sync;
mod timers;

pub use app::{
    Close, CloseCause, ConnectionId, ConnectionOptions, Dial, Input, ListenerId, MAX_SHARDS, Shard, ShardId, Socket,
    SocketKind, Turn,
};
pub use counters::{Counters, Figure, Kind, Queues, TurnTimes};
pub use placement::shard_of;

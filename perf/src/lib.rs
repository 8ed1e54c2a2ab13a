//! Load generator and scenarios for servers of the DoNet protocol: drives any of them from outside.
//!
//! [`net`] is the message loop that loads and scenarios share; [`peer`], [`internal`] and [`client`] are what a
//! scenario speaks through; [`wait`] is for what tells nobody; [`contract`] knows the DC file that it plays by; [`daemon`] starts a server of its own;
//! [`session`] is a whole game session with its claims. Loads: [`md`], [`objects`], [`stored`] and [`players`], against a [`target`], with [`usage`] sampled and
//! [`relay`] as the baseline. [`plan`] searches and extrapolates what a server carries.

#![forbid(unsafe_code)]

mod calls;
pub mod client;
pub mod contract;
pub mod daemon;
pub mod failure;
pub mod internal;
pub mod md;
pub mod message;
pub mod net;
pub mod objects;
pub mod peer;
pub mod plan;
pub mod players;
mod plot;
mod progress;
pub mod relay;
pub mod report;
pub mod session;
pub mod stored;
pub mod target;
mod timeline;
pub mod traffic;
pub mod usage;
pub mod wait;

pub use failure::Failure;

//! Whole daemons under the simulator: random but valid play of links, AIs and clients, drawn from a seed, against a model
//! of the protocol that knows no executors (guarantees G1 to G6 and G9 of the design).
//!
//! `stage` has the daemons, `bus` is the model of the Message Director, `view` what one client may be told, `play` the cast,
//! the model of the objects and the course, `acts` what is done, `checks` what must come of it, `queries` the questions;
//! `runner` plays seeds.

mod acts;
mod bus;
mod checks;
mod contract;
pub mod play;
mod queries;
pub mod runner;
mod stage;
mod view;
pub mod wire;

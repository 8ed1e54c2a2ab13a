//! Whole daemons under the simulator: random but valid play of links, AIs and clients, drawn from a seed, against a model
//! of the protocol that knows no executors (guarantees G1 to G6 and G9 of the design).
//!
//! `stage` has the daemons, `bus` is the model of the Message Director, `view` what one client may be told, `play` the cast,
//! the model of the objects and the course. What is done: `acts` by keepers, `clients`, `links`, `structural` to many objects
//! at once, `giants` with objects too large for a frame, `refusals` by somebody who does everything wrong. `checks` is what
//! must come of it, `queries` asks; `runner` plays seeds.

mod acts;
mod bus;
mod checks;
mod clients;
mod contract;
mod giants;
mod links;
pub mod play;
mod queries;
mod refusals;
pub mod runner;
mod stage;
mod structural;
mod view;
pub mod wire;

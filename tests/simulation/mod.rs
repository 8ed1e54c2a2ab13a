//! Whole daemons under the simulator: random but valid play of links, AIs and clients, drawn from a seed, against a model
//! of the protocol that knows no executors (guarantees G1 to G6 and G9 of the design).
//!
//! `stage` has a daemon, `tree` how several are joined, `bus` is the model of the Message Director, `view` what one client
//! may be told, `cast` who takes part and the model of the objects, `play` the course. What is done: `acts` by keepers,
//! `clients`, `links`, `structural` to many objects at once, `giants` with objects too large for a frame, `stored` with
//! those of a database, `refusals` by somebody who does everything wrong, `mishaps` by nobody. `checks` is what must come of
//! it, `queries` asks; `runner` plays seeds.

mod acts;
mod bus;
mod cast;
mod checks;
mod clients;
mod contract;
mod giants;
mod links;
mod mishaps;
pub mod play;
mod queries;
mod refusals;
pub mod runner;
mod stage;
mod stored;
mod structural;
mod tree;
mod view;
pub mod wire;

//! Admin: figures, health and a picture of the running daemon over HTTP (`spec/config.md`, `[admin]`).
//!
//! Decides what an operator may ask and how the answer looks. It holds no state of a role: every answer is made by the
//! executors, in a turn of theirs, from a [`Question`] that this module sends in; what they count stays plain integers
//! of their own threads. It never blocks an executor, and an executor that does not answer in time is reported as such.
//!
//! * [`inspect`]: the questions, the answers, and asking every executor at once.
//! * [`prometheus`]: figures as Prometheus text.
//! * [`server`]: the addresses, on a thread of its own.
//! * [`terminal`]: the same figures for a terminal, asked of a daemon that runs: `donetd ps` and `donetd top`.

mod inspect;
mod prometheus;
mod server;
pub mod terminal;

pub use inspect::{
    Answer, CHILDREN_LISTED_MAX, ChildReport, ExecutorFigures, Inspection, Inspector, InterestReport, LinkReport,
    ObjectReport, PARENTS_LISTED_MAX, Question, SESSIONS_LISTED_MAX, SessionDetails, SessionReport,
};
pub use server::{AdminError, AdminServer, Identity};

//! Event Logger, and the events that the other roles emit.
//!
//! [`Event`] is what roles hand out; [`EventLoggerServer`] is the role: a thread at the rim, on no executor and not on
//! the message bus (`protocol-md-ca-el.md` §4).

mod event;
mod figures;
mod json;
mod log;
mod server;

pub use event::{Event, EventType};
pub use figures::EventLoggerFigures;
pub use json::{DEPTH_MAX, LINE_BYTES_MAX, Refusal};
pub use log::{check_name_template, line};
pub use server::{BindError, EventLoggerServer, RunningEventLogger};

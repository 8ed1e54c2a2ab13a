//! Event Logger, and the events that the other roles emit.

mod event;

pub use event::Event;

//! Database State Server: stored objects that are not live, and their activation.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DbssTimer {}

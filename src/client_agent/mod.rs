//! Client Agent: one executor's partition of the client sessions.

/// Between the partitions of one daemon.
#[derive(Debug)]
pub enum ClientAgentMessage {}

/// A timer of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientTimer {}

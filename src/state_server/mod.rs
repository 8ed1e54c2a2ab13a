//! State Server: one executor's partition of the live objects.

/// Between the partitions of one daemon.
#[derive(Debug)]
pub enum StateServerMessage {}

//! What there is to say about a SQL sink: how far it is behind, and what goes wrong.
//!
//! Written by the engine's thread and the sink's, read by whoever is asked for figures: they belong to no executor.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

/// Figures of one database's SQL sink; all zero where there is none.
#[derive(Debug, Default)]
pub struct SinkFigures {
    /// Entries of the outbox that the SQL database does not have.
    pub lag_entries: AtomicU64,
    /// Their bytes.
    pub lag_bytes: AtomicU64,
    /// When the oldest of them was written, in milliseconds since 1970; 0 = there is none.
    pub oldest_ms: AtomicU64,
    /// Rows inserted, changed and deleted.
    pub rows: AtomicU64,
    /// Times that the SQL database could not be reached or refused something.
    pub errors: AtomicU64,
    /// Times that copying everything was begun.
    pub copies: AtomicU64,
    /// Objects of the copy at hand, or of the last one.
    pub copied_objects: AtomicU64,
    pub is_connected: AtomicBool,
    pub is_copying: AtomicBool,
}

impl SinkFigures {
    /// Age of the oldest change that the SQL database does not have, in whole seconds.
    pub fn lag_seconds(&self) -> u64 {
        match self.oldest_ms.load(Ordering::Relaxed) {
            0 => 0,
            oldest_ms => now_ms().saturating_sub(oldest_ms) / 1000,
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as u64)
}

//! What one executor counts of itself: plain integers of its own thread.

/// Counters of one executor, since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Turns that handled something.
    pub turns: u64,
    /// Handlers run.
    pub handlers: u64,
    /// Turns that spent their budget and left work to the next.
    pub turns_cut_short: u64,
    /// Turns that ended with something waiting for room in a ring.
    pub clogged_turns: u64,
    /// Messages taken from other executors.
    pub messages_taken: u64,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    /// System calls that sent.
    pub sends: u64,
    /// System calls that received.
    pub receives: u64,
    pub packets_sent: u64,
    pub packets_failed: u64,
    /// Handlers that panicked where the application had no participant to blame.
    pub uncontained_panics: u64,
}

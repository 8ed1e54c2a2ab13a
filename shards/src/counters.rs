//! What one executor counts of itself: plain integers of its own thread.

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// Counters of one executor, since its start.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct Counters { $($(#[doc = $doc])* pub $name: u64,)* }

        impl Counters {
            /// Name and value of each.
            pub fn figures(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Turns that handled something.
    turns,
    /// Handlers run.
    handlers,
    /// Turns that spent their budget and left work to the next.
    turns_cut_short,
    /// Turns that ended with something waiting for room in a ring.
    clogged_turns,
    /// Messages taken from other executors.
    messages_taken,
    bytes_received,
    bytes_sent,
    /// System calls that sent.
    sends,
    /// System calls that received.
    receives,
    packets_sent,
    packets_failed,
    /// Handlers that panicked where the application had no participant to blame.
    uncontained_panics,
}

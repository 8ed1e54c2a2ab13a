//! Rules of the mesh and of turns that a test can break on purpose, to show that the simulator notices (design §3).
//!
//! The switch exists in tests and with the feature `faults` only. In every other build [`seeded`] is a constant that
//! the compiler takes out.

/// One broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Batches are taken as soon as they are in a ring (rule 2).
    NoCommitCounter,
    /// Batches are handled without regard to what their sender had seen (rule 4).
    NoDependencyVectors,
    /// A batch carries what its sender had seen before it loaded the counters of the turn (rules 1 and 3).
    VectorBeforeCounters,
    /// What an executor sends to itself is handled before what was there already (rule 1).
    DepthFirstLocal,
    /// A turn that goes on with the leftovers of another takes from the rings first (rule 1).
    IntakeBeforeLeftovers,
    /// A turn is committed although one of its batches still waits for room (rule 2).
    CommitDespiteOverflow,
    /// Bytes leave for sockets before the turn that made them is committed (rule 5).
    SocketsBeforeCommit,
}

/// The switch of a crate's broken rules, for its `Fault`: `seed` breaks one, `seeded` asks. They exist in the crate's tests
/// and with its feature `faults`; otherwise `seeded` is a constant.
#[macro_export]
macro_rules! fault_switch {
    ($fault:ty) => {
        #[cfg(any(test, feature = "faults"))]
        ::std::thread_local! {
            static SEEDED: ::std::cell::Cell<Option<$fault>> = const { ::std::cell::Cell::new(None) };
        }

        /// Breaks a rule on this thread, or with `None` no more.
        #[cfg(any(test, feature = "faults"))]
        pub fn seed(fault: Option<$fault>) {
            SEEDED.set(fault);
        }

        /// Whether the rule is broken.
        #[cfg(any(test, feature = "faults"))]
        #[inline]
        pub(crate) fn seeded(fault: $fault) -> bool {
            SEEDED.get() == Some(fault)
        }

        /// Whether the rule is broken: never.
        #[cfg(not(any(test, feature = "faults")))]
        #[inline(always)]
        pub(crate) const fn seeded(_: $fault) -> bool {
            false
        }
    };
}

fault_switch!(Fault);

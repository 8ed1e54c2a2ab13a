//! Rules of the daemon that a test can break on purpose, to show that the simulator notices (design §3).
//!
//! The switch exists in tests and with the feature `faults` only. In every other build [`seeded`] is a constant that the compiler
//! takes out. The rules of the mesh have theirs in `donet_shards::faults`.

/// One broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody waits until the other executors know of a subscription (rule 7).
    NoAcknowledgement,
    /// The acknowledgement of the executor that owns the parent is taken for that of all (rule 7).
    AcknowledgementOfParentOnly,
    /// A session asks the parent before its subscriptions are acknowledged (rule 7).
    QueryBeforeAcknowledgement,
    /// Another executor gets one copy of a datagram for each recipient (rule 6, G3).
    DeliverTwice,
    /// The last post-remove of a participant is forgotten.
    LosePostRemove,
    /// What a link sends to an object is handled at once although more of the same link waits before it (G1).
    AtOnceOvertakes,
    /// What was held back of an object stays although a snapshot entry has come (rule 8).
    BacklogNotReplaced,
    /// What came before the daemons above had answered stays although the answer does not have it.
    LateEntriesBelieved,
    /// A new link upstream is not told of the subscriptions and post-removes.
    ReplayForgotten,
    /// Views are not asked for anew when the link upstream stands again.
    ViewsNotReviewed,
    /// Post-removes are not told to the daemon above.
    PostRemovesStayHere,
}

donet_shards::fault_switch!(Fault);

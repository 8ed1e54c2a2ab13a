//! How often objects take another AI from their parents: what ends two AIs that chase each other round a circle of parents.
//!
//! Objects may be each other's parents (`protocol-ss-dbss-db.md` §2.12), and each tells its children of a new AI. One AI
//! that goes round ends where it began, because an unchanged value goes no further; two that are told at once would follow
//! each other for ever. So an object that has changed [`CHANGES_MAX`] times within [`PERIOD_US`] takes only higher AIs for
//! the rest of it, which comes to an end in every circle with one such object in it, and then asks its parent what the AI
//! is: outside of a circle nothing is lost, only late.

use crate::outbox::{Outbox, RoleTimer};
use crate::wire::{Channel, Doid};
use hashbrown::HashMap;

/// How many changes of its parent's AI an object with children follows at once within a period: more than any AI server
/// hands its objects over in a second.
pub const CHANGES_MAX: u32 = 32;
/// Microseconds in which the changes are counted.
pub const PERIOD_US: u64 = 1_000_000;

/// The objects with children that have heard of another AI from their parents in the present period, and how often.
#[derive(Default)]
pub struct AiChanges {
    counts: HashMap<Doid, u32>,
    /// When the present period ends. A timer is set for it; should it be lost, with a handler that panics, the next one who
    /// looks after that time sets another.
    ends_us: Option<u64>,
}

impl AiChanges {
    /// Counts that an object hears of another AI from its parent. Returns whether it is to follow.
    pub fn follows(&mut self, doid: Doid, (old, new): (Channel, Channel), out: &mut Outbox) -> bool {
        if self.ends_us.is_none_or(|ends_us| out.now_us > ends_us) {
            let ends_us = out.now_us + PERIOD_US;
            self.ends_us = Some(ends_us);
            out.timer(ends_us, RoleTimer::StateServerAiChanges);
        }
        let count = self.counts.entry(doid).or_default();
        *count = count.saturating_add(1);
        *count <= CHANGES_MAX || new > old
    }

    /// Ends the period. Returns the objects that may not have followed their parents in it, ascending.
    pub fn end_period(&mut self) -> Vec<Doid> {
        self.ends_us = None;
        let counts = std::mem::take(&mut self.counts);
        let mut unsure: Vec<Doid> =
            counts.into_iter().filter(|&(_, count)| count > CHANGES_MAX).map(|(doid, _)| doid).collect();
        unsure.sort_unstable();
        unsure
    }
}

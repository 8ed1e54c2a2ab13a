//! Asking anew about zones that are open (`protocol-md-ca-el.md` §3.11; design G5), where the daemons above may have said
//! something that nobody heard.
//!
//! That is so after the link to them was lost; where an operation had given up waiting before they had heard of its
//! subscriptions; and of what came before they had. The parent is asked once more, with the query of an operation. Who is
//! not in view and answers enters. Whatever was in view is *doubted* until then: what answers leaves and enters again,
//! because its fields may have changed, and what does not leaves when the answer is complete. Nothing is held back, for the
//! zones are open: what happens meanwhile is told as it comes. Who is told to be somewhere anew, by an entry or a move, is
//! doubted no more.

use super::objects::Location;
use super::session::{End, Session};
use super::settings::Shared;
use super::visibility::Entry;
use crate::outbox::{Action, Outbox};
use crate::reason::Reason;
use crate::wire::{Channel, Doid, Encoder, Zone, message_type as t};
use std::collections::BTreeMap;

/// The longest pause before a parent that does not answer is asked again.
const PATIENCE_US_MAX: u64 = 60_000_000;
/// A CLIENT_OBJECT_LEAVING with its length.
const LEAVING_BYTES: usize = 2 + 2 + 4;

/// A question about open zones of a parent, some of whose objects are doubted.
#[derive(Debug)]
pub(super) struct Review {
    pub(super) parent: Doid,
    pub(super) zones: Vec<Zone>,
    /// When a count is enough; `None` when that is past. Without a count nothing is decided, because a parent that does not
    /// answer has not said that its children are gone: it is asked again.
    pub(super) deadline_us: Option<u64>,
    /// How long this question has been given.
    patience_us: u64,
    expected: Option<u32>,
    received: u32,
    /// Its subscriptions are in effect in the daemons above.
    is_answered: bool,
    /// Where something has entered before that, perhaps by a subscription of the link that was lost.
    doubtful: Vec<Channel>,
}

impl Review {
    fn is_over(&self) -> bool {
        self.expected.is_some_and(|expected| self.received >= expected || self.deadline_us.is_none())
    }
}

/// Locations by parent, zones ascending.
fn by_parent(locations: &[Channel]) -> BTreeMap<Doid, Vec<Zone>> {
    let mut zones: BTreeMap<Doid, Vec<Zone>> = BTreeMap::new();
    for &location in locations {
        zones.entry((location >> 32) as Doid).or_default().push(location as Zone);
    }
    zones
}

impl Session {
    /// The query with this context has been answered, perhaps long after its operation gave up. What has entered since is
    /// doubted then.
    pub(super) fn is_answered(&mut self, context: u32, shared: &Shared, out: &mut Outbox) {
        let late = self.interests.is_answered(context);
        for (parent, zones) in by_parent(&late) {
            let doubted = self.objects.visible_in(parent, &zones);
            if !doubted.is_empty() {
                let patience_us = self.agent(shared).interest_timeout_us;
                let review = self.begin_review(parent, zones, patience_us, out);
                if let Some(review) = self.interests.reviews.get_mut(&review) {
                    review.is_answered = true;
                }
                self.interests.doubted.extend(doubted.into_iter().map(|doid| (doid, review)));
            }
        }
    }

    /// Asks for what an operation has forgotten there; whoever answers enters.
    pub(super) fn ask_again(&mut self, locations: &[Channel], out: &mut Outbox) {
        let mut open: Vec<Channel> =
            locations.iter().copied().filter(|location| self.interests.cover.contains_key(location)).collect();
        open.sort_unstable();
        open.dedup();
        for (parent, zones) in by_parent(&open) {
            let context = self.allocate_context();
            self.ask_parent(context, parent, &zones, out);
        }
    }

    fn begin_review(&mut self, parent: Doid, zones: Vec<Zone>, patience_us: u64, out: &mut Outbox) -> u32 {
        let context = self.allocate_context();
        self.ask_parent(context, parent, &zones, out);
        let deadline_us = Some(out.now_us.saturating_add(patience_us));
        let review = Review {
            parent,
            zones,
            deadline_us,
            patience_us,
            expected: None,
            received: 0,
            is_answered: false,
            doubtful: Vec::new(),
        };
        self.interests.reviews.insert(context, review);
        self.arm_interest_timer(out);
        context
    }

    /// The link to the daemons above was lost and stands again: asks about everything that is open, and once more where
    /// the answer may be lost.
    pub(super) fn review_everything(&mut self, shared: &Shared, out: &mut Outbox) -> Result<(), End> {
        self.interests.forget_doubts();
        let mut open: Vec<Channel> = self.interests.cover.keys().copied().collect();
        open.retain(|location| !self.interests.opening.contains_key(location));
        open.sort_unstable();
        let patience_us = self.agent(shared).interest_timeout_us;
        let mut reviews: BTreeMap<Doid, u32> = BTreeMap::new();
        for (parent, zones) in by_parent(&open) {
            reviews.insert(parent, self.begin_review(parent, zones, patience_us, out));
        }
        let mut begun = Vec::new();
        for context in self.interests.asked() {
            let next = self.allocate_context();
            self.interests.begin_again(context, next);
            begun.push(next);
        }
        let interests = &self.interests;
        let covered = self.objects.visible_places().filter(|(_, location)| interests.covers(*location));
        let doubted = covered.filter_map(|(doid, location)| {
            let opening = interests.opening.get(&location.channel());
            Some((doid, *opening.or_else(|| reviews.get(&location.parent))?))
        });
        self.interests.doubted = doubted.collect();
        begun.into_iter().try_for_each(|context| self.ask_for_operation(context, shared, out))
    }

    pub(super) fn on_review_entry(
        &mut self,
        context: u32,
        entry: &Entry,
        shared: &Shared,
        out: &mut Outbox,
    ) -> Result<(), End> {
        if let Some(review) = self.interests.reviews.get_mut(&context) {
            review.is_answered = true;
        }
        let is_news = self.interests.doubted.contains_key(&entry.doid) || !self.has_or_gets_no_view(entry.doid);
        if is_news && self.interests.covers(entry.location) {
            self.allow(LEAVING_BYTES + entry.frame.len(), out);
            self.enter(entry, shared, out)?;
        }
        if let Some(review) = self.interests.reviews.get_mut(&context) {
            review.received = review.received.saturating_add(1);
        }
        self.end_if_over(context, out)
    }

    pub(super) fn on_review_count(&mut self, context: u32, count: u32, out: &mut Outbox) -> Result<(), End> {
        if let Some(review) = self.interests.reviews.get_mut(&context) {
            review.is_answered = true;
            review.expected.get_or_insert(count);
        }
        self.end_if_over(context, out)
    }

    /// Ends the reviews whose time is over, if they have been answered at all; otherwise asks again, each time with twice
    /// the patience: the parent may be about to be made anew.
    pub(super) fn end_reviews(&mut self, out: &mut Outbox) -> Result<(), End> {
        let is_due = |review: &Review| review.deadline_us.is_some_and(|deadline_us| deadline_us <= out.now_us);
        let reviews = self.interests.reviews.iter();
        let due: Vec<u32> = reviews.filter(|(_, review)| is_due(review)).map(|(&context, _)| context).collect();
        for context in due {
            let Some(mut review) = self.interests.reviews.remove(&context) else { continue };
            if review.expected.is_some() {
                review.deadline_us = None;
                self.interests.reviews.insert(context, review);
                self.end_if_over(context, out)?;
                continue;
            }
            let patience_us = review.patience_us.saturating_mul(2).min(PATIENCE_US_MAX);
            let next = self.begin_review(review.parent, review.zones, patience_us, out);
            if let Some(next) = self.interests.reviews.get_mut(&next) {
                next.doubtful = review.doubtful;
            }
            let waiting = self.interests.doubted.values_mut().filter(|other| **other == context);
            waiting.for_each(|other| *other = next);
        }
        Ok(())
    }

    fn end_if_over(&mut self, context: u32, out: &mut Outbox) -> Result<(), End> {
        if self.interests.reviews.get(&context).is_some_and(Review::is_over) {
            let review = self.interests.reviews.remove(&context);
            self.settle_doubts(context, out)?;
            // Those may also have come just behind the answer.
            self.ask_again(&review.map_or(Vec::new(), |review| review.doubtful), out);
        }
        Ok(())
    }

    /// An object has entered, or has moved there: what comes before the first answer is doubted, as while an interest is
    /// being opened.
    pub(super) fn doubt_entry(&mut self, doid: Doid, location: Location) {
        let asks = |review: &Review| {
            !review.is_answered
                && review.parent == location.parent
                && review.zones.binary_search(&location.zone).is_ok()
        };
        if let Some((&context, review)) = self.interests.reviews.iter_mut().find(|(_, review)| asks(review)) {
            // A parent that does not answer is asked for ever: the list is as long as its zones, not as what happens there.
            if !review.doubtful.contains(&location.channel()) {
                review.doubtful.push(location.channel());
            }
            self.interests.doubted.insert(doid, context);
        }
    }

    /// The question with this context has been answered: what is doubted still is gone.
    pub(super) fn settle_doubts(&mut self, context: u32, out: &mut Outbox) -> Result<(), End> {
        if self.interests.doubted.is_empty() {
            return Ok(());
        }
        let doubted = self.interests.doubted.iter().filter(|(_, review)| **review == context);
        let mut gone: Vec<Doid> = doubted.map(|(&doid, _)| doid).collect();
        gone.sort_unstable();
        self.allow(gone.len() * LEAVING_BYTES, out);
        for doid in gone {
            if self.objects.is_session_object(doid) {
                return Err(End::eject(Reason::SessionObjectDeleted, format!("session object {doid} is gone")));
            }
            self.set_aside(doid, out);
        }
        Ok(())
    }

    /// An entry says where its object is, behind everything that the object has said before. If the session has it
    /// somewhere else, in an open zone of which it may not hear all that is said, it has missed the leaving: the object comes
    /// anew.
    pub(super) fn leave_where_missed(&mut self, entry: &Entry, out: &mut Outbox) {
        let Some(known) = self.objects.get(entry.doid) else { return };
        let may_miss = |place: Location| self.interests.covers(place) && !self.interests.hears(place);
        let has_missed = |place: Location| place != entry.location && may_miss(place);
        // The client has moved its own by itself.
        let is_own = known.owned.is_some() || self.objects.is_session_object(entry.doid);
        if !is_own && known.visible.is_some_and(|view| has_missed(view.location)) {
            self.leave(entry.doid, out);
        }
    }

    /// Much may come at once, and is the client's own asking: it does not count against its write budget.
    fn allow(&self, bytes: usize, out: &mut Outbox) {
        out.push(Action::Allow { connection: self.connection, bytes });
    }

    /// Takes an object out of the view, if it is doubted: it is where it was seen no more, or comes again as it is now.
    pub(super) fn set_aside(&mut self, doid: Doid, out: &mut Outbox) {
        if self.interests.doubted.remove(&doid).is_some() && self.objects.is_visible(doid) {
            self.leave(doid, out);
        }
    }

    fn leave(&mut self, doid: Doid, out: &mut Outbox) {
        self.leave_view(doid, out);
        self.write_message(Encoder::client(t::CLIENT_OBJECT_LEAVING).doid(doid), out);
    }
}

//! Opening and closing of zones (`protocol-md-ca-el.md` §3.11; design §3 rules 7 and 8).
//!
//! An *interest* is a set of zones of one parent under an id. What it adds to the zones that the session covers already
//! is opened by an *operation*: subscribe, wait until the subscriptions are in effect everywhere, ask the parent, hold
//! back what comes until every counted object has answered. A *request* is what somebody waits for, the 204 or 1204;
//! it waits for its own operation and for those that are still opening zones which it shares (A11).
//!
//! **No gaps, no ghosts.** An object that is not visible and has an entry in an operation is *pending* there; whatever
//! comes about it is held back behind that entry. A snapshot entry is newer than everything held back before it and
//! replaces that. When a zone closes, the objects pending in it are forgotten with it: should it be opened again
//! meanwhile, updates have been missed, and only the new snapshot counts.
//!
//! Where there are daemons above, nobody says when a subscription is in effect there; the first answer to the query shows
//! it. An object that came before that and is not in the answer may be gone, and its end have fallen between two
//! subscriptions; or it has come just behind the answer of its executor. The parent is asked once more ([`super::review`]).

use super::TimerKind;
use super::interest_tables::{Interest, InterestRequest, Operation, Request};
use super::objects::Location;
use super::session::{End, Session};
use super::settings::{MAX_BUFFERED_BYTES, MAX_HELD_BYTES, PACE_BYTES, Shared};
use super::visibility::{Entry, ObjectEvent};
use crate::outbox::{Action, Outbox};
use crate::reason::Reason;
use crate::wire::{Channel, Doid, Encoder, Zone, location_channel, message_type as t};
use smallvec::SmallVec;

impl Session {
    /// Opens an interest, or alters the one of this id. The caller has judged it.
    pub(super) fn add_interest(&mut self, request: InterestRequest, out: &mut Outbox) -> Result<(), End> {
        out.metrics.interests_opened += 1;
        let InterestRequest { id, parent, zones, context, caller, is_silent } = request;
        let is_covered = |zone: &Zone| self.interests.covers(Location { parent, zone: *zone });
        let (shared_zones, fresh): (Vec<Zone>, Vec<Zone>) = zones.iter().copied().partition(is_covered);
        let old = self.interests.insert(id, Interest { parent, zones });
        if let Some(old) = old {
            let dead = self.interests.uncover(&old);
            self.close_zones(old.parent, &dead, out)?;
        }
        let opening = |zone| self.interests.opening.get(&location_channel(parent, zone)).copied();
        let mut waits: SmallVec<[u32; 4]> = shared_zones.into_iter().filter_map(opening).collect();
        waits.sort_unstable();
        waits.dedup();
        if !fresh.is_empty() {
            waits.push(self.begin_operation(parent, fresh, out));
        }
        let request = Request { id, context, caller, is_silent, waiting_for: waits.len() };
        if waits.is_empty() {
            self.answer(&request, out);
            return Ok(());
        }
        let number = self.interests.next_request;
        self.interests.next_request = number.wrapping_add(1);
        for wait in waits {
            if let Some(operation) = self.interests.operations.get_mut(&wait) {
                operation.requests.push(number);
            }
        }
        self.interests.requests.insert(number, request);
        Ok(())
    }

    /// Subscribes to the zones; the query follows when that is in effect everywhere (guarantee G4).
    fn begin_operation(&mut self, parent: Doid, zones: Vec<Zone>, out: &mut Outbox) -> u32 {
        let context = self.allocate_context();
        for &zone in &zones {
            self.subscribe(location_channel(parent, zone), out);
            self.interests.opening.insert(location_channel(parent, zone), context);
        }
        out.push(Action::AwaitSubscriptions { participant: self.participant(), token: self.token(context) });
        let operation = Operation::new(parent, zones);
        self.interests.operations.insert(context, operation);
        context
    }

    /// Distinguishes operations of this session from those of an earlier one on the same channel.
    fn token(&self, context: u32) -> u64 {
        self.connection.0 << 32 | u64::from(context)
    }

    /// The subscriptions of an operation are in effect: asks the parent.
    pub(super) fn on_subscribed(&mut self, token: u64, shared: &Shared, out: &mut Outbox) -> Result<(), End> {
        let context = token as u32;
        if !self.interests.is_running(context) || self.token(context) != token {
            return Ok(());
        }
        self.interests.forget_held(context);
        let has_upstream = out.has_upstream;
        if let Some(operation) = self.interests.operations.get_mut(&context) {
            // An upstream Message Director has not acknowledged anything; but what it has heard before the query is in
            // effect there when an answer comes.
            operation.in_effect = !has_upstream;
        }
        self.ask_for_operation(context, shared, out)
    }

    /// Asks the parent for what an operation is opening, and sets its deadline.
    pub(super) fn ask_for_operation(&mut self, context: u32, shared: &Shared, out: &mut Outbox) -> Result<(), End> {
        let deadline_us = out.now_us.saturating_add(self.agent(shared).interest_timeout_us);
        let Some(operation) = self.interests.operations.get_mut(&context) else { return Ok(()) };
        let (parent, opening) = (operation.parent, &self.interests.opening);
        let is_open = |zone: &Zone| opening.get(&location_channel(parent, *zone)) == Some(&context);
        let zones: Vec<Zone> = operation.zones.iter().copied().filter(is_open).collect();
        if zones.is_empty() {
            return self.finish_operation(context, shared, out);
        }
        operation.deadline_us = Some(deadline_us);
        self.ask_parent(context, parent, &zones, out);
        self.arm_interest_timer(out);
        Ok(())
    }

    /// Asks a parent for its children in these zones; they answer with the context.
    pub(super) fn ask_parent(&self, context: u32, parent: Doid, zones: &[Zone], out: &mut Outbox) {
        let query =
            Encoder::internal(&[parent.into()], self.client_id, t::STATESERVER_OBJECT_GET_ZONES_OBJECTS).u32(context);
        let query = zones.iter().fold(query.doid(parent).u16(zones.len() as u16), |query, &zone| query.zone(zone));
        let query = query.datagram().expect("the limit of zones is what one query can name");
        out.publish(self.participant(), query);
    }

    /// STATESERVER_OBJECT_GET_ZONES_COUNT_RESP.
    pub(super) fn on_count(&mut self, context: u32, count: u32, shared: &Shared, out: &mut Outbox) -> Result<(), End> {
        self.is_answered(context, shared, out);
        if self.interests.reviews.contains_key(&context) {
            return self.on_review_count(context, count, out);
        }
        match self.interests.operations.get_mut(&context) {
            Some(operation) => {
                operation.expected.get_or_insert(count);
                self.finish_if_complete(context, shared, out)
            }
            None => {
                tracing::debug!(session = self.channel, context, count, "a count for no running operation; ignored");
                Ok(())
            }
        }
    }

    /// STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED(_OTHER).
    pub(super) fn on_snapshot_entry(
        &mut self,
        context: u32,
        entry: &Entry,
        shared: &Shared,
        out: &mut Outbox,
    ) -> Result<(), End> {
        self.is_answered(context, shared, out);
        if self.interests.reviews.contains_key(&context) {
            return self.on_review_entry(context, entry, shared, out);
        }
        self.set_aside(entry.doid, out);
        self.leave_where_missed(entry, out);
        let Some(operation) = self.interests.operations.get_mut(&context) else {
            // Late: the operation has finished by its timeout. The zone is open all the same (A12).
            if self.has_allocated(context) && self.interests.covers(entry.location) {
                self.enter(entry, shared, out)?;
            } else {
                tracing::debug!(
                    session = self.channel,
                    context,
                    doid = entry.doid,
                    "an entry for no operation; ignored"
                );
            }
            return Ok(());
        };
        operation.received = operation.received.saturating_add(1);
        if self.has_or_gets_no_view(entry.doid) {
            // Counted, but the client has been told, or never is.
            self.objects.relocate(entry.doid, entry.location);
        } else {
            self.interests.hold_snapshot(context, entry);
        }
        self.finish_if_complete(context, shared, out)
    }

    fn finish_if_complete(&mut self, context: u32, shared: &Shared, out: &mut Outbox) -> Result<(), End> {
        if self.interests.operations.get(&context).is_some_and(Operation::is_complete) {
            self.finish_operation(context, shared, out)?;
        }
        Ok(())
    }

    /// An operation is complete, or its time is over: its entries leave at once if they are few, else as the client takes
    /// them.
    fn finish_operation(&mut self, context: u32, shared: &Shared, out: &mut Outbox) -> Result<(), End> {
        let Some(operation) = self.interests.operations.get_mut(&context) else { return Ok(()) };
        operation.deadline_us = None;
        if operation.is_paced {
            return Ok(());
        }
        let is_first = self.interests.paced.is_empty();
        if is_first && self.interests.in_flight_bytes + operation.snapshot_bytes <= PACE_BYTES {
            self.conclude(context, shared, out)?;
            self.ask_when_sent(out);
            return Ok(());
        }
        operation.is_paced = true;
        self.interests.paced.push_back(context);
        self.pace(shared, out)
    }

    /// Everything that was written has left.
    pub(super) fn on_sent(&mut self, shared: &Shared, out: &mut Outbox) -> Result<(), End> {
        self.interests.will_be_told = false;
        self.interests.in_flight_bytes = 0;
        self.pace(shared, out)
    }

    /// Sends entries of complete operations, in their order, until enough is on its way.
    fn pace(&mut self, shared: &Shared, out: &mut Outbox) -> Result<(), End> {
        while self.interests.in_flight_bytes < PACE_BYTES {
            let Some(&context) = self.interests.paced.front() else { break };
            let part = self.interests.next_part(context, PACE_BYTES - self.interests.in_flight_bytes);
            self.enter_covered(&part.entries, shared, out)?;
            for event in &part.events {
                self.on_object_event(event, shared, out)?;
            }
            if part.is_last {
                self.interests.paced.pop_front();
                self.conclude(context, shared, out)?;
            }
        }
        self.ask_when_sent(out);
        Ok(())
    }

    /// Asks to be told when everything has left, where something waits for that or soon will.
    fn ask_when_sent(&mut self, out: &mut Outbox) {
        let is_much = self.interests.in_flight_bytes > PACE_BYTES / 4;
        if (is_much || !self.interests.paced.is_empty()) && !std::mem::replace(&mut self.interests.will_be_told, true) {
            out.push(Action::NotifySent { connection: self.connection });
        }
    }

    /// Entries that no interest covers any more are left out (A10). They do not count against the write budget: the
    /// client has asked for them.
    fn enter_covered(&mut self, entries: &[Entry], shared: &Shared, out: &mut Outbox) -> Result<(), End> {
        let bytes = entries.iter().map(|entry| entry.frame.len()).sum();
        if bytes > 0 {
            self.interests.in_flight_bytes += bytes;
            out.push(Action::Allow { connection: self.connection, bytes });
        }
        for entry in entries {
            if self.interests.covers(entry.location) {
                self.entrance(entry, shared, out)?;
            }
        }
        Ok(())
    }

    /// What is left of the snapshot, answers, then what was held back (§3.11 "Finish").
    fn conclude(&mut self, context: u32, shared: &Shared, out: &mut Outbox) -> Result<(), End> {
        out.metrics.interests_completed += 1;
        let Some(finished) = self.interests.take(context) else { return Ok(()) };
        self.enter_covered(&finished.snapshot, shared, out)?;
        for request in &finished.done {
            self.answer(request, out);
        }
        for event in &finished.backlog {
            if let ObjectEvent::Entry(entry) = event
                && !self.interests.covers(entry.location)
            {
                continue;
            }
            self.on_object_event(event, shared, out)?;
        }
        if finished.is_counted {
            self.settle_doubts(context, out)?;
        }
        self.ask_again(&finished.doubtful, out);
        Ok(())
    }

    /// Keeps what is held back within [`MAX_BUFFERED_BYTES`]: the oldest operations finish as by their timeout.
    pub(super) fn bound_buffers(&mut self, shared: &Shared, out: &mut Outbox) -> Result<(), End> {
        while self.interests.buffered_bytes > MAX_BUFFERED_BYTES {
            let mut operations = self.interests.operations.iter();
            let asked = operations.find(|(_, operation)| operation.deadline_us.is_some());
            let Some((&context, _)) = asked else { break };
            self.time_out(context, "too much is held back", shared, out)?;
        }
        if self.interests.buffered_bytes > MAX_HELD_BYTES {
            return Err(End::TooSlow);
        }
        Ok(())
    }

    fn time_out(&mut self, context: u32, why: &str, shared: &Shared, out: &mut Outbox) -> Result<(), End> {
        out.metrics.interests_timed_out += 1;
        if let Some(operation) = self.interests.operations.get(&context) {
            let Operation { parent, expected, received, .. } = operation;
            // Not a warning: a client that asks for parents that do not exist must not fill the log.
            tracing::debug!(session = self.channel, parent, ?expected, received, why, "an interest is incomplete");
        }
        self.finish_operation(context, shared, out)
    }

    pub(super) fn on_interest_timer(&mut self, shared: &Shared, out: &mut Outbox) -> Result<(), End> {
        if self.interests.timer_at_us <= out.now_us {
            self.interests.timer_at_us = 0;
        }
        let is_due = |operation: &Operation| operation.deadline_us.is_some_and(|deadline_us| deadline_us <= out.now_us);
        let operations = self.interests.operations.iter();
        let due: Vec<u32> =
            operations.filter(|(_, operation)| is_due(operation)).map(|(&context, _)| context).collect();
        for context in due {
            self.time_out(context, "timeout", shared, out)?;
        }
        self.end_reviews(out)?;
        self.arm_interest_timer(out);
        Ok(())
    }

    /// One timer serves all questions: set for the next deadline, and again when it has fired or another one comes before.
    pub(super) fn arm_interest_timer(&mut self, out: &mut Outbox) {
        let operations = self.interests.operations.values().filter_map(|operation| operation.deadline_us);
        let reviews = self.interests.reviews.values().filter_map(|review| review.deadline_us);
        let set_us = self.interests.timer_at_us;
        if let Some(next_us) = operations.chain(reviews).min().filter(|&next_us| set_us == 0 || next_us < set_us) {
            self.arm(TimerKind::Interest, next_us, out);
            self.interests.timer_at_us = next_us;
        }
    }

    /// Closes an interest that exists.
    pub(super) fn remove_interest(
        &mut self,
        id: u16,
        context: u32,
        caller: Option<Channel>,
        out: &mut Outbox,
    ) -> Result<(), End> {
        if let Some(interest) = self.interests.by_id.remove(&id) {
            out.metrics.interests_closed += 1;
            let dead = self.interests.uncover(&interest);
            self.close_zones(interest.parent, &dead, out)?;
        }
        self.answer(&Request { id, context, caller, is_silent: false, waiting_for: 0 }, out);
        Ok(())
    }

    /// Tells the client that the objects in zones (sorted) which nothing covers any more have left.
    pub(super) fn close_zones(&mut self, parent: Doid, zones: &[Zone], out: &mut Outbox) -> Result<(), End> {
        if zones.is_empty() {
            return Ok(());
        }
        let leaving = self.objects.visible_in(parent, zones);
        if let Some(doid) = leaving.iter().find(|&&doid| self.objects.is_session_object(doid)) {
            let text = format!("the zone of session object {doid} was closed");
            return Err(End::eject(Reason::SessionObjectDeleted, text));
        }
        for doid in leaving {
            self.leave_view(doid, out);
            self.write_message(Encoder::client(t::CLIENT_OBJECT_LEAVING).doid(doid), out);
        }
        for &zone in zones {
            self.unsubscribe(location_channel(parent, zone), out);
        }
        self.interests.forget_zones(parent, zones);
        Ok(())
    }

    /// 1204 to the caller, if there is one, then 204 to the client (A19).
    fn answer(&self, request: &Request, out: &mut Outbox) {
        if request.is_silent {
            return;
        }
        self.answer_caller(request.caller, request.id, out);
        let done = Encoder::client(t::CLIENT_DONE_INTEREST_RESP).u32(request.context).u16(request.id);
        self.write_message(done, out);
    }

    /// CLIENTAGENT_DONE_INTEREST_RESP to whoever opened an interest.
    pub(super) fn answer_caller(&self, caller: Option<Channel>, id: u16, out: &mut Outbox) {
        let Some(caller) = caller else { return };
        let response = Encoder::internal(&[caller], self.client_id, t::CLIENTAGENT_DONE_INTEREST_RESP);
        let response = response.channel(self.client_id).u16(id).datagram().expect("a short message fits a frame");
        out.publish(self.participant(), response);
    }

    /// The session ends: those who wait for an interest hear so, the client nothing (§3.13).
    pub(super) fn answer_waiting_callers(&self, out: &mut Outbox) {
        for request in self.interests.requests.values() {
            self.answer_caller(request.caller, request.id, out);
        }
    }

    /// CLIENTAGENT_ADD_INTEREST(_MULTIPLE): the client is told first, with a context of the session's.
    pub(super) fn add_interest_for(
        &mut self,
        caller: Channel,
        (id, parent, zones): (u16, Doid, &[Zone]),
        shared: &Shared,
        out: &mut Outbox,
    ) -> Result<(), End> {
        self.yield_interest_id(id);
        let request = InterestRequest::new(id, parent, zones.to_vec(), 0, Some(caller));
        let mut request = self.with_auto_zones(request, shared);
        if crate::wire::is_reserved_doid(parent) {
            tracing::warn!(session = self.channel, caller, parent, "an interest in a reserved parent is refused");
            return Ok(());
        }
        if let Err(limit) = self.interests.check_limits(&request, self.agent(shared)) {
            tracing::warn!(session = self.channel, caller, parent, %limit, "an interest is refused");
            return Ok(());
        }
        request.context = self.allocate_context();
        let (context, zones) = (request.context, &request.zones);
        let announcement = if let [zone] = zones[..] {
            Encoder::client(t::CLIENT_ADD_INTEREST).u32(context).u16(id).doid(parent).zone(zone)
        } else {
            let message = Encoder::client(t::CLIENT_ADD_INTEREST_MULTIPLE).u32(context).u16(id).doid(parent);
            zones.iter().fold(message.u16(zones.len() as u16), |message, &zone| message.zone(zone))
        };
        self.write_message(announcement, out);
        self.add_interest(request, out)
    }

    /// CLIENTAGENT_REMOVE_INTEREST.
    pub(super) fn remove_interest_for(&mut self, caller: Channel, id: u16, out: &mut Outbox) -> Result<(), End> {
        self.yield_interest_id(id);
        if !self.interests.contains(id) {
            tracing::warn!(session = self.channel, caller, id, "an interest that the client does not have");
            self.answer_caller(Some(caller), id, out);
            return Ok(());
        }
        let context = self.allocate_context();
        self.write_message(Encoder::client(t::CLIENT_REMOVE_INTEREST).u32(context).u16(id), out);
        self.remove_interest(id, context, Some(caller), out)
    }
}

//! Fields of stored objects that are not live, asked for by anybody (`protocol-ss-dbss-db.md` §3.5).
//!
//! The class of such an object is not known here: fields are looked up in the whole contract.

use super::requests::{Question, Request};
use super::{DatabaseStateServer, Incoming};
use crate::outbox::Outbox;
use crate::state_server::Filter;
use crate::wire::message_type as t;
use crate::wire::{Channel, Doid, MessageType, Reader, Truncated};
use donet_dc::{Field, Keywords};
use std::collections::BTreeMap;

/// Whether a live object would have the field: others cannot be read.
fn is_readable(field: &Field) -> bool {
    field.keywords().intersects(Keywords::RAM | Keywords::REQUIRED)
}

fn is_stored(field: &Field) -> bool {
    field.keywords().contains(Keywords::DB)
}

impl DatabaseStateServer {
    pub(super) fn on_get_field(&mut self, incoming: &Incoming, out: &mut Outbox) -> Result<(), Truncated> {
        let mut payload = incoming.payload;
        let (context, doid) = (payload.u32()?, payload.doid()?);
        let id = payload.u16()?;
        if doid != incoming.doid {
            return Ok(());
        }
        let contract = self.contract.clone();
        let field = contract.field(id).filter(|field| is_readable(field));
        if field.is_some_and(is_stored) {
            let body = |asked: u32| [&asked.to_le_bytes()[..], &doid.to_le_bytes(), &id.to_le_bytes()].concat();
            self.ask(incoming, context, Question::Field, t::DBSERVER_OBJECT_GET_FIELD, body, out);
            return Ok(());
        }
        let mut answer = context.to_le_bytes().to_vec();
        match field.filter(|field| field.has_explicit_default()) {
            Some(field) => {
                answer.push(1);
                answer.extend_from_slice(&id.to_le_bytes());
                answer.extend_from_slice(field.default_value());
            }
            None => answer.push(0),
        }
        self.send(out, doid, incoming.sender, t::STATESERVER_OBJECT_GET_FIELD_RESP, &answer);
        Ok(())
    }

    pub(super) fn on_get_fields(&mut self, incoming: &Incoming, out: &mut Outbox) -> Result<(), Truncated> {
        let mut payload = incoming.payload;
        let (context, doid) = (payload.u32()?, payload.doid()?);
        let count = payload.u16()?;
        let mut ids = Reader::new(payload.take(count as usize * size_of::<u16>())?);
        if doid != incoming.doid {
            return Ok(());
        }
        let contract = self.contract.clone();
        let (mut known, mut pairs) = (0_u16, Vec::new());
        let (mut asked_count, mut asked) = (0_u16, Vec::new());
        while !ids.is_empty() {
            let id = ids.u16()?;
            let Some(field) = contract.field(id) else {
                self.send_failure(out, doid, incoming.sender, context);
                return Ok(());
            };
            if !is_readable(field) {
                continue;
            }
            if is_stored(field) {
                asked_count += 1;
                asked.extend_from_slice(&id.to_le_bytes());
            } else {
                known += 1;
                pairs.extend_from_slice(&id.to_le_bytes());
                pairs.extend_from_slice(field.default_value());
            }
        }
        if asked_count == 0 {
            self.send_fields(out, doid, incoming.sender, context, known, &[&pairs]);
            return Ok(());
        }
        let body =
            |number: u32| [&number.to_le_bytes()[..], &doid.to_le_bytes(), &asked_count.to_le_bytes(), &asked].concat();
        let question = Question::Fields { count: known, pairs };
        self.ask(incoming, context, question, t::DBSERVER_OBJECT_GET_FIELDS, body, out);
        Ok(())
    }

    pub(super) fn on_get_all(&mut self, incoming: &Incoming, out: &mut Outbox) -> Result<(), Truncated> {
        let mut payload = incoming.payload;
        let (context, doid) = (payload.u32()?, payload.doid()?);
        if doid == incoming.doid {
            let body = |number: u32| [number.to_le_bytes(), doid.to_le_bytes()].concat();
            self.ask(incoming, context, Question::All, t::DBSERVER_OBJECT_GET_ALL, body, out);
        }
        Ok(())
    }

    /// Asks the database, with a context of this role's own.
    fn ask(
        &mut self,
        incoming: &Incoming,
        context: u32,
        question: Question,
        message_type: MessageType,
        body: impl FnOnce(u32) -> Vec<u8>,
        out: &mut Outbox,
    ) {
        let (doid, requester) = (incoming.doid, incoming.sender);
        let allowed_us = u64::try_from(self.settings.load_timeout.as_micros()).unwrap_or(u64::MAX);
        match self.requests.open(Request { doid, requester, context, question }, out.now_us, allowed_us) {
            Some(number) => self.send_to_database(out, doid, message_type, &body(number)),
            None => self.refuse(incoming, "too many questions to the database are open", out),
        }
    }

    /// The database's answer to GET_FIELD or GET_FIELDS. What it says is passed on as it is.
    pub(super) fn on_fields_reply(&mut self, incoming: &Incoming, out: &mut Outbox) -> Result<(), Truncated> {
        let mut payload = incoming.payload;
        let context = payload.u32()?;
        let is_plural = incoming.message_type == t::DBSERVER_OBJECT_GET_FIELDS_RESP;
        let fits = |question: &Question| match question {
            Question::Field => !is_plural,
            Question::Fields { .. } => is_plural,
            Question::All => false,
        };
        let Some(request) = self.requests.close(context, incoming.doid, fits) else {
            tracing::debug!(doid = incoming.doid, context, "an answer of the database that nobody waits for");
            return Ok(());
        };
        let Request { doid, requester, context, question } = request;
        let Question::Fields { count, pairs } = question else {
            let answer = [&context.to_le_bytes()[..], payload.rest()].concat();
            self.send(out, doid, requester, t::STATESERVER_OBJECT_GET_FIELD_RESP, &answer);
            return Ok(());
        };
        let found = payload.bool().unwrap_or(false).then(|| payload.u16().ok()).flatten();
        match found.and_then(|found| found.checked_add(count)) {
            Some(count) => self.send_fields(out, doid, requester, context, count, &[&pairs, payload.rest()]),
            None => self.send_failure(out, doid, requester, context),
        }
        Ok(())
    }

    fn send_fields(&self, out: &mut Outbox, doid: Doid, to: Channel, context: u32, count: u16, pairs: &[&[u8]]) {
        let mut answer = context.to_le_bytes().to_vec();
        answer.push(1);
        answer.extend_from_slice(&count.to_le_bytes());
        answer.extend(pairs.iter().copied().flatten());
        self.send(out, doid, to, t::STATESERVER_OBJECT_GET_FIELDS_RESP, &answer);
    }

    fn send_failure(&self, out: &mut Outbox, doid: Doid, to: Channel, context: u32) {
        let answer = [&context.to_le_bytes()[..], &[0]].concat();
        self.send(out, doid, to, t::STATESERVER_OBJECT_GET_FIELDS_RESP, &answer);
    }

    /// Answers the GET_ALL that the database's answer belongs to, if it does; with nothing if there is no such object.
    pub(super) fn answer_get_all(&mut self, doid: Doid, context: u32, reply: Reader, out: &mut Outbox) {
        let is_all = |question: &Question| matches!(question, Question::All);
        let Some(request) = self.requests.close(context, doid, is_all) else { return };
        let stored = match self.read_stored(reply) {
            Ok(stored) => stored,
            Err(refusal) => {
                tracing::debug!(doid, %refusal, "GET_ALL is not answered");
                return;
            }
        };
        let Some(layout) = self.layouts.get(stored.class) else { return };
        let values = self.object_values(&stored, &BTreeMap::new());
        let mut answer = request.context.to_le_bytes().to_vec();
        answer.extend_from_slice(&doid.to_le_bytes());
        // Parent and zone: what is not live is nowhere.
        answer.extend_from_slice(&[0; 8]);
        answer.extend_from_slice(&stored.class.to_le_bytes());
        values.write_required(layout, Filter::All, &mut answer);
        values.write_other(layout, Filter::All, &mut answer);
        self.send(out, doid, request.requester, t::STATESERVER_OBJECT_GET_ALL_RESP, &answer);
    }
}

//! Questions to the Database Server that have not been answered.
//!
//! Decides which answer belongs to which question, and how many may be open. It never sends anything.

use crate::wire::{Channel, Doid};
use hashbrown::HashMap;
use std::collections::VecDeque;

/// The most questions of one partition that may be open: at some 200 bytes each they stay below 20 MB. More open
/// questions mean that the database has stopped answering.
const OPEN_MAX: usize = 100_000;

/// What is to be done with the answer.
#[derive(Debug)]
pub enum Question {
    Field,
    /// Some of the fields are answered without the database: so many, and their pairs as they go on the wire.
    Fields {
        count: u16,
        pairs: Vec<u8>,
    },
    All,
}

/// Somebody asked for fields of an object that is not live.
#[derive(Debug)]
pub struct Request {
    pub doid: Doid,
    pub requester: Channel,
    /// The requester's context.
    pub context: u32,
    pub question: Question,
}

/// The open questions of one partition, by the context that the Database Server was given.
#[derive(Debug, Default)]
pub struct Requests {
    next_context: u32,
    open: HashMap<u32, Request>,
    /// The latest GET_ALL of a doid that is open.
    open_all: HashMap<Doid, u32>,
    /// When each question is given up; the time allowed is the same for all, so they stand in order.
    deadlines_us: VecDeque<(u64, u32)>,
}

impl Requests {
    /// A context that is not in use.
    pub fn next_context(&mut self) -> u32 {
        let context = self.next_context;
        self.next_context = self.next_context.wrapping_add(1);
        context
    }

    /// Notes a question. Returns the context to ask with, or `None` if too many are open.
    pub fn open(&mut self, request: Request, now_us: u64, allowed_us: u64) -> Option<u32> {
        self.give_up_late_ones(now_us);
        if self.open.len() >= OPEN_MAX {
            return None;
        }
        let context = self.next_context();
        if matches!(request.question, Question::All) {
            self.open_all.insert(request.doid, context);
        }
        self.deadlines_us.push_back((now_us.saturating_add(allowed_us), context));
        self.open.insert(context, request);
        Some(context)
    }

    /// The context of a GET_ALL that is open for a doid.
    pub fn open_all(&self, doid: Doid) -> Option<u32> {
        self.open_all.get(&doid).copied()
    }

    /// Something is written behind a GET_ALL that is open for a doid: its answer is for who asked, and nobody else.
    pub fn is_written(&mut self, doid: Doid) {
        self.open_all.remove(&doid);
    }

    /// Takes the question that an answer belongs to. `fits` says whether the answer is of the right type.
    pub fn close(&mut self, context: u32, doid: Doid, fits: impl FnOnce(&Question) -> bool) -> Option<Request> {
        let request = self.open.get(&context)?;
        if request.doid != doid || !fits(&request.question) {
            return None;
        }
        self.take(context)
    }

    fn take(&mut self, context: u32) -> Option<Request> {
        let request = self.open.remove(&context)?;
        if self.open_all.get(&request.doid) == Some(&context) {
            self.open_all.remove(&request.doid);
        }
        Some(request)
    }

    /// Forgets what was asked too long ago, and the deadlines of what was answered.
    fn give_up_late_ones(&mut self, now_us: u64) {
        while let Some(&(deadline_us, context)) = self.deadlines_us.front() {
            if self.open.contains_key(&context) {
                if now_us < deadline_us {
                    break;
                }
                tracing::debug!(context, "the database has not answered in time");
                self.take(context);
            }
            self.deadlines_us.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(doid: Doid) -> Request {
        Request { doid, requester: 5, context: 77, question: Question::All }
    }

    #[test]
    fn an_answer_closes_its_own_question_only() {
        let mut requests = Requests::default();
        let context = requests.open(request(9000), 0, 10).unwrap();
        assert!(requests.close(context + 1, 9000, |_| true).is_none());
        assert!(requests.close(context, 9001, |_| true).is_none());
        assert!(requests.close(context, 9000, |_| false).is_none());
        assert_eq!(requests.open_all(9000), Some(context));
        assert!(requests.close(context, 9000, |_| true).is_some());
        assert_eq!(requests.open_all(9000), None);
    }

    #[test]
    fn what_is_never_answered_is_given_up_in_time() {
        let mut requests = Requests::default();
        let first = requests.open(request(9000), 0, 10).unwrap();
        let second = requests.open(request(9001), 5, 10).unwrap();
        requests.open(request(9002), 10, 10).unwrap();
        assert!(requests.close(first, 9000, |_| true).is_none());
        assert_eq!((requests.open_all(9000), requests.open_all(9001)), (None, Some(second)));
        assert_eq!(requests.deadlines_us.len(), 2);
    }

    #[test]
    fn open_questions_are_limited() {
        let mut requests = Requests::default();
        let accepted = (0..OPEN_MAX + 3).filter(|_| requests.open(request(9000), 0, 10).is_some()).count();
        assert_eq!(accepted, OPEN_MAX);
    }
}

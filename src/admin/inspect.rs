//! Questions to executors, and their answers.

use crate::database_server::EngineFigures;
use crate::metrics::Metrics;
use crate::wire::{Channel, Doid, Zone};
use donet_shards::{Counters, Queues, ShardId};
use serde::Serialize;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Sessions that one executor lists at most: a page is for people, and a turn must not take long.
pub const SESSIONS_LISTED_MAX: usize = 200;

/// Children that one executor lists at most.
pub const CHILDREN_LISTED_MAX: usize = 1000;

/// Parents that one executor lists at most.
pub const PARENTS_LISTED_MAX: usize = 200;

/// How long executors may take to answer. One that is busy for longer is in trouble, and the answer says so.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);

/// What can be asked of an executor.
#[derive(Clone, Debug)]
pub enum Question {
    /// Everything that it counts.
    Figures,
    /// The links that it serves.
    Links,
    /// The client sessions that it serves whose channel or address contains this text, up to [`SESSIONS_LISTED_MAX`].
    Sessions { search: String },
    /// One session, if it is here.
    Session(Channel),
    /// One live object, if it is here.
    Object(Doid),
    /// Live objects with this parent, in one zone or in all, up to [`CHILDREN_LISTED_MAX`] for each executor.
    Children { parent: Doid, zone: Option<Zone> },
    /// Doids that live objects have as their parent, up to [`PARENTS_LISTED_MAX`] for each executor.
    Parents,
    /// End a session with CLIENT_EJECT. Answered with [`Answer::Ejected`].
    Eject { session: Channel, code: u16, text: String },
}

/// What an executor answers.
#[derive(Debug)]
pub enum Answer {
    Figures(Box<ExecutorFigures>),
    Links(Vec<LinkReport>),
    Sessions(Vec<SessionReport>),
    Session(Option<Box<SessionDetails>>),
    Object(Option<Box<ObjectReport>>),
    Children(Vec<ChildReport>),
    Parents(Vec<Doid>),
    /// Whether the session was here.
    Ejected(bool),
}

/// Everything that one executor counts.
#[derive(Clone, Debug)]
pub struct ExecutorFigures {
    pub shard: ShardId,
    pub counters: Counters,
    pub queues: Queues,
    pub metrics: Metrics,
    /// Channels with subscribers that its routing table knows.
    pub subscribed_channels: u64,
    /// Of every database of the daemon, in the order of the configuration; nothing but on the first executor.
    pub databases: Vec<Arc<EngineFigures>>,
}

/// A connection to the Message Director.
#[derive(Clone, Debug, Serialize)]
pub struct LinkReport {
    pub shard: u16,
    pub connection: u64,
    pub peer: String,
    /// As the peer calls itself.
    pub name: String,
    pub url: String,
}

/// A client session, in a list.
#[derive(Clone, Debug, Serialize)]
pub struct SessionReport {
    pub shard: u16,
    /// The allocated channel.
    pub channel: Channel,
    /// The channel that it sends as.
    pub client_id: Channel,
    pub peer: String,
    /// `new`, `anonymous` or `established`.
    pub state: &'static str,
    pub interests: usize,
    /// Objects that the client sees.
    pub visible: usize,
    pub owned: usize,
}

/// A client session as a page of its own shows it.
#[derive(Clone, Debug, Serialize)]
pub struct SessionDetails {
    #[serde(flatten)]
    pub session: SessionReport,
    pub open_interests: Vec<InterestReport>,
    pub owned_objects: Vec<Doid>,
}

/// An open interest of a session.
#[derive(Clone, Debug, Serialize)]
pub struct InterestReport {
    pub id: u16,
    pub parent: Doid,
    pub zones: Vec<Zone>,
}

/// A live object.
#[derive(Clone, Debug, Serialize)]
pub struct ObjectReport {
    pub shard: u16,
    pub doid: Doid,
    pub class: String,
    pub parent: Doid,
    pub zone: Zone,
    pub ai: Channel,
    pub owner: Channel,
    /// Name and value, in DC syntax, of the fields that have one.
    pub fields: Vec<(String, String)>,
}

/// A live object, in a list.
#[derive(Clone, Debug, Serialize)]
pub struct ChildReport {
    pub doid: Doid,
    pub zone: Zone,
    pub class: String,
}

/// A question on its way, with what takes the answer.
pub struct Inspection {
    pub question: Question,
    pub reply: Box<dyn FnOnce(Answer) + Send>,
}

impl fmt::Debug for Inspection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Inspection").field("question", &self.question).finish_non_exhaustive()
    }
}

/// Asks executors. Cheap to clone.
#[derive(Clone)]
pub struct Inspector {
    shards: usize,
    send: Arc<dyn Fn(ShardId, Inspection) + Send + Sync>,
}

impl fmt::Debug for Inspector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Inspector").field("shards", &self.shards).finish_non_exhaustive()
    }
}

impl Inspector {
    /// `send` hands an inspection to an executor, which answers in its next turn.
    pub fn new(shards: usize, send: impl Fn(ShardId, Inspection) + Send + Sync + 'static) -> Self {
        Self { shards, send: Arc::new(send) }
    }

    /// The number of executors.
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// Asks every executor, and waits for the answers, in the order of the executors; `None` for one that did not
    /// answer within two seconds.
    pub async fn ask_all(&self, question: &Question) -> Vec<Option<Answer>> {
        let asked: Vec<_> = (0..self.shards)
            .map(|index| {
                let (sender, receiver) = tokio::sync::oneshot::channel();
                let reply = Box::new(move |answer| {
                    // Whoever asked may have given up.
                    let _ = sender.send(answer);
                });
                (self.send)(ShardId(index as u16), Inspection { question: question.clone(), reply });
                receiver
            })
            .collect();
        let deadline = tokio::time::Instant::now() + ANSWER_DEADLINE;
        let mut answers = Vec::with_capacity(asked.len());
        for receiver in asked {
            let answer = tokio::time::timeout_at(deadline, receiver).await;
            answers.push(answer.ok().and_then(Result::ok));
        }
        answers
    }
}

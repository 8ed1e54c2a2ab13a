//! Answers of one executor to what the admin endpoint asks.

use super::Daemon;
use crate::admin::{Answer, ExecutorFigures, Inspection, LinkReport, Question};
use crate::database_server::EngineHandle;
use crate::metrics::Metrics;
use donet_shards::{ShardId, Turn};

impl Daemon {
    pub(super) fn inspect(&mut self, inspection: Inspection, turn: &mut Turn<Self>) {
        let answer = match inspection.question {
            Question::Figures => Answer::Figures(Box::new(ExecutorFigures {
                shard: turn.shard(),
                counters: *turn.counters(),
                queues: *turn.queues(),
                metrics: self.metrics(turn),
                subscribed_channels: self.router.subscriptions.len() as u64,
                databases: match turn.shard() {
                    ShardId(0) => self.shared.databases.iter().map(EngineHandle::figures).collect(),
                    _ => Vec::new(),
                },
            })),
            Question::Links => Answer::Links(self.link_reports(turn)),
            Question::Sessions { search } => Answer::Sessions(self.client_agents.reports(&search)),
            Question::Session(channel) => Answer::Session(self.client_agents.details(channel).map(Box::new)),
            Question::Object(doid) => Answer::Object(self.state_server.report(turn.shard(), doid).map(Box::new)),
            Question::Children { parent, zone } => Answer::Children(self.state_server.child_reports(parent, zone)),
            Question::Parents => Answer::Parents(self.state_server.parents()),
            Question::Eject { session, code, text } => {
                let ejected = self.client_agents.eject(session, code, text, &mut self.outbox);
                self.carry_out(turn);
                Answer::Ejected(ejected)
            }
        };
        (inspection.reply)(answer);
    }

    /// What this executor has counted; the first one's figures have those of the SQL sinks among them.
    pub(super) fn metrics(&self, turn: &Turn<Self>) -> Metrics {
        let mut metrics = self.outbox.metrics.clone();
        if turn.shard() == ShardId(0) {
            self.shared.databases.iter().for_each(|database| metrics.add_sink(database.sink_figures()));
        }
        let cached = self.database_servers.iter().map(|role| role.cached_bytes() as u64);
        metrics.database_cache_bytes = cached.sum();
        metrics
    }

    fn link_reports(&self, turn: &Turn<Self>) -> Vec<LinkReport> {
        let report = |(connection, link): (&donet_shards::ConnectionId, &crate::message_director::Link)| LinkReport {
            shard: turn.shard().0,
            connection: connection.0,
            peer: link.peer.clone(),
            name: link.name.clone(),
            url: link.url.clone(),
        };
        self.links.open().map(report).collect()
    }
}

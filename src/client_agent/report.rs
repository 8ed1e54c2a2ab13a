//! What an operator may see of sessions, and do to one.

use super::ClientAgents;
use super::session::{End, Session, State};
use crate::admin::{InterestReport, SESSIONS_LISTED_MAX, SessionDetails, SessionReport};
use crate::outbox::Outbox;
use crate::reason::Reason;
use crate::wire::Channel;

impl ClientAgents {
    /// The sessions of this executor whose channel or address contains `search`, up to [`SESSIONS_LISTED_MAX`].
    pub fn reports(&self, search: &str) -> Vec<SessionReport> {
        let matches = |session: &&Session| {
            session.channel.to_string().contains(search)
                || session.client_id.to_string().contains(search)
                || session.origin.peer.to_string().contains(search)
        };
        let sessions = self.sessions.values().map(|session| &**session);
        sessions.filter(matches).take(SESSIONS_LISTED_MAX).map(|session| self.report(session)).collect()
    }

    /// One session, if this executor serves it.
    pub fn details(&self, channel: Channel) -> Option<SessionDetails> {
        let session = self.sessions.get(&channel)?;
        let open_interests = session
            .interests
            .by_id
            .iter()
            .map(|(&id, interest)| InterestReport { id, parent: interest.parent, zones: interest.zones.clone() })
            .collect();
        let mut owned_objects: Vec<_> = session.objects.owned_doids().collect();
        owned_objects.sort_unstable();
        Some(SessionDetails { session: self.report(session), open_interests, owned_objects })
    }

    /// Ends a session as CLIENTAGENT_EJECT does. Whether it was here.
    pub fn eject(&mut self, channel: Channel, code: u16, text: String, out: &mut Outbox) -> bool {
        let is_here = self.sessions.contains_key(&channel);
        let reason = Reason::EjectedByApplication;
        self.run(channel, out, |_, _, _| Err(End::Eject { reason, code, text: text.into_bytes() }));
        is_here
    }

    fn report(&self, session: &Session) -> SessionReport {
        SessionReport {
            shard: self.shard.0,
            channel: session.channel,
            client_id: session.client_id,
            peer: session.origin.peer.to_string(),
            state: match session.state {
                State::New => "new",
                State::Anonymous => "anonymous",
                State::Established => "established",
            },
            interests: session.interests.by_id.len(),
            visible: session.objects.visible(),
            owned: session.objects.owned_doids().count(),
        }
    }
}

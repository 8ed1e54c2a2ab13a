//! One client session: its identity and state, its timers, and how it ends (`protocol-md-ca-el.md` §3.2, §3.5, §3.13).
//!
//! A handler that decides that the session is over returns an [`End`]; only [`Session::end`] carries it out, so every
//! session ends once, in one order, with one reason.

use super::interest_tables::Interests;
use super::objects::Objects;
use super::parenting::Parenting;
use super::rate::Allowance;
use super::reading_clock::ReadingClock;
use super::settings::{Agent, Shared};
use super::{ClientAgentMessage, ClientTimer, Origin, TimerKind};
use crate::event_logger::{Event, EventType};
use crate::outbox::{Action, Outbox, Participant, RoleMessage, RoleTimer};
use crate::reason::Reason;
use crate::wire::{ALL_CLIENTS, Channel, Encoder, Truncated, message_type as t};
use bytes::Bytes;
use donet_shards::{Close, CloseCause, ConnectionId};
use std::net::SocketAddr;

/// How far a client has come (§3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    New,
    Anonymous,
    Established,
}

impl State {
    /// The sessions of this executor that have come so far.
    fn gauge(self, out: &mut Outbox) -> &mut u64 {
        match self {
            State::New => &mut out.metrics.sessions_new,
            State::Anonymous => &mut out.metrics.sessions_anonymous,
            State::Established => &mut out.metrics.sessions_established,
        }
    }
}

/// How a session ends.
#[derive(Debug)]
pub(super) enum End {
    /// With a CLIENT_EJECT.
    Eject { reason: Reason, code: u16, text: Vec<u8> },
    /// CLIENT_DISCONNECT.
    Disconnected,
    /// CLIENTAGENT_DROP.
    Dropped,
    /// The connection is gone already.
    Lost(CloseCause),
    /// What lies around the connection's bytes is broken, or has said goodbye.
    Broken { reason: Reason, close: Close },
    /// The client takes what it has asked for too slowly: there is no more room to keep it.
    TooSlow,
    /// A handler panicked.
    InternalError,
}

impl End {
    /// An eject of the Client Agent's own.
    ///
    /// # Panics
    /// For a reason without an eject code.
    pub(super) fn eject(reason: Reason, text: impl Into<String>) -> Self {
        let code = reason.eject_code().expect("the Client Agent ejects for reasons that have a code");
        End::Eject { reason, code, text: text.into().into_bytes() }
    }

    pub(super) fn reason(&self) -> Reason {
        match self {
            End::Eject { reason, .. } => *reason,
            End::Disconnected => Reason::Disconnected,
            End::Dropped => Reason::Dropped,
            End::Lost(CloseCause::EndOfFile) => Reason::PeerClosed,
            End::Lost(CloseCause::Error(_)) => Reason::SocketError,
            End::Lost(CloseCause::WriteBudget) => Reason::WriteBudget,
            End::Lost(CloseCause::WriteTimeout) => Reason::WriteTimeout,
            End::Broken { reason, .. } => *reason,
            End::TooSlow => Reason::WriteBudget,
            End::InternalError => Reason::InternalError,
        }
    }
}

/// A client message that ends early (§1.9).
impl From<Truncated> for End {
    fn from(error: Truncated) -> Self {
        End::eject(Reason::Truncated, error.to_string())
    }
}

/// One client.
#[derive(Debug)]
pub(super) struct Session {
    /// The allocated channel: the session's name, which never changes.
    pub(super) channel: Channel,
    /// The sender of everything that the session emits.
    pub(super) client_id: Channel,
    pub(super) agent: u8,
    pub(super) connection: ConnectionId,
    pub(super) origin: Origin,
    pub(super) state: State,
    has_greeted: bool,
    pub(super) was_established: bool,
    /// What the deadlines are measured by.
    reading_clock: ReadingClock,
    heartbeat_deadline_us: u64,
    received_us: u64,
    bytes: Allowance,
    messages: Allowance,
    authentication_deadline_us: u64,
    hello_deadline_us: u64,
    /// Of which kind a timer is set.
    armed: [bool; TimerKind::COUNT],
    next_context: u32,
    pub(super) objects: Objects,
    pub(super) interests: Interests,
    pub(super) parenting: Parenting,
}

impl Session {
    /// Begins a session: its subscriptions, its event, its timers.
    pub(super) fn begin(
        agent: u8,
        channel: Channel,
        connection: ConnectionId,
        origin: Origin,
        shared: &Shared,
        out: &mut Outbox,
    ) -> Self {
        let mut session = Self {
            channel,
            client_id: channel,
            agent,
            connection,
            origin,
            state: State::New,
            has_greeted: false,
            was_established: false,
            reading_clock: ReadingClock::default(),
            heartbeat_deadline_us: 0,
            received_us: ReadingClock::default().now_us(out),
            bytes: Allowance::default(),
            messages: Allowance::default(),
            authentication_deadline_us: 0,
            hello_deadline_us: 0,
            armed: [false; TimerKind::COUNT],
            next_context: 1,
            objects: Objects::default(),
            interests: Interests::default(),
            parenting: Parenting::default(),
        };
        for channel in [channel, ALL_CLIENTS] {
            session.subscribe(channel, out);
        }
        if !session.origin.is_health_check {
            out.push(Action::Event(session.event(EventType::ClientConnected).with_addresses(&session.origin)));
        }
        let agent = session.agent(shared);
        if let Some(timeout_us) = agent.authentication_timeout_us {
            session.authentication_deadline_us = session.reading_clock.now_us(out).saturating_add(timeout_us);
            session.arm(TimerKind::Authentication, out.now_us.saturating_add(timeout_us), out);
        }
        if let Some(timeout_us) = agent.hello_timeout_us {
            session.hello_deadline_us = session.reading_clock.now_us(out).saturating_add(timeout_us);
            session.arm(TimerKind::Hello, out.now_us.saturating_add(timeout_us), out);
        }
        if let Some(timeout_us) = agent.idle_timeout_us {
            session.arm(TimerKind::Idle, out.now_us.saturating_add(timeout_us), out);
        }
        if let Some(timeout_us) = agent.heartbeat_timeout_us {
            session.restart_heartbeat(shared, out);
            session.arm(TimerKind::Heartbeat, out.now_us.saturating_add(timeout_us), out);
        }
        out.metrics.sessions_open += 1;
        *State::New.gauge(out) += 1;
        session
    }

    /// Other settings are in force: a deadline that there was none of before begins now.
    pub(super) fn reload(&mut self, before: &Agent, shared: &Shared, out: &mut Outbox) {
        let agent = self.agent(shared);
        let (heartbeat_us, idle_us) = (agent.heartbeat_timeout_us, agent.idle_timeout_us);
        let (authentication_us, hello_us) = (agent.authentication_timeout_us, agent.hello_timeout_us);
        if let (None, Some(timeout_us)) = (before.heartbeat_timeout_us, heartbeat_us) {
            self.restart_heartbeat(shared, out);
            self.arm(TimerKind::Heartbeat, out.now_us.saturating_add(timeout_us), out);
        }
        if let (None, Some(timeout_us)) = (before.idle_timeout_us, idle_us) {
            self.arm(TimerKind::Idle, out.now_us.saturating_add(timeout_us), out);
        }
        if let (None, Some(timeout_us)) = (before.authentication_timeout_us, authentication_us) {
            self.authentication_deadline_us = self.reading_clock.now_us(out).saturating_add(timeout_us);
            self.arm(TimerKind::Authentication, out.now_us.saturating_add(timeout_us), out);
        }
        if let (None, Some(timeout_us)) = (before.hello_timeout_us, hello_us) {
            self.hello_deadline_us = self.reading_clock.now_us(out).saturating_add(timeout_us);
            self.arm(TimerKind::Hello, out.now_us.saturating_add(timeout_us), out);
        }
    }

    pub(super) fn agent<'a>(&self, shared: &'a Shared) -> &'a Agent {
        &shared.agents[usize::from(self.agent)]
    }

    pub(super) fn participant(&self) -> Participant {
        Participant::Session(self.channel)
    }

    /// The next context of a server-initiated interest or of a query (§3.2).
    pub(super) fn allocate_context(&mut self) -> u32 {
        loop {
            let context = self.next_context;
            self.next_context = context.wrapping_add(1).max(1);
            if !self.interests.is_running(context) {
                return context;
            }
        }
    }

    /// Whether a context may have been handed out before.
    pub(super) fn has_allocated(&self, context: u32) -> bool {
        context != 0 && context < self.next_context
    }

    /// Sends a finished frame to the client.
    pub(super) fn write(&self, frame: Bytes, out: &mut Outbox) {
        out.metrics.client_frames_sent += 1;
        out.metrics.client_bytes_sent += frame.len() as u64;
        if self.origin.is_wrapped {
            out.push(Action::WriteWrapped { connection: self.connection, frame });
        } else {
            out.write(self.connection, frame);
        }
    }

    /// Sends a client message; one that does not fit a frame is dropped and counted.
    pub(super) fn write_message(&self, message: Encoder, out: &mut Outbox) {
        match message.finish() {
            Ok(frame) => self.write(frame, out),
            Err(error) => {
                out.metrics.oversized_messages_dropped += 1;
                tracing::warn!(session = self.channel, %error, "message to a client dropped");
            }
        }
    }

    pub(super) fn subscribe(&self, channel: Channel, out: &mut Outbox) {
        out.push(Action::Subscribe { participant: self.participant(), channel });
    }

    pub(super) fn unsubscribe(&self, channel: Channel, out: &mut Outbox) {
        out.push(Action::Unsubscribe { participant: self.participant(), channel });
    }

    fn event(&self, event_type: EventType) -> Event {
        Event::new(event_type, format!("Client:{}", self.channel))
    }

    /// Sets a timer, if none of its kind is set: one that is finds out when it fires whether it is early.
    pub(super) fn arm(&mut self, kind: TimerKind, at_us: u64, out: &mut Outbox) {
        // Interests keep account of their own one, which may have to come earlier.
        if std::mem::replace(&mut self.armed[kind as usize], true) && kind != TimerKind::Interest {
            return;
        }
        out.timer(at_us, RoleTimer::Client(ClientTimer { connection: self.connection, kind }));
    }

    /// The session has come so far.
    pub(super) fn change_state(&mut self, state: State, out: &mut Outbox) {
        *self.state.gauge(out) -= 1;
        *state.gauge(out) += 1;
        self.state = state;
    }

    /// Grants the client another heartbeat timeout. The timer itself is set again only when it has fired.
    pub(super) fn restart_heartbeat(&mut self, shared: &Shared, out: &Outbox) {
        if let Some(timeout_us) = self.agent(shared).heartbeat_timeout_us {
            self.heartbeat_deadline_us = self.reading_clock.now_us(out).saturating_add(timeout_us);
        }
    }

    /// Counts a message of the client against what it may send. Heartbeats are no messages: a real client library sends
    /// one for each datagram that it receives.
    pub(super) fn account(
        &mut self,
        body_bytes: usize,
        is_heartbeat: bool,
        shared: &Shared,
        out: &Outbox,
    ) -> Result<(), End> {
        self.received_us = self.reading_clock.now_us(out);
        let agent = &shared.agents[usize::from(self.agent)];
        let frame_bytes = size_of::<u16>() + body_bytes;
        if !self.bytes.take(frame_bytes, agent.byte_price, out.now_us) {
            return Err(End::eject(Reason::TooManyBytes, "more bytes per second than allowed"));
        }
        if !is_heartbeat && !self.messages.take(1, agent.message_price, out.now_us) {
            return Err(End::eject(Reason::TooManyMessages, "more messages per second than allowed"));
        }
        Ok(())
    }

    /// A good CLIENT_HELLO.
    pub(super) fn greet(&mut self, shared: &Shared, out: &mut Outbox) {
        // Whether there is a limit: the executor that counts knows, which may have taken over others than this one.
        if !std::mem::replace(&mut self.has_greeted, true) {
            let message = ClientAgentMessage::Greeted { agent: self.agent, channel: self.channel };
            out.to_shard(self.agent(shared).pool_home, RoleMessage::ClientAgent(message));
        }
    }

    /// Whether the server reads this client from now on: while it does not, the client cannot be late.
    pub(super) fn on_reading(&mut self, reading: bool, out: &Outbox) {
        self.reading_clock.set_reading(reading, out);
    }

    /// Microseconds until a deadline, as far as the client is read meanwhile.
    fn left_us(&self, deadline_us: u64, out: &Outbox) -> u64 {
        deadline_us.saturating_sub(self.reading_clock.now_us(out))
    }

    /// Whether there is such a deadline: it may have been switched off since the timer was set.
    fn is_timed(&self, kind: TimerKind, shared: &Shared) -> bool {
        let agent = self.agent(shared);
        match kind {
            TimerKind::Heartbeat => agent.heartbeat_timeout_us.is_some(),
            TimerKind::Authentication => agent.authentication_timeout_us.is_some(),
            TimerKind::Hello => agent.hello_timeout_us.is_some(),
            TimerKind::Idle => agent.idle_timeout_us.is_some(),
            TimerKind::Interest => true,
        }
    }

    pub(super) fn on_timer(&mut self, kind: TimerKind, shared: &Shared, out: &mut Outbox) -> Result<(), End> {
        self.armed[kind as usize] = false;
        match kind {
            kind if !self.is_timed(kind, shared) => Ok(()),
            TimerKind::Heartbeat if self.left_us(self.heartbeat_deadline_us, out) > 0 => {
                let left_us = self.left_us(self.heartbeat_deadline_us, out);
                self.arm(TimerKind::Heartbeat, out.now_us.saturating_add(left_us), out);
                Ok(())
            }
            TimerKind::Heartbeat => Err(End::eject(Reason::NoHeartbeat, "no heartbeat in time")),
            TimerKind::Authentication if self.was_established => Ok(()),
            TimerKind::Authentication if self.left_us(self.authentication_deadline_us, out) > 0 => {
                let left_us = self.left_us(self.authentication_deadline_us, out);
                self.arm(TimerKind::Authentication, out.now_us.saturating_add(left_us), out);
                Ok(())
            }
            TimerKind::Authentication => Err(End::eject(Reason::AuthenticationTimeout, "not authenticated in time")),
            TimerKind::Interest => self.on_interest_timer(shared, out),
            TimerKind::Hello if self.has_greeted => Ok(()),
            TimerKind::Hello if self.left_us(self.hello_deadline_us, out) > 0 => {
                let left_us = self.left_us(self.hello_deadline_us, out);
                self.arm(TimerKind::Hello, out.now_us.saturating_add(left_us), out);
                Ok(())
            }
            TimerKind::Hello => Err(End::eject(Reason::HelloTimeout, "no CLIENT_HELLO in time")),
            TimerKind::Idle => {
                let deadline_us =
                    self.received_us.saturating_add(self.agent(shared).idle_timeout_us.unwrap_or_default());
                let left_us = self.left_us(deadline_us, out);
                if left_us == 0 {
                    return Err(End::eject(Reason::Idle, "nothing was received for too long"));
                }
                self.arm(TimerKind::Idle, out.now_us.saturating_add(left_us), out);
                Ok(())
            }
        }
    }

    /// Ends the session: last frame and events, then the teardown in the order of §3.13. The channel is given back
    /// by the caller, behind everything that is pushed here.
    pub(super) fn end(self, end: End, shared: &Shared, out: &mut Outbox) {
        let reason = end.reason();
        tracing::debug!(session = self.channel, reason = reason.name(), peer = %self.origin.peer, "session ended");
        self.say_goodbye(end, self.agent(shared).eject_linger_us, out);

        // First of all, so that the session never hears its own deletions.
        out.push(Action::UnsubscribeAll { participant: self.participant() });
        for doid in self.objects.session_objects() {
            let recipients = [Channel::from(doid)];
            let message_type = t::STATESERVER_OBJECT_DELETE_RAM;
            out.send(self.participant(), &recipients, self.client_id, message_type, &doid.to_le_bytes());
        }
        self.answer_waiting_callers(out);
        out.push(Action::FirePostRemoves { participant: self.participant() });

        out.metrics.sessions_open = out.metrics.sessions_open.saturating_sub(1);
        *self.state.gauge(out) -= 1;
        out.metrics.count_closed(reason);
    }

    /// What the client and the Event Logger are told of the end, and the end of the connection.
    fn say_goodbye(&self, end: End, linger_us: u64, out: &mut Outbox) {
        let reason = end.reason();
        let linger = Close::Linger { us: linger_us };
        let lost = |text: &str, out: &mut Outbox| {
            if !self.origin.is_health_check {
                let event = self.event(EventType::ClientLost).with_addresses(&self.origin);
                out.push(Action::Event(event.with("reason", text)));
            }
        };
        let close = match end {
            End::Eject { code, text, .. } => {
                let name =
                    if reason.is_security() { EventType::ClientEjectedSecurity } else { EventType::ClientEjected };
                out.metrics.count_eject(code);
                let event = self.event(name).with("reason_code", code.to_string());
                out.push(Action::Event(event.with("reason_msg", String::from_utf8_lossy(&text))));
                self.write_message(Encoder::client(t::CLIENT_EJECT).u16(code).blob(&text), out);
                linger
            }
            End::Disconnected => {
                out.push(Action::Event(self.event(EventType::ClientDisconnected)));
                Close::Now
            }
            // Lingering, so that input not yet read does not turn the end of file into a reset (CA-13).
            End::Dropped => linger,
            End::InternalError => {
                lost("internal error", out);
                Close::Now
            }
            End::Broken { reason, close } => {
                lost(if reason == Reason::PeerClosed { "end of file" } else { "protocol error" }, out);
                close
            }
            End::TooSlow => {
                lost("no buffer space available", out);
                Close::Now
            }
            End::Lost(cause) => {
                let text = match &cause {
                    CloseCause::EndOfFile => "end of file",
                    CloseCause::Error(text) => text,
                    CloseCause::WriteBudget => "no buffer space available",
                    CloseCause::WriteTimeout => "connection timed out",
                };
                lost(text, out);
                return;
            }
        };
        out.push(Action::Close { connection: self.connection, close, reason });
    }
}

/// The ip of an address as events and GET_NETWORK_ADDRESS show it.
pub(super) fn ip_text(address: SocketAddr) -> String {
    address.ip().to_canonical().to_string()
}

trait WithAddresses {
    fn with_addresses(self, origin: &Origin) -> Self;
}

impl WithAddresses for Event {
    /// "ip:port", IPv6 without brackets (§3.16).
    fn with_addresses(self, origin: &Origin) -> Self {
        let text = |address: SocketAddr| format!("{}:{}", ip_text(address), address.port());
        self.with("remote_address", text(origin.peer)).with("local_address", text(origin.local))
    }
}

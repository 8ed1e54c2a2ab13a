//! Why a connection or a session ended: the one list of close and eject reasons.
//!
//! Every end of a session has exactly one of these; logs, events and metrics name it with [`Reason::name`].

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident => $name:literal, $eject:expr;)*) => {
        /// Why a connection or a session ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// Every reason, in the order of their indexes.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            /// The name in logs and metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Reason::$variant => $name,)* }
            }

            /// The code of the CLIENT_EJECT that announces it, where there is one (`protocol-md-ca-el.md` §3.14).
            pub const fn eject_code(self) -> Option<u16> {
                match self { $(Reason::$variant => $eject,)* }
            }
        }
    };
}

reasons! {
    /// The peer closed its end.
    PeerClosed => "peer_closed", None;
    /// The operating system reported an error on the socket.
    SocketError => "socket_error", None;
    /// CLIENT_DISCONNECT.
    Disconnected => "disconnected", None;
    /// CLIENTAGENT_DROP.
    Dropped => "dropped", None;
    /// More bytes than the budget waited to be sent.
    WriteBudget => "write_budget", None;
    /// Nothing could be sent for longer than the write timeout.
    WriteTimeout => "write_timeout", None;
    /// The PROXY header is missing or wrong.
    ProxyHeader => "proxy_header", None;
    /// TLS failed: no handshake, a certificate that is missing or refused, a broken record.
    Tls => "tls", None;
    /// The WebSocket handshake or a message was not what it must be.
    WebSocket => "websocket", None;
    /// PROXY header, TLS and WebSocket took too long to come up.
    HandshakeTimeout => "handshake_timeout", None;
    /// Too many connections that have not said CLIENT_HELLO.
    TooManyHandshakes => "too_many_handshakes", None;
    /// A link sent what cannot be routed (§2.7).
    MalformedFrame => "malformed_frame", None;
    /// A handler panicked while it worked for this participant.
    InternalError => "internal_error", None;
    /// The daemon ends.
    Shutdown => "shutdown", None;
    /// The address is not on the allow-list.
    NotAllowed => "not_allowed", None;
    /// CLIENTAGENT_EJECT with a code of the application's.
    EjectedByApplication => "ejected_by_application", None;
    /// No channel of the range is free.
    ChannelsExhausted => "channels_exhausted", Some(1);
    /// The client removed an interest that it does not have.
    UnknownInterest => "unknown_interest", Some(1);
    /// Not ESTABLISHED in time.
    AuthenticationTimeout => "authentication_timeout", Some(1);
    /// Too many connections of one address.
    TooManyConnections => "too_many_connections", Some(1);
    /// No CLIENT_HELLO in time.
    HelloTimeout => "hello_timeout", Some(1);
    /// Nothing came from the client for too long.
    Idle => "idle", Some(1);
    /// More bytes per second than allowed.
    TooManyBytes => "too_many_bytes", Some(1);
    /// More messages per second than allowed.
    TooManyMessages => "too_many_messages", Some(1);
    /// More objects in view than allowed.
    TooManyObjects => "too_many_objects", Some(1);
    /// More interests than allowed.
    TooManyInterests => "too_many_interests", Some(115);
    /// More zones in all interests than allowed.
    TooManyZones => "too_many_zones", Some(115);
    /// Trailing bytes, or an update too large to be sent on.
    InvalidSize => "invalid_size", Some(106);
    /// Something else came before CLIENT_HELLO.
    NoHello => "no_hello", Some(107);
    /// A message type that the state does not accept.
    InvalidMessageType => "invalid_message_type", Some(108);
    /// A body that ends early.
    Truncated => "truncated", Some(109);
    /// An anonymous client touched what only an established one may.
    AnonymousViolation => "anonymous_violation", Some(113);
    /// Interest that is disabled, or in a parent that the client does not see.
    ForbiddenInterest => "forbidden_interest", Some(115);
    /// A doid that the client does not know.
    MissingObject => "missing_object", Some(117);
    /// A field that is not in the class, or that this client may not set.
    ForbiddenField => "forbidden_field", Some(118);
    /// A relocation that is not allowed.
    ForbiddenRelocate => "forbidden_relocate", Some(119);
    BadVersion => "bad_version", Some(124);
    BadDcHash => "bad_dc_hash", Some(125);
    /// A value outside what the contract allows.
    FieldConstraint => "field_constraint", Some(127);
    /// It came while the daemon was being drained (154: shutdown for maintenance).
    Draining => "draining", Some(154);
    /// It was still here at the deadline of a drain.
    Drained => "drained", Some(154);
    /// A session object is gone.
    SessionObjectDeleted => "session_object_deleted", Some(153);
    /// No heartbeat in time.
    NoHeartbeat => "no_heartbeat", Some(345);
}

impl Reason {
    /// Whether the event of an eject is `client-ejected-security` (§3.14, column "Sec").
    pub const fn is_security(self) -> bool {
        matches!(
            self,
            Reason::UnknownInterest
                | Reason::TooManyBytes
                | Reason::TooManyMessages
                | Reason::TooManyInterests
                | Reason::TooManyZones
                | Reason::InvalidSize
                | Reason::InvalidMessageType
                | Reason::AnonymousViolation
                | Reason::ForbiddenInterest
                | Reason::MissingObject
                | Reason::ForbiddenField
                | Reason::ForbiddenRelocate
                | Reason::FieldConstraint
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_indexes_are_dense() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
        for (index, &reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}

//! One event: a MessagePack map of strings (`protocol-md-ca-el.md` §3.16, §4.1).

use bytes::Bytes;

macro_rules! event_types {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal { $($key:literal),* },)*) => {
        /// The events that this server emits (`protocol-md-ca-el.md` §3.16, §4.4), all of them: docs/EVENTS.md has the list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum EventType { $($(#[doc = $doc])+ $variant,)* }

        impl EventType {
            pub const ALL: &'static [EventType] = &[$(EventType::$variant,)*];

            /// The member `type`.
            pub const fn name(self) -> &'static str {
                match self { $(EventType::$variant => $name,)* }
            }

            /// The members behind `type` and `sender`, in their order.
            pub const fn keys(self) -> &'static [&'static str] {
                match self { $(EventType::$variant => &[$($key),*],)* }
            }
        }
    };
}

event_types! {
    /// A client was accepted, and its PROXY header, TLS and WebSocket are up.
    ClientConnected = "client-connected" { "remote_address", "local_address" },
    /// Just before CLIENT_EJECT.
    ClientEjected = "client-ejected" { "reason_code", "reason_msg" },
    /// The same, for what only a manipulated client does.
    ClientEjectedSecurity = "client-ejected-security" { "reason_code", "reason_msg" },
    /// CLIENT_DISCONNECT.
    ClientDisconnected = "client-disconnected" {},
    /// The connection ended without an eject, a drop or a CLIENT_DISCONNECT.
    ClientLost = "client-lost" { "remote_address", "local_address", "reason" },
    /// The Event Logger has opened a file.
    LogOpened = "log-opened" { "msg" },
}

/// An event on its way to the Event Logger: keys and values in order, `type` and `sender` first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    members: Vec<(&'static str, String)>,
}

impl Event {
    /// An event of this server's own.
    pub fn new(event_type: EventType, sender: String) -> Self {
        Self::of_application(event_type.name(), sender)
    }

    /// An event of somebody else, as an AI logs it.
    pub fn of_application(event_type: &str, sender: String) -> Self {
        Self { members: vec![("type", event_type.to_owned()), ("sender", sender)] }
    }

    /// Adds a member; setting a key twice overwrites in place.
    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        match self.members.iter_mut().find(|(existing, _)| *existing == key) {
            Some((_, existing)) => *existing = value.into(),
            None => self.members.push((key, value.into())),
        }
        self
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.members.iter().find(|(existing, _)| *existing == key).map(|(_, value)| value.as_str())
    }

    /// The packet: one MessagePack map.
    pub fn encode(&self) -> Bytes {
        let mut packet = Vec::with_capacity(128);
        let written = (|| {
            rmp::encode::write_map_len(&mut packet, self.members.len() as u32)?;
            for (key, value) in &self.members {
                rmp::encode::write_str(&mut packet, key)?;
                rmp::encode::write_str(&mut packet, value)?;
            }
            Ok::<_, rmp::encode::ValueWriteError>(())
        })();
        written.expect("writing to memory does not fail");
        packet.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of §4.1, byte for byte.
    #[test]
    fn golden_event() {
        let packet = Event::new(EventType::ClientLost, "Client:3100".into()).encode();
        let expected = b"\x82\xa4type\xabclient-lost\xa6sender\xabClient:3100";
        assert_eq!(packet[..], expected[..]);
    }

    /// The table of docs/EVENTS.md: a row for each type, with its keys in the order in which they are sent.
    #[test]
    fn the_list_in_the_documents_is_that_of_the_code() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/EVENTS.md");
        let text = std::fs::read_to_string(folder).expect("the document is there");
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `")).map(|row| {
            let cells: Vec<&str> = row.split(" | ").collect();
            let keys = cells[2].split('`').skip(1).step_by(2).map(str::to_owned).collect();
            (cells[0].trim_end_matches('`').to_owned(), keys)
        });
        let listed: Vec<(String, Vec<String>)> = rows.collect();
        let own = EventType::ALL.iter();
        let emitted: Vec<(String, Vec<String>)> =
            own.map(|own| (own.name().to_owned(), own.keys().iter().map(|&key| key.to_owned()).collect())).collect();
        assert_eq!(listed, emitted);
    }
}

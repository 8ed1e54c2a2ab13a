//! One event: a MessagePack map of strings (`protocol-md-ca-el.md` §3.16, §4.1).

use bytes::Bytes;

/// An event on its way to the Event Logger: keys and values in order, `type` and `sender` first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    members: Vec<(&'static str, String)>,
}

impl Event {
    pub fn new(event_type: &str, sender: String) -> Self {
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
        let packet = Event::new("client-lost", "Client:3100".into()).encode();
        let expected = b"\x82\xa4type\xabclient-lost\xa6sender\xabClient:3100";
        assert_eq!(packet[..], expected[..]);
    }
}

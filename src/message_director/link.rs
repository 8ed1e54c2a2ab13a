//! One connection to the Message Director: control messages and datagrams (`protocol-md-ca-el.md` §2.2 to §2.7).
//!
//! Decides what a frame of a link means. It changes no table itself: it yields [`LinkOutcome`]s, so that one place
//! carries them out.

use crate::wire::{CONTROL, Channel, Datagram, HeaderError, MessageType, Reader, message_type as t};
use bytes::Bytes;

/// How a body to the control channel alone begins: one recipient, which is it.
const CONTROL_HEADER: [u8; 9] = {
    let [a, b, c, d, e, f, g, h] = CONTROL.to_le_bytes();
    [1, a, b, c, d, e, f, g, h]
};

/// What one frame of a link asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum LinkOutcome {
    Publish(Datagram),
    AddChannel(Channel),
    RemoveChannel(Channel),
    /// Inclusive; may be inverted, and is empty then.
    AddRange(Channel, Channel),
    RemoveRange(Channel, Channel),
    AddPostRemove {
        key: Channel,
        body: Bytes,
    },
    ClearPostRemoves {
        key: Channel,
    },
    SetName(String),
    SetUrl(String),
    /// One MessagePack map for the Event Logger.
    Log(Bytes),
    UnknownControl(MessageType),
    /// The datagram is dropped, the link lives (§2.7).
    Drop(HeaderError),
    /// The link ends (§2.7).
    Malformed(&'static str),
}

impl LinkOutcome {
    /// Whether what follows on the link may be handled before this is in effect everywhere: subscriptions of one read
    /// are waited for together.
    pub fn is_subscription(&self) -> bool {
        matches!(self, Self::AddChannel(_) | Self::RemoveChannel(_) | Self::AddRange(..) | Self::RemoveRange(..))
    }
}

/// What a link has said of itself.
#[derive(Debug, Default)]
pub struct Link {
    pub name: String,
    pub url: String,
    pub peer: String,
    /// Executors that have not said yet that what this link made sessions subscribe to is in effect everywhere.
    pub barriers: usize,
}

impl Link {
    /// Reads one frame's body.
    pub fn read(body: &[u8]) -> LinkOutcome {
        // A control message is read where it lies; only what is routed is copied.
        if body.starts_with(&CONTROL_HEADER) {
            return control(body);
        }
        match Datagram::from_body(body) {
            Err(HeaderError::Empty) => LinkOutcome::Malformed("an empty frame"),
            // A single recipient that cannot be read may have been the control channel.
            Err(HeaderError::Recipients { recipients: 1 }) => LinkOutcome::Malformed("a recipient cut short"),
            Err(error) => LinkOutcome::Drop(error),
            Ok(datagram) => LinkOutcome::Publish(datagram),
        }
    }
}

fn control(body: &[u8]) -> LinkOutcome {
    let mut reader = Reader::new(body);
    let parsed = (|| {
        reader.take(1 + 8)?; // The count and the control channel.
        let message_type = MessageType(reader.u16()?);
        Ok::<_, crate::wire::Truncated>(match message_type {
            t::CONTROL_ADD_CHANNEL => LinkOutcome::AddChannel(reader.channel()?),
            t::CONTROL_REMOVE_CHANNEL => LinkOutcome::RemoveChannel(reader.channel()?),
            t::CONTROL_ADD_RANGE => LinkOutcome::AddRange(reader.channel()?, reader.channel()?),
            t::CONTROL_REMOVE_RANGE => LinkOutcome::RemoveRange(reader.channel()?, reader.channel()?),
            t::CONTROL_ADD_POST_REMOVE => {
                LinkOutcome::AddPostRemove { key: reader.channel()?, body: Bytes::copy_from_slice(reader.blob()?) }
            }
            t::CONTROL_CLEAR_POST_REMOVES => LinkOutcome::ClearPostRemoves { key: reader.channel()? },
            t::CONTROL_SET_CON_NAME => LinkOutcome::SetName(text(reader.blob()?)),
            t::CONTROL_SET_CON_URL => LinkOutcome::SetUrl(text(reader.blob()?)),
            t::CONTROL_LOG_MESSAGE => LinkOutcome::Log(Bytes::copy_from_slice(reader.blob()?)),
            unknown => LinkOutcome::UnknownControl(unknown),
        })
    })();
    parsed.unwrap_or(LinkOutcome::Malformed("a control message cut short"))
}

/// For logs only: what is not UTF-8 is replaced.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Encoder;

    fn read(encoder: Encoder) -> LinkOutcome {
        Link::read(&encoder.finish().unwrap()[2..])
    }

    /// The table of §2.7, row by row.
    #[test]
    fn malformed_input_costs_what_the_table_says() {
        assert_eq!(Link::read(&[]), LinkOutcome::Malformed("an empty frame"));
        assert_eq!(Link::read(&[1, 0, 0]), LinkOutcome::Malformed("a recipient cut short"));
        let cut = Encoder::control(t::CONTROL_ADD_CHANNEL).u32(7);
        assert_eq!(read(cut), LinkOutcome::Malformed("a control message cut short"));
        assert_eq!(Link::read(&[1, 1, 0, 0, 0, 0, 0, 0, 0]), LinkOutcome::Malformed("a control message cut short"));
        assert_eq!(Link::read(&[2, 0]), LinkOutcome::Drop(HeaderError::Recipients { recipients: 2 }));
        let with_sender = Encoder::internal(&[CONTROL], 77, t::CONTROL_ADD_CHANNEL).u64(5);
        assert_eq!(read(with_sender), LinkOutcome::UnknownControl(MessageType(77)));
        let recipients_only = Link::read(&[1, 9, 0, 0, 0, 0, 0, 0, 0]);
        assert!(matches!(recipients_only, LinkOutcome::Publish(_)));
    }

    #[test]
    fn a_nested_post_remove_must_be_whole() {
        let whole = Encoder::control(t::CONTROL_ADD_POST_REMOVE).channel(77).blob(&[0; 19]);
        assert_eq!(read(whole), LinkOutcome::AddPostRemove { key: 77, body: Bytes::from_static(&[0; 19]) });
        let cut = Encoder::control(t::CONTROL_ADD_POST_REMOVE).channel(77).u16(20).bytes(&[0; 19]);
        assert_eq!(read(cut), LinkOutcome::Malformed("a control message cut short"));
    }

    #[test]
    fn md_22_several_recipients_are_no_control_message() {
        let several = Encoder::internal(&[CONTROL, 5], 0, t::CONTROL_ADD_CHANNEL);
        assert!(matches!(read(several), LinkOutcome::Publish(_)));
    }
}

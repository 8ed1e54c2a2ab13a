//! Frames and datagrams (`protocol-md-ca-el.md` §1.1, §1.6).
//!
//! A [`Datagram`] keeps its frame, length prefix included, in one shared buffer: relaying it to any number of links or
//! executors copies a reference, and the bytes that leave are the bytes that came.

use super::{Channel, Doid, MessageType, Reader, Truncated, Zone};
use bytes::{Bytes, BytesMut};

/// The longest body that a frame's u16 length can express.
pub const MAX_BODY_BYTES: usize = u16::MAX as usize;
/// The most recipients that a header can name.
pub const MAX_RECIPIENTS: usize = u8::MAX as usize;
const LENGTH_BYTES: usize = 2;
const CHANNEL_BYTES: usize = 8;

/// A message would not fit a frame (§1.9, class "overflow").
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {body_bytes} bytes does not fit a frame of at most {MAX_BODY_BYTES}")]
pub struct FrameTooLong {
    pub body_bytes: usize,
}

/// Why a body cannot be routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("the body is empty")]
    Empty,
    #[error("the recipient list of {recipients} is cut short")]
    Recipients { recipients: u8 },
}

/// Splits the first complete frame off received bytes: `(body, bytes used)`, or `None` while it is incomplete.
pub fn next_frame(received: &[u8]) -> Option<(&[u8], usize)> {
    let (length, rest) = received.split_first_chunk::<LENGTH_BYTES>()?;
    let body = rest.get(..u16::from_le_bytes(*length) as usize)?;
    Some((body, LENGTH_BYTES + body.len()))
}

/// One message on the internal bus, with a header that has been checked as far as its recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    frame: Bytes,
}

impl Datagram {
    /// Checks the recipients of a received body and copies it into a frame of its own.
    ///
    /// # Errors
    /// [`HeaderError`] when the recipient list cannot be read (§2.7). A body that ends after its recipients is a
    /// datagram: it is relayed (§2.5.5), and [`Datagram::message`] reports that it has nothing more.
    pub fn from_body(body: &[u8]) -> Result<Self, HeaderError> {
        let &recipients = body.first().ok_or(HeaderError::Empty)?;
        if body.len() < 1 + recipients as usize * CHANNEL_BYTES {
            return Err(HeaderError::Recipients { recipients });
        }
        let mut frame = BytesMut::with_capacity(LENGTH_BYTES + body.len());
        frame.extend_from_slice(&(body.len() as u16).to_le_bytes());
        frame.extend_from_slice(body);
        Ok(Self { frame: frame.freeze() })
    }

    /// One message in memory of its size. Recipients are written as given; at most [`MAX_RECIPIENTS`] of them.
    ///
    /// # Errors
    /// [`FrameTooLong`] beyond 65,535 bytes of body.
    ///
    /// # Panics
    /// As [`Encoder::internal`].
    pub fn new(
        recipients: &[Channel],
        sender: Channel,
        message_type: MessageType,
        payload: &[u8],
    ) -> Result<Self, FrameTooLong> {
        let header_bytes = 1 + (recipients.len() + 1) * CHANNEL_BYTES + size_of::<u16>();
        let encoder = Encoder::with_capacity(header_bytes + payload.len());
        encoder.header(recipients, sender, message_type).bytes(payload).datagram()
    }

    /// The frame with its length prefix, as it goes over a link.
    pub fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// The body, without the length prefix.
    pub fn body(&self) -> &[u8] {
        &self.frame[LENGTH_BYTES..]
    }

    /// The recipients in the order of the header, duplicates included.
    pub fn recipients(&self) -> impl ExactSizeIterator<Item = Channel> + Clone + '_ {
        recipients(self.body())
    }

    /// Whether `channel` is among the recipients.
    pub fn is_for(&self, channel: Channel) -> bool {
        self.recipients().any(|recipient| recipient == channel)
    }

    /// Sender, message type and payload.
    ///
    /// # Errors
    /// [`Truncated`] when the body ends before the payload begins.
    pub fn message(&self) -> Result<(Channel, MessageType, Reader<'_>), Truncated> {
        message_of(self.body())
    }
}

/// Two or more datagrams with the same recipients, one behind the other in one buffer, as they came over a link: what is
/// the same for all of them is done once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    frames: Bytes,
    datagrams: usize,
}

impl Run {
    /// The whole frames at the beginning of `received` that have the recipients of the first, as far as `joins` accepts
    /// their bodies; `None` when those are fewer than two, or `may_name` does not accept every recipient.
    pub fn at_start_of(
        received: &[u8],
        may_name: impl FnMut(Channel) -> bool,
        mut joins: impl FnMut(&[u8]) -> bool,
    ) -> Option<Self> {
        let (first, mut used) = next_frame(received)?;
        let header = first.get(..1 + *first.first()? as usize * CHANNEL_BYTES)?;
        let (second, _) = next_frame(&received[used..])?;
        // Much of what a link brings is no run: that costs little more than this comparison.
        if !second.starts_with(header) || !joins(first) || !recipients(header).all(may_name) {
            return None;
        }
        let mut datagrams = 1;
        while let Some((body, length)) = next_frame(&received[used..]) {
            if !body.starts_with(header) || !joins(body) {
                break;
            }
            used += length;
            datagrams += 1;
        }
        (datagrams > 1).then(|| Self { frames: Bytes::copy_from_slice(&received[..used]), datagrams })
    }

    /// The frames with their length prefixes, as they go over a link.
    pub fn frames(&self) -> &Bytes {
        &self.frames
    }

    /// How many datagrams these are.
    pub fn datagrams(&self) -> usize {
        self.datagrams
    }

    /// What each of them names as recipients.
    pub fn recipients(&self) -> impl ExactSizeIterator<Item = Channel> + Clone + '_ {
        recipients(&self.frames[LENGTH_BYTES..])
    }

    /// Each by itself, in memory of its own: who keeps one does not keep all.
    pub fn iter(&self) -> impl Iterator<Item = Datagram> + '_ {
        let mut used = 0;
        std::iter::from_fn(move || {
            let (body, length) = next_frame(&self.frames[used..])?;
            used += length;
            Datagram::from_body(body).ok()
        })
    }
}

/// Sender, message type and payload of an internal body.
///
/// # Errors
/// [`Truncated`] when it ends before the payload begins.
pub fn message_of(body: &[u8]) -> Result<(Channel, MessageType, Reader<'_>), Truncated> {
    let mut reader = Reader::new(body);
    let recipients = reader.u8()?;
    reader.take(recipients as usize * CHANNEL_BYTES)?;
    let sender = reader.channel()?;
    let message_type = MessageType(reader.u16()?);
    Ok((sender, message_type, Reader::new(reader.rest())))
}

/// The recipient of an internal body, if it names just one.
pub fn only_recipient(body: &[u8]) -> Option<Channel> {
    let (1, rest) = body.split_first().map(|(&count, rest)| (count, rest))? else { return None };
    rest.first_chunk().map(|channel| u64::from_le_bytes(*channel))
}

/// The message type of an internal body; `None` when it ends before it.
pub fn message_type_of(body: &[u8]) -> Option<MessageType> {
    let at = 1 + *body.first()? as usize * CHANNEL_BYTES + CHANNEL_BYTES;
    Some(MessageType(u16::from_le_bytes(*body.get(at..)?.first_chunk()?)))
}

/// The recipients of a body whose list is whole.
fn recipients(body: &[u8]) -> impl ExactSizeIterator<Item = Channel> + Clone + '_ {
    body[1..1 + body[0] as usize * CHANNEL_BYTES]
        .chunks_exact(CHANNEL_BYTES)
        .map(|channel| u64::from_le_bytes(channel.try_into().expect("chunks of eight bytes")))
}

/// Builds one frame: an internal datagram, a control message or a client message.
///
/// Nothing is checked until the end, so that a builder reads like the layout it writes; [`Encoder::finish`] refuses
/// what does not fit a frame.
#[derive(Debug)]
pub struct Encoder {
    frame: BytesMut,
}

impl Encoder {
    fn with_capacity(body_bytes: usize) -> Self {
        let mut frame = BytesMut::with_capacity(LENGTH_BYTES + body_bytes);
        frame.extend_from_slice(&[0; LENGTH_BYTES]);
        Self { frame }
    }

    /// A client message: msgtype, then what is appended (§1.6).
    pub fn client(message_type: MessageType) -> Self {
        Self::with_capacity(64).u16(message_type.0)
    }

    /// A control message to an MD: recipient 1 and no sender (§1.6).
    pub fn control(message_type: MessageType) -> Self {
        Self::with_capacity(32).u8(1).u64(super::CONTROL).u16(message_type.0)
    }

    /// An internal datagram. Recipients are written as given; at most [`MAX_RECIPIENTS`] of them.
    ///
    /// # Panics
    /// With more recipients than a header can name: callers split them (`protocol-ss-dbss-db.md` §1.1 [R]).
    pub fn internal(recipients: &[Channel], sender: Channel, message_type: MessageType) -> Self {
        Self::with_capacity(1 + recipients.len() * CHANNEL_BYTES + 64).header(recipients, sender, message_type)
    }

    fn header(self, recipients: &[Channel], sender: Channel, message_type: MessageType) -> Self {
        let count = u8::try_from(recipients.len()).expect("callers split more than 255 recipients");
        let encoder = recipients.iter().fold(self.u8(count), |encoder, &recipient| encoder.u64(recipient));
        encoder.u64(sender).u16(message_type.0)
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.frame.extend_from_slice(bytes);
        self
    }

    pub fn u8(self, value: u8) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub fn bool(self, value: bool) -> Self {
        self.u8(value as u8)
    }

    pub fn channel(self, value: Channel) -> Self {
        self.u64(value)
    }

    pub fn doid(self, value: Doid) -> Self {
        self.u32(value)
    }

    pub fn zone(self, value: Zone) -> Self {
        self.u32(value)
    }

    /// A `str` or `blob`. A value beyond 65,535 bytes cannot be expressed, and makes [`Encoder::finish`] fail.
    pub fn blob(self, value: &[u8]) -> Self {
        // The length is wrong only where the frame as a whole is refused for its size.
        self.u16(value.len() as u16).bytes(value)
    }

    /// The finished frame, length prefix included.
    ///
    /// # Errors
    /// [`FrameTooLong`] beyond 65,535 bytes of body.
    pub fn finish(mut self) -> Result<Bytes, FrameTooLong> {
        let body_bytes = self.frame.len() - LENGTH_BYTES;
        let length = u16::try_from(body_bytes).map_err(|_| FrameTooLong { body_bytes })?;
        self.frame[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
        Ok(self.frame.freeze())
    }

    /// The finished internal datagram.
    ///
    /// # Errors
    /// As [`Encoder::finish`].
    ///
    /// # Panics
    /// When the builder was not started with [`Encoder::internal`] or [`Encoder::control`].
    pub fn datagram(self) -> Result<Datagram, FrameTooLong> {
        let frame = self.finish()?;
        let datagram = Datagram { frame };
        let body = datagram.body();
        assert!(body.len() > body[0] as usize * CHANNEL_BYTES, "not an internal datagram");
        Ok(datagram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message_type as t;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    /// The worked frames of §1.6, byte for byte.
    #[test]
    fn golden_frames() {
        let add_channel = Encoder::control(t::CONTROL_ADD_CHANNEL).channel(3100).finish().unwrap();
        assert_eq!(add_channel[..], hex("13 00 01 01 00 00 00 00 00 00 00 28 23 1c 0c 00 00 00 00 00 00"));
        let two = Encoder::internal(&[3100, 3101], 9, t::CLIENTAGENT_DROP).finish().unwrap();
        assert_eq!(
            two[..],
            hex("1b 00 02 1c 0c 00 00 00 00 00 00 1d 0c 00 00 00 00 00 00 09 00 00 00 00 00 00 00 ed 03")
        );
        let query = Encoder::internal(&[1234], 3100, t::STATESERVER_OBJECT_GET_ZONES_OBJECTS)
            .u32(1)
            .doid(1234)
            .u16(1)
            .zone(4321)
            .finish()
            .unwrap();
        assert_eq!(
            query[..],
            hex(
                "21 00 01 d2 04 00 00 00 00 00 00 1c 0c 00 00 00 00 00 00 36 08 01 00 00 00 d2 04 00 00 01 00 e1 10 00 00"
            )
        );
        let hello = Encoder::client(t::CLIENT_HELLO).u32(0x0b77_baf2).blob(b"dev").finish().unwrap();
        assert_eq!(hello[..], hex("0b 00 01 00 f2 ba 77 0b 03 00 64 65 76"));
        let interest = Encoder::client(t::CLIENT_ADD_INTEREST).u32(77).u16(9).doid(1234).zone(4321).finish().unwrap();
        assert_eq!(interest[..], hex("10 00 c8 00 4d 00 00 00 09 00 d2 04 00 00 e1 10 00 00"));
        let eject = Encoder::client(t::CLIENT_EJECT).u16(107).blob(b"no hello").finish().unwrap();
        assert_eq!(eject[..], hex("0e 00 04 00 6b 00 08 00 6e 6f 20 68 65 6c 6c 6f"));
    }

    #[test]
    fn a_received_body_keeps_its_bytes() {
        let built = Encoder::internal(&[5, 5, 7], 9, MessageType(2020)).u32(1).datagram().unwrap();
        let (body, used) = next_frame(built.frame()).unwrap();
        let read = Datagram::from_body(body).unwrap();
        assert_eq!((used, &read), (built.frame().len(), &built));
        assert_eq!(read.recipients().collect::<Vec<_>>(), [5, 5, 7]);
        let (sender, message_type, payload) = read.message().unwrap();
        assert_eq!((sender, message_type, payload.rest()), (9, MessageType(2020), &[1, 0, 0, 0][..]));
    }

    #[test]
    fn a_body_is_read_where_it_lies() {
        let built = Datagram::new(&[5, 7], 9, MessageType(2020), &[1, 2]).unwrap();
        assert_eq!(built, Encoder::internal(&[5, 7], 9, MessageType(2020)).bytes(&[1, 2]).datagram().unwrap());
        let (sender, message_type, payload) = message_of(built.body()).unwrap();
        assert_eq!((sender, message_type, payload.rest()), (9, MessageType(2020), &[1, 2][..]));
        for cut in 0..built.body().len() - 2 {
            assert!(message_of(&built.body()[..cut]).is_err(), "{cut}");
        }
        assert_eq!(only_recipient(built.body()), None, "two are not one");
        let single = Datagram::new(&[5], 9, MessageType(2020), &[]).unwrap();
        assert_eq!(only_recipient(single.body()), Some(5));
        assert_eq!((only_recipient(&[]), only_recipient(&[1, 5, 0]), only_recipient(&[0; 9])), (None, None, None));
        let too_long = Datagram::new(&[5], 9, MessageType(2020), &vec![0; MAX_BODY_BYTES]).unwrap_err();
        assert_eq!(too_long.body_bytes, MAX_BODY_BYTES + 19);
    }

    #[test]
    fn a_run_ends_with_its_recipients_and_where_it_is_told_to() {
        let message = |to: &[Channel], number: u16| {
            Encoder::internal(to, 9, MessageType(number)).u32(number.into()).finish().unwrap()
        };
        let bytes = [message(&[5, 6], 1), message(&[5, 6], 2), message(&[5, 6], 3), message(&[5], 4)].concat();
        let all = |_: &[u8]| true;
        let run = Run::at_start_of(&bytes, |recipient| [5, 6].contains(&recipient), all).unwrap();
        assert_eq!((run.datagrams(), run.recipients().collect::<Vec<_>>()), (3, vec![5, 6]));
        assert_eq!(run.frames()[..], bytes[..run.frames().len()]);
        let types: Vec<u16> = run.iter().map(|datagram| datagram.message().unwrap().1.0).collect();
        assert_eq!(types, [1, 2, 3]);
        let until = |last| move |body: &[u8]| message_type_of(body) != Some(MessageType(last));
        assert_eq!(Run::at_start_of(&bytes, |_| true, until(3)).unwrap().datagrams(), 2);
        assert_eq!(Run::at_start_of(&bytes, |_| true, until(2)), None, "one is no run");
        assert_eq!(Run::at_start_of(&bytes, |_| true, until(1)), None);
        assert_eq!(Run::at_start_of(&bytes, |recipient| recipient == 5, all), None, "6 is not to be named");
        let cut = Run::at_start_of(&bytes[..bytes.len() / 2], |_| true, all);
        assert!(cut.is_none_or(|run| run.datagrams() == 2), "whole frames only");
        for broken in [&[][..], &[0, 0, 0, 0], &[1, 0, 9, 1, 0, 9], &[1, 0]] {
            assert_eq!(Run::at_start_of(broken, |_| true, all), None, "{broken:?}");
        }
        assert_eq!((message_type_of(&[]), message_type_of(&[1, 0, 0])), (None, None));
    }

    #[test]
    fn broken_headers_are_named() {
        assert_eq!(Datagram::from_body(&[]), Err(HeaderError::Empty));
        assert_eq!(Datagram::from_body(&[2, 0, 0]), Err(HeaderError::Recipients { recipients: 2 }));
        let recipients_only = Datagram::from_body(&[1, 9, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert!(recipients_only.message().is_err());
    }

    #[test]
    fn frames_are_split_only_when_complete() {
        assert_eq!(next_frame(&[3]), None);
        assert_eq!(next_frame(&[3, 0, 1, 2]), None);
        assert_eq!(next_frame(&[0, 0, 1]), Some((&[][..], 2)));
        assert_eq!(next_frame(&[1, 0, 7, 9]), Some((&[7][..], 3)));
    }

    #[test]
    fn a_body_beyond_the_length_field_is_refused() {
        let body = vec![0; MAX_BODY_BYTES];
        let error = Encoder::client(t::CLIENT_OBJECT_SET_FIELD).bytes(&body).finish().unwrap_err();
        assert_eq!(error.body_bytes, MAX_BODY_BYTES + 2);
    }
}

//! WebSocket, server side (RFC 6455; `protocol-md-ca-el.md` §7): one binary message is one datagram without its length.
//!
//! The protocol is tungstenite's, over memory. Text messages are refused; pings are answered; a Close is answered and
//! ends the connection.

use super::TransportError;
use bytes::{BufMut, Bytes, BytesMut};
use std::io::{ErrorKind, Read, Write};
use tungstenite::handshake::HandshakeError;
use tungstenite::handshake::MidHandshake;
use tungstenite::handshake::server::{Callback, ErrorResponse, Request, Response, ServerHandshake};
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{Message, WebSocketConfig};

/// The largest datagram: what its length can say.
const MESSAGE_BYTES_MAX: usize = u16::MAX as usize;
/// What one connection keeps for what it receives; larger messages get room while they come.
const READ_BUFFER_BYTES: usize = 1024;
/// A frame with a body: final, binary.
const BINARY: u8 = 0x82;
/// Bodies from here on need a length of two bytes more.
const SHORT_BYTES_MAX: usize = 125;
const LENGTH_OF_TWO_BYTES: u8 = 126;

/// Why a WebSocket connection ends.
#[derive(Debug, thiserror::Error)]
pub enum WebSocketError {
    #[error("a text message")]
    Text,
    #[error(transparent)]
    Protocol(#[from] Box<tungstenite::Error>),
}

/// Both directions in memory.
#[derive(Debug, Default)]
struct Pipe {
    incoming: Vec<u8>,
    taken: usize,
    outgoing: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let left = &self.incoming[self.taken..];
        if left.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let length = left.len().min(into.len());
        into[..length].copy_from_slice(&left[..length]);
        self.taken += length;
        Ok(length)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.outgoing.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Pipe {
    /// An idle connection keeps nothing.
    fn release(&mut self) {
        if self.taken == self.incoming.len() {
            (self.incoming, self.taken) = (Vec::new(), 0);
        }
    }
}

/// Agrees to the first subprotocol that the client offers, whatever its name: browsers give up on a server that agrees
/// to none, and there is only one thing to be said here.
#[derive(Debug)]
struct AnySubprotocol;

impl Callback for AnySubprotocol {
    fn on_request(self, request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
        let offered = request.headers().get("Sec-WebSocket-Protocol").and_then(|value| value.to_str().ok());
        let first = offered.and_then(|offered| offered.split(',').next()).map(str::trim);
        if let Some(value) = first.and_then(|first| first.parse().ok()) {
            response.headers_mut().insert("Sec-WebSocket-Protocol", value);
        }
        Ok(response)
    }
}

#[derive(Debug)]
enum Stage {
    Handshake(MidHandshake<ServerHandshake<Pipe, AnySubprotocol>>),
    Open(tungstenite::WebSocket<Pipe>),
    Over(Pipe),
}

impl Stage {
    fn pipe(&mut self) -> &mut Pipe {
        match self {
            Stage::Handshake(handshake) => handshake.get_mut().get_mut(),
            Stage::Open(open) => open.get_mut(),
            Stage::Over(pipe) => pipe,
        }
    }
}

/// The server's side of one WebSocket connection.
#[derive(Debug)]
pub struct WebSocket {
    stage: Stage,
}

impl Default for WebSocket {
    fn default() -> Self {
        Self::new()
    }
}

impl WebSocket {
    pub fn new() -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        Self { stage: Stage::Handshake(ServerHandshake::start(Pipe::default(), AnySubprotocol, Some(config))) }
    }

    /// Whether the handshake is done and nobody has said goodbye.
    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open(_))
    }

    /// Takes bytes and appends every whole message as a frame with its length.
    ///
    /// # Errors
    /// [`TransportError`]: what is to be told of it is in [`WebSocket::take_outgoing`].
    pub fn receive(&mut self, bytes: &[u8], frames: &mut Vec<u8>) -> Result<(), TransportError> {
        self.stage.pipe().incoming.extend_from_slice(bytes);
        let result = self.run(frames);
        self.stage.pipe().release();
        result
    }

    fn run(&mut self, frames: &mut Vec<u8>) -> Result<(), TransportError> {
        loop {
            match std::mem::replace(&mut self.stage, Stage::Over(Pipe::default())) {
                Stage::Handshake(mut handshake) => {
                    let wire_bytes = handshake.get_mut().get_mut();
                    if wire_bytes.taken == wire_bytes.incoming.len() {
                        self.stage = Stage::Handshake(handshake);
                        return Ok(());
                    }
                    match handshake.handshake() {
                        Ok(open) => self.stage = Stage::Open(open),
                        Err(HandshakeError::Interrupted(handshake)) => {
                            self.stage = Stage::Handshake(handshake);
                            return Ok(());
                        }
                        Err(HandshakeError::Failure(error)) => {
                            self.stage.pipe().outgoing.extend_from_slice(
                                b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                            );
                            return Err(WebSocketError::from(Box::new(error)).into());
                        }
                    }
                }
                Stage::Open(mut open) => {
                    let result = read_messages(&mut open, frames);
                    self.stage = match result {
                        Ok(()) => Stage::Open(open),
                        Err(_) => Stage::Over(open.into_inner()),
                    };
                    return result;
                }
                // What comes behind a goodbye is of no interest.
                over @ Stage::Over(_) => {
                    self.stage = over;
                    return Err(TransportError::Closed);
                }
            }
        }
    }

    /// What is to be sent: the answer of the handshake, pongs, a Close.
    pub fn take_outgoing(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.stage.pipe().outgoing)
    }

    /// Undoes [`WebSocket::take_outgoing`].
    pub fn put_back(&mut self, outgoing: Vec<u8>) {
        self.stage.pipe().outgoing = outgoing;
    }

    /// Sends a Close, unless the handshake is not done or one was sent.
    pub fn close(&mut self) {
        if let Stage::Open(open) = &mut self.stage {
            let _ = open.close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }));
            let _ = open.flush();
        }
    }
}

fn read_messages(open: &mut tungstenite::WebSocket<Pipe>, frames: &mut Vec<u8>) -> Result<(), TransportError> {
    loop {
        let (code, error) = match open.read() {
            Ok(Message::Binary(message)) => {
                // The limits of the configuration make it fit.
                let Ok(length) = u16::try_from(message.len()) else { continue };
                frames.put_u16_le(length);
                frames.extend_from_slice(&message);
                continue;
            }
            // Answered by the library, with what is written next: now.
            Ok(Message::Ping(_)) => {
                let _ = open.flush();
                continue;
            }
            Ok(Message::Pong(_) | Message::Frame(_)) => continue,
            Ok(Message::Close(_)) => {
                let _ = open.flush();
                return Err(TransportError::Closed);
            }
            Ok(Message::Text(_)) => (CloseCode::Unsupported, WebSocketError::Text),
            Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => {
                return Err(TransportError::Closed);
            }
            Err(error) => {
                let code = match &error {
                    tungstenite::Error::Capacity(_) => CloseCode::Size,
                    tungstenite::Error::Utf8(_) => CloseCode::Unsupported,
                    _ => CloseCode::Protocol,
                };
                (code, Box::new(error).into())
            }
        };
        let _ = open.close(Some(CloseFrame { code, reason: "".into() }));
        let _ = open.flush();
        return Err(error.into());
    }
}

/// A frame's datagram, without its length.
pub(super) fn body(frame: &[u8]) -> &[u8] {
    frame.get(size_of::<u16>()..).unwrap_or_default()
}

/// The header of a binary message of a server: not masked.
pub(super) fn header(body_bytes: usize) -> smallvec::SmallVec<[u8; 4]> {
    let mut header = smallvec::SmallVec::new();
    header.push(BINARY);
    if body_bytes <= SHORT_BYTES_MAX {
        header.push(body_bytes as u8);
    } else {
        header.push(LENGTH_OF_TWO_BYTES);
        // A frame's body is never longer than its length can say.
        header.extend_from_slice(&(body_bytes as u16).to_be_bytes());
    }
    header
}

/// The last frame that was turned into a WebSocket message: a broadcast is turned once for all its receivers, who are
/// served one after the other, and shared by reference among them.
#[derive(Debug, Default)]
pub struct Framed {
    /// Kept, so that its address is nobody else's.
    frame: Bytes,
    message: Bytes,
}

impl Framed {
    pub(super) fn of(&mut self, frame: &Bytes) -> Bytes {
        let is_same = self.frame.as_ptr() == frame.as_ptr() && self.frame.len() == frame.len() && !frame.is_empty();
        if !is_same {
            let body = body(frame);
            let header = header(body.len());
            let mut message = BytesMut::with_capacity(header.len() + body.len());
            message.put_slice(&header);
            message.put_slice(body);
            (self.frame, self.message) = (frame.clone(), message.freeze());
        }
        self.message.clone()
    }
}

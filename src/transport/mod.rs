//! What lies between a socket and a role's bytes: PROXY header, TLS, WebSocket, in that order from outside in.
//!
//! Decides nothing about messages, and touches no socket and no clock: bytes of the socket go in and the role's bytes
//! come out, and the other way round. Knows no role: the Client Agent and the Message Director's links use the same. A
//! connection without any layer has no [`Transport`] at all, so that plain TCP pays nothing.
//!
//! * [`proxy`]: the header of a proxy in front, which says who the client really is.
//! * [`tls`]: certificates, and the two sides of TLS.
//! * [`websocket`]: one binary message is one datagram without its length.

pub mod proxy;
pub mod tls;
pub mod websocket;

use bytes::Bytes;
use proxy::{HeaderError, Proxied};
use rustls::pki_types::ServerName;
use std::io::{Read, Write};
use std::sync::Arc;
use websocket::{WebSocket, WebSocketError};

/// Plaintext that one read of a TLS connection takes at once.
const PLAINTEXT_CHUNK_BYTES: usize = 16 * 1024;

/// What a listener, or a dialled connection, puts around a role's bytes.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// A PROXY header comes first.
    pub proxy: bool,
    pub tls: Option<TlsSide>,
    pub websocket: bool,
}

impl Layers {
    /// Whether there is nothing to do: no [`Transport`] is needed.
    pub fn is_plain(&self) -> bool {
        !self.proxy && self.tls.is_none() && !self.websocket
    }
}

/// Which end of TLS this daemon is.
#[derive(Clone, Debug)]
pub enum TlsSide {
    Server(Arc<rustls::ServerConfig>),
    /// With the name that the server's certificate must have.
    Client(Arc<rustls::ClientConfig>, ServerName<'static>),
}

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The peer has ended it in order: a Close frame, or TLS's close_notify.
    #[error("closed by the peer")]
    Closed,
    #[error("PROXY header: {0}")]
    Proxy(#[from] HeaderError),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("WebSocket: {0}")]
    WebSocket(#[from] WebSocketError),
}

/// The layers of one connection.
#[derive(Debug)]
pub struct Transport {
    expects_proxy: bool,
    proxied: Option<Box<Proxied>>,
    tls: Option<Box<rustls::Connection>>,
    websocket: Option<Box<WebSocket>>,
    /// Plaintext that TLS has not been given yet: each time that it is given some makes a record at least.
    unsealed: Vec<u8>,
}

impl Transport {
    /// # Errors
    /// When the TLS library refuses its own configuration.
    pub fn new(layers: &Layers) -> Result<Self, rustls::Error> {
        let tls = match &layers.tls {
            None => None,
            Some(TlsSide::Server(config)) => {
                Some(rustls::Connection::Server(rustls::ServerConnection::new(config.clone())?))
            }
            Some(TlsSide::Client(config, name)) => {
                Some(rustls::Connection::Client(rustls::ClientConnection::new(config.clone(), name.clone())?))
            }
        };
        let tls = tls.map(|mut tls| {
            // What waits is bounded by whoever writes: a partial write would cut a frame.
            tls.set_buffer_limit(None);
            Box::new(tls)
        });
        Ok(Self {
            expects_proxy: layers.proxy,
            proxied: None,
            tls,
            websocket: layers.websocket.then(|| Box::new(WebSocket::new())),
            unsealed: Vec::new(),
        })
    }

    /// Whether every layer has come up: before, the role says and hears nothing.
    pub fn is_ready(&self) -> bool {
        !self.expects_proxy
            && self.tls.as_ref().is_none_or(|tls| !tls.is_handshaking())
            && self.websocket.as_ref().is_none_or(|websocket| websocket.is_open())
    }

    /// What the PROXY header said, once it is there.
    pub fn proxied(&self) -> Option<&Proxied> {
        self.proxied.as_deref()
    }

    /// Takes bytes of the socket and appends the role's bytes to `plaintext`. Returns how many were used: what is left
    /// is to be given again with more. [`Transport::flush`] belongs behind it.
    ///
    /// What an error comes behind is in `plaintext` and still counts.
    ///
    /// # Errors
    /// [`TransportError`]; the connection is over then, after a last flush.
    pub fn receive(&mut self, bytes: &[u8], plaintext: &mut Vec<u8>) -> (usize, Result<(), TransportError>) {
        let mut used = 0;
        if self.expects_proxy {
            match proxy::parse(bytes) {
                Ok(None) => return (0, Ok(())),
                Ok(Some((proxied, header_bytes))) => {
                    self.proxied = Some(Box::new(proxied));
                    self.expects_proxy = false;
                    used = header_bytes;
                }
                Err(error) => return (bytes.len(), Err(error.into())),
            }
        }
        let rest = &bytes[used..];
        let result = match (&mut self.tls, &mut self.websocket) {
            (None, None) => {
                plaintext.extend_from_slice(rest);
                Ok(())
            }
            (None, Some(websocket)) => websocket.receive(rest, plaintext),
            (Some(tls), None) => decrypt(tls, rest, |bytes| {
                plaintext.extend_from_slice(bytes);
                Ok(())
            }),
            (Some(tls), Some(websocket)) => decrypt(tls, rest, |bytes| websocket.receive(bytes, plaintext)),
        };
        (bytes.len(), result)
    }

    /// Takes one frame of the role, its two bytes of length included. What goes straight to the socket is given to
    /// `send`; the rest waits for [`Transport::flush`], so that what is written together is encrypted together.
    ///
    /// `framed` serves many connections that are sent the same frame.
    pub fn send(&mut self, frame: &Bytes, framed: &mut websocket::Framed, send: impl FnOnce(Bytes)) {
        match (&mut self.tls, &self.websocket) {
            (None, None) => send(frame.clone()),
            (None, Some(_)) => send(framed.of(frame)),
            (Some(_), None) => self.unsealed.extend_from_slice(frame),
            (Some(_), Some(_)) => {
                let body = websocket::body(frame);
                self.unsealed.extend_from_slice(&websocket::header(body.len()));
                self.unsealed.extend_from_slice(body);
            }
        }
    }

    /// Bytes that were sent and wait to be encrypted: for [`Transport::flush`], or for the end of the handshake.
    pub fn unsealed_bytes(&self) -> usize {
        self.unsealed.len()
    }

    /// What the layers have to say: handshakes, pongs, and what was sent and not encrypted yet.
    pub fn flush(&mut self, send: impl FnOnce(Bytes)) {
        let said = self.websocket.as_mut().map(|websocket| websocket.take_outgoing()).unwrap_or_default();
        let Some(tls) = &mut self.tls else {
            if !said.is_empty() {
                send(said.into());
            }
            return;
        };
        self.unsealed.extend_from_slice(&said);
        if !self.unsealed.is_empty() && !tls.is_handshaking() {
            // An idle connection keeps no memory for it.
            write_all(tls, &std::mem::take(&mut self.unsealed));
        }
        let mut sealed = Vec::new();
        while tls.wants_write() {
            // Into memory: it cannot fail.
            if tls.write_tls(&mut sealed).is_err() {
                break;
            }
        }
        if !sealed.is_empty() {
            send(sealed.into());
        }
    }

    /// Says goodbye in every layer's own way; [`Transport::flush`] sends it, and nothing may follow.
    pub fn close(&mut self) {
        if let Some(websocket) = &mut self.websocket {
            websocket.close();
            let said = websocket.take_outgoing();
            match &self.tls {
                Some(_) => self.unsealed.extend_from_slice(&said),
                None => websocket.put_back(said),
            }
        }
        if let Some(tls) = &mut self.tls {
            write_all(tls, &std::mem::take(&mut self.unsealed));
            tls.send_close_notify();
        }
    }

    /// Whether what is sent needs room for more than itself.
    pub fn overhead_bytes(&self, bytes: usize) -> usize {
        // A header of at most 4 bytes takes the place of a length of 2, and a datagram has 2 at least; a TLS record of
        // at most 16 KiB has some 22 bytes of its own.
        let websocket = if self.websocket.is_some() { bytes / 2 } else { 0 };
        let tls = if self.tls.is_some() { bytes / 256 + 1024 } else { 0 };
        websocket + tls
    }
}

fn write_all(tls: &mut rustls::Connection, bytes: &[u8]) {
    // The buffer has no limit, so that everything is taken.
    let _ = tls.writer().write_all(bytes);
}

fn decrypt(
    tls: &mut rustls::Connection,
    mut bytes: &[u8],
    mut each: impl FnMut(&[u8]) -> Result<(), TransportError>,
) -> Result<(), TransportError> {
    let mut chunk = [0; PLAINTEXT_CHUNK_BYTES];
    while !bytes.is_empty() {
        // Fails only where what was decrypted is not read, or after the end: both are answered below.
        let taken = tls.read_tls(&mut bytes).unwrap_or(0);
        let state = tls.process_new_packets()?;
        loop {
            match tls.reader().read(&mut chunk) {
                Ok(0) => return Err(TransportError::Closed),
                Ok(length) => each(&chunk[..length])?,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => return Err(TransportError::Closed),
            }
        }
        if state.peer_has_closed() {
            return Err(TransportError::Closed);
        }
        if taken == 0 {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

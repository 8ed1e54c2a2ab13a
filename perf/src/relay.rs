//! A server that only moves the bytes: what the operating system alone costs, for figures to be held against.
//!
//! The first `receivers` connections get whatever any later one sends, and a later one gets whatever the receivers
//! send. It reads what there is and writes it on at once, to each in turn; it knows no frame, no message, no channel.

use crate::failure::Failure;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

const READ_BYTES: usize = 256 * 1024;
const EVENTS_PER_TURN: usize = 256;
const LISTENER: u64 = u64::MAX;

#[derive(Debug)]
struct Peer {
    stream: TcpStream,
    /// What its socket did not take yet; while it is not empty, nobody who feeds it is read.
    unsent: Vec<u8>,
}

/// See the module.
#[derive(Debug)]
pub struct Relay {
    listener: TcpListener,
    epoll: OwnedFd,
    receivers: usize,
    peers: Vec<Option<Peer>>,
    scratch: Vec<u8>,
    /// Peers with something unsent.
    stalled: usize,
}

impl Relay {
    /// Listens.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind(address: SocketAddr, receivers: usize) -> Result<Self, Failure> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(io::Error::from)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN).map_err(io::Error::from)?;
        Ok(Self { listener, epoll, receivers, peers: Vec::new(), scratch: vec![0; READ_BYTES], stalled: 0 })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn address(&self) -> Result<SocketAddr, Failure> {
        Ok(self.listener.local_addr()?)
    }

    /// Serves until every connection has ended, once there was one.
    ///
    /// # Errors
    /// When the wait for events fails.
    pub fn run(&mut self) -> Result<(), Failure> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS_PER_TURN);
        while self.peers.is_empty() || self.peers.iter().any(Option::is_some) {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    index => self.serve(index as usize, event.flags),
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<(), Failure> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    let index = self.peers.len() as u64;
                    epoll::add(&self.epoll, &stream, EventData::new_u64(index), EventFlags::IN)
                        .map_err(io::Error::from)?;
                    self.peers.push(Some(Peer { stream, unsent: Vec::new() }));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn serve(&mut self, index: usize, flags: EventFlags) {
        if flags.contains(EventFlags::OUT) {
            self.write(index, &[]);
        }
        // While somebody lags nobody is read: what cannot be passed on must not pile up here.
        if self.stalled == 0 {
            self.read(index);
        } else if flags.intersects(EventFlags::HUP | EventFlags::ERR) {
            self.end(index);
        }
    }

    fn read(&mut self, index: usize) {
        let Some(Some(peer)) = self.peers.get_mut(index) else { return };
        match peer.stream.read(&mut self.scratch) {
            Ok(0) => self.end(index),
            Ok(count) => {
                let scratch = std::mem::take(&mut self.scratch);
                let to = if index < self.receivers { self.receivers..self.peers.len() } else { 0..self.receivers };
                for other in to {
                    self.write(other, &scratch[..count]);
                }
                self.scratch = scratch;
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.end(index),
        }
    }

    /// Writes what waits for a peer, then `bytes`; keeps what its socket does not take.
    fn write(&mut self, index: usize, bytes: &[u8]) {
        let Some(Some(peer)) = self.peers.get_mut(index) else { return };
        let was_stalled = !peer.unsent.is_empty();
        let sent = if was_stalled {
            peer.unsent.extend_from_slice(bytes);
            let unsent = std::mem::take(&mut peer.unsent);
            write_some(&mut peer.stream, &unsent).map(|count| peer.unsent = unsent[count..].to_vec())
        } else {
            write_some(&mut peer.stream, bytes).map(|count| peer.unsent.extend_from_slice(&bytes[count..]))
        };
        if sent.is_err() {
            return self.end(index);
        }
        let is_stalled = !peer.unsent.is_empty();
        if is_stalled != was_stalled {
            let mut interest = EventFlags::IN;
            interest.set(EventFlags::OUT, is_stalled);
            if epoll::modify(&self.epoll, &peer.stream, EventData::new_u64(index as u64), interest).is_err() {
                return self.end(index);
            }
            if is_stalled {
                self.stalled += 1
            } else {
                self.stalled -= 1
            }
            self.read_others(!is_stalled);
        }
    }

    /// Readiness is reported as long as it lasts: who is not to be read must not be asked for.
    fn read_others(&self, on: bool) {
        if self.stalled > usize::from(!on) {
            return;
        }
        for (index, peer) in self.peers.iter().enumerate() {
            let Some(peer) = peer else { continue };
            let mut interest = EventFlags::empty();
            interest.set(EventFlags::IN, on);
            interest.set(EventFlags::OUT, !peer.unsent.is_empty());
            // Fails only for a connection that has ended, which its next read or write finds out.
            let _ = epoll::modify(&self.epoll, &peer.stream, EventData::new_u64(index as u64), interest);
        }
    }

    fn end(&mut self, index: usize) {
        if let Some(peer) = self.peers[index].take()
            && !peer.unsent.is_empty()
        {
            self.stalled -= 1;
            self.read_others(true);
        }
    }
}

fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::time::Duration;

    fn connect(address: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    #[test]
    fn what_one_side_sends_reaches_everybody_on_the_other_even_if_one_lags() {
        let mut relay = Relay::bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let address = relay.address().unwrap();
        let server = thread::spawn(move || relay.run());
        let mut receivers = [connect(address), connect(address)];
        let mut sender = connect(address);
        // More than the sockets' buffers hold: the second receiver lags until the first has everything it can have.
        let sent: Vec<u8> = (0..32 << 20_u32).map(|number| (number % 251) as u8).collect();
        let expected = sent.clone();
        let writer = thread::spawn(move || {
            sender.write_all(&sent).unwrap();
            let mut answer = [0; 10];
            sender.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"both sides");
        });
        let readers: Vec<_> = receivers.iter().map(|stream| stream.try_clone().unwrap()).collect();
        let readers: Vec<_> = readers
            .into_iter()
            .map(|mut stream| {
                let expected = expected.clone();
                thread::spawn(move || {
                    let mut seen = vec![0; expected.len()];
                    stream.read_exact(&mut seen).unwrap();
                    assert!(seen == expected);
                })
            })
            .collect();
        for reader in readers {
            reader.join().unwrap();
        }
        receivers[1].write_all(b"both sides").unwrap();
        writer.join().unwrap();
        drop(receivers);
        server.join().unwrap().unwrap();
    }
}

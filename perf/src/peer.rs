//! Connections that a scenario speaks on and listens to in the order of its own story.
//!
//! A [`Hub`] keeps the messages of all its connections while the scenario waits for one of them; a [`Peer`] is one
//! connection. Waiting always has a deadline, and a failure says what was awaited and what came instead. Whether a
//! message is right is the scenario's business. Loads, which must not keep messages, use [`crate::net`] directly.

use crate::failure::{Failure, ensure, listing};
use crate::message::Message;
use crate::net::{End, Input, Key, Network};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Which of the two headers a connection's frames have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// A link to a Message Director.
    Internal,
    /// A connection to a Client Agent.
    Client,
}

#[derive(Debug)]
struct Inbox {
    key: Key,
    dialect: Dialect,
    connected: bool,
    messages: VecDeque<Message>,
    /// A body that has no whole header; no server may send one.
    unreadable: Option<Vec<u8>>,
    end: Option<End>,
}

#[derive(Debug)]
struct State {
    network: Network,
    inboxes: Vec<Inbox>,
    /// Which inbox a slot of the network belongs to.
    by_slot: Vec<usize>,
}

/// All connections of one scenario.
#[derive(Clone, Debug)]
pub struct Hub {
    state: Rc<RefCell<State>>,
    patience: Duration,
}

impl Hub {
    /// A hub whose waits fail after `patience`.
    ///
    /// # Errors
    /// When the operating system gives no epoll instance.
    pub fn new(patience: Duration) -> Result<Self, Failure> {
        let state = State { network: Network::new()?, inboxes: Vec::new(), by_slot: Vec::new() };
        Ok(Self { state: Rc::new(RefCell::new(state)), patience })
    }

    /// Connects, and waits until the connection stands.
    ///
    /// # Errors
    /// When it does not.
    pub fn connect(&self, name: &str, address: SocketAddr, dialect: Dialect) -> Result<Peer, Failure> {
        let inbox = {
            let mut state = self.state.borrow_mut();
            let key = state.network.connect(address)?;
            let inbox = state.inboxes.len();
            state.inboxes.push(Inbox {
                key,
                dialect,
                connected: false,
                messages: VecDeque::new(),
                unreadable: None,
                end: None,
            });
            if state.by_slot.len() <= key.slot() {
                state.by_slot.resize(key.slot() + 1, 0);
            }
            state.by_slot[key.slot()] = inbox;
            inbox
        };
        let peer = Peer { hub: self.clone(), inbox, name: name.into() };
        let connected = peer.wait(|inbox| (inbox.connected || inbox.end.is_some()).then_some(inbox.connected))?;
        ensure(connected == Some(true), || format!("{name} cannot connect to {address}: {}", peer.condition()))?;
        Ok(peer)
    }

    fn turn(&self, timeout: Duration) -> Result<(), Failure> {
        let state = &mut *self.state.borrow_mut();
        let State { network, inboxes, by_slot } = state;
        network.turn(Some(timeout), &mut |_, key, input| {
            let inbox = &mut inboxes[by_slot[key.slot()]];
            match input {
                Input::Connected => inbox.connected = true,
                Input::Frame(body) => {
                    let message = match inbox.dialect {
                        Dialect::Internal => Message::read_internal(body),
                        Dialect::Client => Message::read_client(body),
                    };
                    match message {
                        Some(message) => inbox.messages.push_back(message),
                        None => inbox.unreadable = Some(body.to_vec()),
                    }
                }
                Input::Ended(end) => inbox.end = Some(end),
            }
        })?;
        Ok(())
    }
}

/// One connection of a [`Hub`].
#[derive(Clone, Debug)]
pub struct Peer {
    hub: Hub,
    inbox: usize,
    name: Rc<str>,
}

impl Peer {
    /// The name in failures.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// This end's address, as the server sees it; `None` when the connection has ended.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.with(|network, key| network.local_address(key))
    }

    fn with<R>(&self, act: impl FnOnce(&mut Network, Key) -> R) -> R {
        let mut state = self.hub.state.borrow_mut();
        let key = state.inboxes[self.inbox].key;
        act(&mut state.network, key)
    }

    /// Sends bytes as they are. They leave when the scenario next waits for anything.
    pub fn send(&self, bytes: &[u8]) {
        self.with(|network, key| network.send(key, bytes));
    }

    /// Sends what waits, then shuts down writing.
    pub fn finish(&self) {
        self.with(Network::finish);
    }

    /// Ends the connection in an orderly way.
    pub fn close(&self) {
        self.with(Network::close);
    }

    /// Ends the connection with a reset.
    pub fn reset(&self) {
        self.with(Network::reset);
    }

    /// Sends what waits on any connection of the hub, and takes in what has arrived, without waiting.
    ///
    /// # Errors
    /// When the operating system refuses to say what has arrived.
    pub fn flush(&self) -> Result<(), Failure> {
        self.hub.turn(Duration::ZERO)
    }

    /// Waits until `condition` gives something; `None` when the deadline passes.
    fn wait<R>(&self, mut condition: impl FnMut(&mut Inbox) -> Option<R>) -> Result<Option<R>, Failure> {
        let deadline = Instant::now() + self.hub.patience;
        loop {
            if let Some(result) = condition(&mut self.hub.state.borrow_mut().inboxes[self.inbox]) {
                return Ok(Some(result));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.hub.turn(left)?;
        }
    }

    /// How the connection stands, for a failure.
    fn condition(&self) -> String {
        let state = self.hub.state.borrow();
        let inbox = &state.inboxes[self.inbox];
        match (&inbox.unreadable, &inbox.end) {
            (Some(body), _) => format!("a body without a whole header arrived: {body:02x?}"),
            (None, Some(end)) => format!("the connection has ended: {end:?}"),
            (None, None) => format!("the connection is open, nothing more came within {:?}", self.hub.patience),
        }
    }

    fn awaited_in_vain(&self, what: &str, instead: &[Message]) -> Failure {
        Failure::new(format!(
            "{} awaited {what}; {}; arrived instead:{}",
            self.name,
            self.condition(),
            listing(instead)
        ))
    }

    /// The next message.
    ///
    /// # Errors
    /// When none comes in time or the connection ends.
    pub fn next(&self, what: &str) -> Result<Message, Failure> {
        let message = self.wait(|inbox| {
            let message = inbox.messages.pop_front().map(Some);
            message.or((inbox.end.is_some() || inbox.unreadable.is_some()).then_some(None))
        })?;
        message.flatten().ok_or_else(|| self.awaited_in_vain(what, &[]))
    }

    /// A message that has come already, if any.
    ///
    /// # Errors
    /// When the operating system refuses to say what has arrived.
    pub fn try_next(&self) -> Result<Option<Message>, Failure> {
        self.flush()?;
        Ok(self.hub.state.borrow_mut().inboxes[self.inbox].messages.pop_front())
    }

    /// The very next message, which must be the awaited one.
    ///
    /// # Errors
    /// When another one comes, or none.
    pub fn expect(&self, what: &str, is_it: impl FnOnce(&Message) -> bool) -> Result<Message, Failure> {
        let message = self.next(what)?;
        ensure(is_it(&message), || format!("{} awaited {what}; arrived instead:\n    {message}", self.name))?;
        Ok(message)
    }

    /// The very next message, which must be exactly this one.
    ///
    /// # Errors
    /// As [`Peer::expect`].
    pub fn expect_message(&self, what: &str, expected: &Message) -> Result<(), Failure> {
        let message = self.next(what)?;
        ensure(message == *expected, || {
            format!("{} awaited {what}:\n    {expected}\n  arrived instead:\n    {message}", self.name)
        })
    }

    /// Takes messages until `is_last` accepts one: those before it, and it.
    ///
    /// # Errors
    /// When it does not come; the failure lists what came.
    pub fn until(
        &self,
        what: &str,
        mut is_last: impl FnMut(&Message) -> bool,
    ) -> Result<(Vec<Message>, Message), Failure> {
        let mut before = Vec::new();
        loop {
            match self.next(what) {
                Ok(message) if is_last(&message) => return Ok((before, message)),
                Ok(message) => before.push(message),
                Err(_) => return Err(self.awaited_in_vain(what, &before)),
            }
        }
    }

    /// Takes messages until as many as awaited were accepted: `(accepted, others)`, each in order of arrival.
    ///
    /// # Errors
    /// When they do not come; the failure lists what came.
    pub fn gather(
        &self,
        what: &str,
        count: usize,
        mut is_one: impl FnMut(&Message) -> bool,
    ) -> Result<(Vec<Message>, Vec<Message>), Failure> {
        let (mut accepted, mut others) = (Vec::new(), Vec::new());
        while accepted.len() < count {
            match self.next(what) {
                Ok(message) if is_one(&message) => accepted.push(message),
                Ok(message) => others.push(message),
                Err(_) => {
                    let what = format!("{what} ({} of {count} came)", accepted.len());
                    return Err(self.awaited_in_vain(&what, &others));
                }
            }
        }
        Ok((accepted, others))
    }

    /// The server's end of the connection, with no message before it.
    ///
    /// # Errors
    /// When a message comes instead, or nothing.
    pub fn expect_end(&self, what: &str) -> Result<End, Failure> {
        let end = self.wait(|inbox| match inbox.messages.pop_front() {
            Some(message) => Some(Err(message)),
            None => inbox.end.map(Ok),
        })?;
        match end {
            Some(Ok(end)) => Ok(end),
            Some(Err(message)) => Err(self.awaited_in_vain(what, &[message])),
            None => Err(self.awaited_in_vain(what, &[])),
        }
    }

    /// Everything up to the server's end of the connection, and how it ended.
    ///
    /// # Errors
    /// When it does not end.
    pub fn until_end(&self, what: &str) -> Result<(Vec<Message>, End), Failure> {
        match self.wait(|inbox| inbox.end)? {
            Some(end) => {
                let mut state = self.hub.state.borrow_mut();
                Ok((state.inboxes[self.inbox].messages.drain(..).collect(), end))
            }
            None => {
                let came: Vec<Message> = self.hub.state.borrow_mut().inboxes[self.inbox].messages.drain(..).collect();
                Err(self.awaited_in_vain(what, &came))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::client_frame;
    use donet::wire::message_type as t;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    fn pair(patience: Duration) -> (Peer, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hub = Hub::new(patience).unwrap();
        let peer = hub.connect("the client", listener.local_addr().unwrap(), Dialect::Client).unwrap();
        (peer, listener.accept().unwrap().0)
    }

    #[test]
    fn a_failure_says_what_was_awaited_and_what_came() {
        let (peer, mut socket) = pair(Duration::from_secs(20));
        socket.write_all(&client_frame(t::CLIENT_EJECT, &[118, 0, 1, 0, b'x'])).unwrap();
        drop(socket);
        let failure = peer.until("the answer to hello", |message| message.is(t::CLIENT_HELLO_RESP)).unwrap_err();
        let text = failure.to_string();
        for part in ["the client awaited the answer to hello", "EndOfFile", "CLIENT_EJECT (4)", "76 00"] {
            assert!(text.contains(part), "{part:?} is missing in {text}");
        }
    }

    #[test]
    fn silence_ends_a_wait_at_its_deadline() {
        let (peer, _socket) = pair(Duration::from_millis(20));
        let text = peer.next("anything").unwrap_err().to_string();
        assert!(text.contains("awaited anything") && text.contains("nothing more came"), "{text}");
        assert!(peer.expect_end("the end").is_err());
    }

    #[test]
    fn the_next_message_must_be_the_awaited_one() {
        let (peer, mut socket) = pair(Duration::from_secs(20));
        let mut bytes = Vec::new();
        for number in 1..=5_u8 {
            bytes.extend_from_slice(&client_frame(t::CLIENT_OBJECT_LEAVING, &[number, 0, 0, 0]));
        }
        socket.write_all(&bytes).unwrap();
        let is = |number: u32| move |message: &Message| message.doid() == Some(number);
        assert!(peer.expect("the second", is(2)).is_err());
        assert!(peer.expect("the second", is(2)).is_ok());
        let (before, last) = peer.until("the fourth", is(4)).unwrap();
        assert_eq!((before.len(), last.doid()), (1, Some(4)));
        drop(socket);
        let (rest, end) = peer.until_end("the end").unwrap();
        assert_eq!((rest.len(), end), (1, End::EndOfFile));
    }

    #[test]
    fn an_end_after_a_message_is_not_the_end_alone() {
        let (peer, mut socket) = pair(Duration::from_secs(20));
        socket.write_all(&client_frame(t::CLIENT_HELLO_RESP, &[])).unwrap();
        drop(socket);
        assert!(peer.expect_end("the end").unwrap_err().to_string().contains("CLIENT_HELLO_RESP"));
        assert_eq!(peer.expect_end("the end"), Ok(End::EndOfFile));
    }
}

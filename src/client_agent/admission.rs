//! Who may connect: connections of one address, and connections that have not said CLIENT_HELLO yet.
//!
//! Lives on the executor that accepts for the agent and owns its channels, because there every connection begins and
//! every channel comes back: one table without anything shared. Other executors report to it by messages.

use crate::config::Limits;
use crate::reason::Reason;
use crate::wire::Channel;
use hashbrown::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};

/// Bits of an IPv6 address that name a network: who has one of its addresses has all of them.
const NETWORK_BITS: u32 = 64;

/// An address that is counted: an IPv4 address, or an IPv6 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Counted(IpAddr);

impl Counted {
    fn new(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() >> NETWORK_BITS << NETWORK_BITS;
                Self(Ipv6Addr::from_bits(network).into())
            }
            address => Self(address),
        }
    }
}

/// The connections of one agent.
#[derive(Debug)]
pub(super) struct Admission {
    handshakes_max: usize,
    per_address_max: u32,
    /// Who has not said CLIENT_HELLO yet. Empty without a limit.
    silent: HashSet<Channel>,
    /// Empty without a limit.
    addresses: HashMap<Counted, u32>,
    of_channel: HashMap<Channel, Counted>,
}

impl Admission {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            handshakes_max: limits.handshakes as usize,
            per_address_max: limits.connections_per_address,
            silent: HashSet::new(),
            addresses: HashMap::new(),
            of_channel: HashMap::new(),
        }
    }

    /// Other limits, for those who come. Who came while a limit was off is not counted.
    pub(super) fn reload(&mut self, limits: &Limits) {
        self.handshakes_max = limits.handshakes as usize;
        self.per_address_max = limits.connections_per_address;
        if self.handshakes_max == 0 {
            self.silent.clear();
        }
    }

    /// Whether another connection may begin.
    ///
    /// # Errors
    /// The limit that is reached. `address` is `None` while only a proxy is known.
    pub(super) fn check(&self, address: Option<IpAddr>) -> Result<(), Reason> {
        if self.handshakes_max > 0 && self.silent.len() >= self.handshakes_max {
            return Err(Reason::TooManyHandshakes);
        }
        if self.per_address_max > 0
            && let Some(address) = address
            && self.addresses.get(&Counted::new(address)).is_some_and(|count| *count >= self.per_address_max)
        {
            return Err(Reason::TooManyConnections);
        }
        Ok(())
    }

    /// A connection begins.
    pub(super) fn begin(&mut self, channel: Channel, address: Option<IpAddr>) {
        if self.handshakes_max > 0 {
            self.silent.insert(channel);
        }
        if let Some(address) = address {
            self.count(channel, address);
        }
    }

    /// The address behind a proxy has become known. False when there are too many of it.
    pub(super) fn identify(&mut self, channel: Channel, address: IpAddr) -> bool {
        if self.per_address_max > 0
            && self.addresses.get(&Counted::new(address)).is_some_and(|count| *count >= self.per_address_max)
        {
            return false;
        }
        self.count(channel, address);
        true
    }

    fn count(&mut self, channel: Channel, address: IpAddr) {
        if self.per_address_max > 0 {
            let counted = Counted::new(address);
            *self.addresses.entry(counted).or_insert(0) += 1;
            self.of_channel.insert(channel, counted);
        }
    }

    /// CLIENT_HELLO was said.
    pub(super) fn greeted(&mut self, channel: Channel) {
        self.silent.remove(&channel);
    }

    /// The connection has ended.
    pub(super) fn end(&mut self, channel: Channel) {
        self.silent.remove(&channel);
        if let Some(counted) = self.of_channel.remove(&channel)
            && let Some(count) = self.addresses.get_mut(&counted)
        {
            *count -= 1;
            if *count == 0 {
                self.addresses.remove(&counted);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(handshakes: u32, connections_per_address: u32) -> Admission {
        Admission::new(&Limits { handshakes, connections_per_address, ..Limits::default() })
    }

    #[test]
    fn connections_of_one_address_are_counted_and_given_back() {
        let mut admission = admission(0, 2);
        let [one, other]: [IpAddr; 2] = ["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        admission.begin(1, Some(one));
        admission.begin(2, Some("::ffff:10.0.0.1".parse().unwrap()));
        assert_eq!(admission.check(Some(one)), Err(Reason::TooManyConnections));
        assert_eq!(admission.check(Some(other)), Ok(()));
        assert!(!admission.identify(3, one) && admission.identify(3, other));
        admission.end(2);
        assert_eq!(admission.check(Some(one)), Ok(()));
        for channel in [1, 2, 3] {
            admission.end(channel);
        }
        assert!(admission.addresses.is_empty() && admission.of_channel.is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let mut admission = admission(0, 1);
        admission.begin(1, Some("2001:db8:0:7::1".parse().unwrap()));
        assert!(admission.check(Some("2001:db8:0:7:ffff::2".parse().unwrap())).is_err());
        assert!(admission.check(Some("2001:db8:0:8::1".parse().unwrap())).is_ok());
    }

    #[test]
    fn a_limit_of_handshakes_that_comes_back_does_not_count_those_before() {
        let mut admission = admission(1, 0);
        admission.begin(1, None);
        assert!(admission.check(None).is_err());
        admission.reload(&Limits { handshakes: 0, ..Limits::default() });
        admission.reload(&Limits { handshakes: 1, ..Limits::default() });
        assert_eq!(admission.check(None), Ok(()));
        admission.end(1);
        admission.begin(2, None);
        assert!(admission.check(None).is_err());
    }

    #[test]
    fn a_connection_is_a_handshake_until_hello_or_its_end() {
        let mut admission = admission(2, 0);
        admission.begin(1, None);
        admission.begin(2, None);
        assert_eq!(admission.check(None), Err(Reason::TooManyHandshakes));
        admission.greeted(1);
        assert_eq!(admission.check(None), Ok(()));
        admission.begin(3, None);
        assert!(admission.check(None).is_err());
        admission.end(2);
        assert!(admission.check(None).is_ok());
    }
}

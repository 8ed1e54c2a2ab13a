//! What keys of different tables mean together: who uses which channels and ports (`spec/config.md`, the bullets).
//!
//! Reads no tables: the readers note here what each key claims, with its place, and one pass compares them.

use super::diagnostic::{Faults, position};
use crate::wire::{Channel, Doid, RESERVED_MAX, is_reserved_channel, is_reserved_doid};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::{Range, RangeInclusive};

/// What a range of channels or doids is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Clients,
    Generate,
    Dbss,
    Control,
    Uberdog,
}

/// A range that a table claims.
#[derive(Clone, Debug)]
struct Claim {
    purpose: Purpose,
    range: RangeInclusive<u64>,
    span: Range<usize>,
    table: String,
}

/// A TCP port that a table listens on.
#[derive(Clone, Debug)]
struct Listener {
    address: SocketAddr,
    span: Range<usize>,
    table: String,
}

/// Everything that was claimed so far.
#[derive(Default)]
pub(super) struct Claims {
    claims: Vec<Claim>,
    listeners: Vec<Listener>,
    /// The upstream Message Director, likewise.
    upstreams: Vec<Listener>,
}

impl Claims {
    pub fn add(&mut self, purpose: Purpose, range: RangeInclusive<u64>, span: Range<usize>, table: &str) {
        self.claims.push(Claim { purpose, range, span, table: table.to_owned() });
    }

    pub fn listen(&mut self, address: SocketAddr, span: Range<usize>, table: &str) {
        self.listeners.push(Listener { address, span, table: table.to_owned() });
    }

    pub fn dial(&mut self, address: SocketAddr, span: Range<usize>, table: &str) {
        self.upstreams.push(Listener { address, span, table: table.to_owned() });
    }

    /// Whether a table of this file claims the channel for this purpose.
    pub fn is_claimed(&self, purpose: Purpose, channel: Channel) -> bool {
        self.claims.iter().any(|claim| claim.purpose == purpose && claim.range.contains(&channel))
    }

    /// Reports every pair that cannot both hold; the later one of the file carries the fault.
    pub fn check(&self, text: &str, faults: &Faults) {
        for (index, one) in self.claims.iter().enumerate() {
            for other in &self.claims[..index] {
                let (early, late) = if one.span.start < other.span.start { (one, other) } else { (other, one) };
                if conflict(early, late) {
                    let (line, _) = position(text, early.span.start);
                    faults.push(
                        late.span.clone(),
                        format!(
                            "{} of {} overlap {} of {} (line {line})",
                            shown(late),
                            late.table,
                            shown(early),
                            early.table
                        ),
                        remedy(early.purpose, late.purpose),
                    );
                }
            }
        }
        for (index, one) in self.listeners.iter().enumerate() {
            if let Some(other) = self.listeners[..index].iter().find(|other| collide(one.address, other.address)) {
                let (line, _) = position(text, other.span.start);
                faults.push(
                    one.span.clone(),
                    format!("{} of {} is taken by {} (line {line})", one.address, one.table, other.table),
                    "expected a port of its own for every listener",
                );
            }
        }
        for Listener { address, span, table } in &self.upstreams {
            if let Some(own) = self.listeners.iter().find(|own| reaches(*address, own.address, is_of_this_machine)) {
                let (line, _) = position(text, own.span.start);
                faults.push(
                    span.clone(),
                    format!(
                        "`upstream` in {table}: {address} is this daemon's own `bind` of {} (line {line})",
                        own.table
                    ),
                    "expected the `bind` of another daemon's message director; the root of the tree has no `upstream`",
                );
            }
        }
    }
}

fn conflict(one: &Claim, other: &Claim) -> bool {
    use Purpose::{Clients, Control, Dbss, Generate};
    let overlap = one.range.start() <= other.range.end() && other.range.start() <= one.range.end();
    overlap
        && match (one.purpose, other.purpose) {
            // Client agents that name the same range share one pool.
            (Clients, Clients) => one.range != other.range,
            (Clients, _) | (_, Clients) => true,
            (Generate, Generate) | (Dbss, Dbss) | (Control, Control) => true,
            _ => false,
        }
}

fn remedy(one: Purpose, other: Purpose) -> &'static str {
    use Purpose::{Clients, Control, Dbss};
    match (one, other) {
        (Clients, Clients) => "expected the same range, for one shared pool, or ranges apart",
        (Clients, _) | (_, Clients) => "expected a client range that no object, range or control channel lies in",
        (Dbss, Dbss) => "expected ranges apart: one object has one database state server",
        (Control, Control) => "expected a control channel of its own for every role",
        _ => "expected ranges apart: a doid is given out once",
    }
}

fn shown(claim: &Claim) -> String {
    let (low, high) = (claim.range.start(), claim.range.end());
    match claim.purpose {
        Purpose::Clients => format!("the client channels {low}-{high}"),
        Purpose::Generate => format!("the doids to generate {low}-{high}"),
        Purpose::Dbss => format!("the doids {low}-{high}"),
        Purpose::Control => format!("the control channel {low}"),
        Purpose::Uberdog => format!("the uberdog {low}"),
    }
}

fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let same_host = one.ip() == other.ip()
        || one.ip().is_unspecified() && (one.is_ipv4() == other.is_ipv4() || one.is_ipv6())
        || other.ip().is_unspecified() && (one.is_ipv4() == other.is_ipv4() || other.is_ipv6());
    one.port() != 0 && one.port() == other.port() && same_host
}

/// Whether who dials `address` on this machine comes to the listener at `bind`.
fn reaches(address: SocketAddr, bind: SocketAddr, is_of_this_machine: impl Fn(IpAddr) -> bool) -> bool {
    // Linux takes the address of every interface for that of this machine.
    let dialled = match address.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let same_host = match bind.ip().to_canonical() {
        bound if bound == dialled => true,
        bound if bound.is_unspecified() => (bound.is_ipv6() || dialled.is_ipv4()) && is_of_this_machine(dialled),
        _ => false,
    };
    bind.port() != 0 && bind.port() == address.port() && same_host
}

/// Whether an address is one of this machine's: only such a one can be bound.
fn is_of_this_machine(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

/// Why a channel cannot be configured, if it cannot.
pub(super) fn reserved_channel(channel: Channel) -> Option<String> {
    is_reserved_channel(channel).then(|| format!("channel {channel} is reserved"))
}

/// What [`reserved_channel`] wants instead.
pub(super) const CHANNEL_EXPECTED: &str = "expected a channel above 999 and outside 2^32..999*2^32";

/// Why a range of channels cannot be configured, if it cannot.
pub(super) fn reserved_channels(range: &RangeInclusive<Channel>) -> Option<String> {
    let (low, high) = (*range.start(), *range.end());
    if low > high {
        return Some(format!("the range {low}-{high} is empty: its minimum is above its maximum"));
    }
    reserved_channel(low).or_else(|| reserved_channel(high)).or_else(|| {
        let prefixes = 1_u64 << 32;
        (low < prefixes && high > RESERVED_MAX << 32)
            .then(|| format!("the range {low}-{high} contains reserved channels"))
    })
}

/// Why a range of doids cannot be configured, if it cannot.
pub(super) fn reserved_doids(range: &RangeInclusive<Doid>) -> Option<String> {
    let (low, high) = (*range.start(), *range.end());
    if low > high {
        return Some(format!("the range {low}-{high} is empty: its minimum is above its maximum"));
    }
    is_reserved_doid(low).then(|| format!("doid {low} is reserved"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_collide_on_the_same_or_a_wildcard_address() {
        let collides =
            |one: &str, other: &str| collide(one.parse().expect("an address"), other.parse().expect("an address"));
        assert!(collides("127.0.0.1:1", "127.0.0.1:1"));
        assert!(collides("0.0.0.0:1", "127.0.0.1:1"));
        assert!(collides("127.0.0.1:1", "[::]:1"));
        assert!(!collides("127.0.0.1:1", "127.0.0.2:1"));
        assert!(!collides("127.0.0.1:1", "127.0.0.1:2"));
        assert!(!collides("0.0.0.0:1", "[::1]:1"));
        assert!(!collides("127.0.0.1:0", "127.0.0.1:0"));
    }

    #[test]
    fn a_daemon_reaches_itself_by_every_name_of_its_machine() {
        let own = |ip: IpAddr| ip.is_loopback() || ip == IpAddr::from([10, 0, 0, 5]);
        let reaches = |address: &str, bind: &str| reaches(address.parse().unwrap(), bind.parse().unwrap(), own);
        for (address, bind) in [
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("127.0.0.9:1", "0.0.0.0:1"),
            ("10.0.0.5:1", "0.0.0.0:1"),
            ("10.0.0.5:1", "[::]:1"),
            ("[::ffff:10.0.0.5]:1", "10.0.0.5:1"),
        ] {
            assert!(reaches(address, bind), "{address} {bind}");
        }
        for (address, bind) in [
            ("127.0.0.1:1", "127.0.0.1:2"),
            ("127.0.0.2:1", "127.0.0.1:1"),
            ("10.0.0.6:1", "0.0.0.0:1"),
            ("[::1]:1", "0.0.0.0:1"),
            ("127.0.0.1:1", "127.0.0.1:0"),
        ] {
            assert!(!reaches(address, bind), "{address} {bind}");
        }
        assert!(is_of_this_machine(IpAddr::from(Ipv4Addr::LOCALHOST)));
        // An address for documentation, which nobody has.
        assert!(!is_of_this_machine(IpAddr::from([192, 0, 2, 77])));
    }

    #[test]
    fn a_range_across_the_reserved_prefixes_is_refused() {
        assert!(reserved_channels(&(1000..=(1 << 32) - 1)).is_none());
        assert!(reserved_channels(&((999 << 32) + 1..=u64::MAX)).is_none());
        assert!(reserved_channels(&(1000..=1 << 32)).is_some());
        assert!(reserved_channels(&(1000..=u64::MAX)).is_some());
        assert!(reserved_channels(&(999..=2000)).is_some());
        assert!(reserved_channels(&RangeInclusive::new(2000, 1000)).is_some());
    }
}

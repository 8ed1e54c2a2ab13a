//! The PROXY header, versions 1 and 2 (`protocol-md-ca-el.md` §3.3).
//!
//! Comes first on a connection, in front of TLS and everything else, and only where the configuration expects it: from
//! anybody else it would be a way to claim an address.

use ppp::v1::Addresses as V1;
use ppp::v2::{Addresses as V2, PROTOCOL_PREFIX, Protocol};
use std::net::SocketAddr;

/// What comes before the addresses in version 2.
const V2_HEAD_BYTES: usize = 16;
/// The longest header of version 1, its line end included.
const V1_BYTES_MAX: usize = 107;
const V1_PREFIX: &[u8] = b"PROXY TCP";
/// The longest header of version 2 that is taken. Proxies send some hundred bytes, with a certificate some thousand;
/// the format would allow 64 KiB.
const V2_BYTES_MAX: usize = 16 * 1024;
/// Version 2, command LOCAL.
const V2_LOCAL: u8 = 0x20;

/// What a PROXY header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxied {
    /// The proxy speaks for itself, to see whether we are there: the addresses are those of the socket.
    Local,
    Client {
        /// The client's address.
        remote: SocketAddr,
        /// The address that it has connected to.
        local: SocketAddr,
        /// Everything behind the addresses of version 2, verbatim.
        tlvs: Box<[u8]>,
    },
}

/// Why a PROXY header is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("the connection begins with something else")]
    Missing,
    #[error("no end within {V1_BYTES_MAX} bytes")]
    Endless,
    #[error("longer than {V2_BYTES_MAX} bytes")]
    TooLong,
    #[error("neither TCP over IPv4 nor over IPv6")]
    NotTcp,
    #[error("{0}")]
    Malformed(String),
}

/// Reads the header at the beginning of `bytes`. `None` while more bytes are needed; else what it says and its length.
///
/// # Errors
/// [`HeaderError`], as early as it can be told.
pub fn parse(bytes: &[u8]) -> Result<Option<(Proxied, usize)>, HeaderError> {
    let begins_like = |prefix: &[u8]| {
        let common = bytes.len().min(prefix.len());
        bytes[..common] == prefix[..common]
    };
    if begins_like(PROTOCOL_PREFIX) {
        v2(bytes)
    } else if begins_like(V1_PREFIX) {
        v1(bytes)
    } else {
        Err(HeaderError::Missing)
    }
}

fn v1(bytes: &[u8]) -> Result<Option<(Proxied, usize)>, HeaderError> {
    let within = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < V1_BYTES_MAX { Ok(None) } else { Err(HeaderError::Endless) };
    };
    let length = end + 2;
    let header =
        ppp::v1::Header::try_from(&bytes[..length]).map_err(|error| HeaderError::Malformed(error.to_string()))?;
    let (remote, local) = match header.addresses {
        V1::Tcp4(ip) => (
            SocketAddr::from((ip.source_address, ip.source_port)),
            SocketAddr::from((ip.destination_address, ip.destination_port)),
        ),
        V1::Tcp6(ip) => (
            SocketAddr::from((ip.source_address, ip.source_port)),
            SocketAddr::from((ip.destination_address, ip.destination_port)),
        ),
        V1::Unknown => return Err(HeaderError::NotTcp),
    };
    Ok(Some((Proxied::Client { remote, local, tlvs: Box::default() }, length)))
}

fn v2(bytes: &[u8]) -> Result<Option<(Proxied, usize)>, HeaderError> {
    let Some(head) = bytes.first_chunk::<V2_HEAD_BYTES>() else { return Ok(None) };
    let length = V2_HEAD_BYTES + usize::from(u16::from_be_bytes([head[14], head[15]]));
    if length > V2_BYTES_MAX {
        return Err(HeaderError::TooLong);
    }
    if bytes.len() < length {
        return Ok(None);
    }
    // Before its family is looked at: proxies send LOCAL with any, AF_UNSPEC among them (§8 A20).
    if head[12] == V2_LOCAL {
        return Ok(Some((Proxied::Local, length)));
    }
    let header =
        ppp::v2::Header::try_from(&bytes[..length]).map_err(|error| HeaderError::Malformed(error.to_string()))?;
    if header.protocol != Protocol::Stream {
        return Err(HeaderError::NotTcp);
    }
    let (remote, local) = match header.addresses {
        V2::IPv4(ip) => (
            SocketAddr::from((ip.source_address, ip.source_port)),
            SocketAddr::from((ip.destination_address, ip.destination_port)),
        ),
        V2::IPv6(ip) => (
            SocketAddr::from((ip.source_address, ip.source_port)),
            SocketAddr::from((ip.destination_address, ip.destination_port)),
        ),
        V2::Unspecified | V2::Unix(_) => return Err(HeaderError::NotTcp),
    };
    Ok(Some((Proxied::Client { remote, local, tlvs: header.tlv_bytes().into() }, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

    fn v2_header(version_command: u8, family_transport: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([version_command, family_transport]);
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn client(remote: &str, local: &str, tlvs: &[u8]) -> Proxied {
        Proxied::Client { remote: remote.parse().unwrap(), local: local.parse().unwrap(), tlvs: tlvs.into() }
    }

    /// Whatever is still to come, and wherever it is cut, the header is found at its end and not before.
    fn expect(header: &[u8], expected: &Proxied) {
        for cut in 0..header.len() {
            assert_eq!(parse(&header[..cut]), Ok(None), "{cut} bytes");
        }
        let mut followed = header.to_vec();
        followed.extend([0xFF, 0, 1]);
        assert_eq!(parse(&followed), Ok(Some((expected.clone(), header.len()))));
    }

    #[test]
    fn version_1_of_both_families() {
        let four = client("192.0.2.7:4000", "198.51.100.1:7198", &[]);
        expect(b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 7198\r\n", &four);
        expect(b"PROXY TCP6 2001:db8::7 ::1 4000 7198\r\n", &client("[2001:db8::7]:4000", "[::1]:7198", &[]));
    }

    #[test]
    fn version_2_of_both_families_keeps_its_tlvs() {
        let mut body = vec![192, 0, 2, 7, 198, 51, 100, 1];
        body.extend([0x0F, 0xA0, 0x1C, 0x1E]);
        expect(&v2_header(0x21, 0x11, &body), &client("192.0.2.7:4000", "198.51.100.1:7198", &[]));
        body.extend(b"\x04\x00\x01xanything at all");
        let tlvs = b"\x04\x00\x01xanything at all";
        expect(&v2_header(0x21, 0x11, &body), &client("192.0.2.7:4000", "198.51.100.1:7198", tlvs));
        let mut body = [0; 36];
        (body[15], body[31]) = (7, 1);
        body[32..].copy_from_slice(&[0x0F, 0xA0, 0x1C, 0x1E]);
        expect(&v2_header(0x21, 0x21, &body), &client("[::7]:4000", "[::1]:7198", &[]));
    }

    #[test]
    fn a20_local_is_taken_with_any_family() {
        for family in [0x00, 0x11, 0x21, 0x31, 0xFF] {
            expect(&v2_header(0x20, family, &[]), &Proxied::Local);
            expect(&v2_header(0x20, family, &[1, 2, 3]), &Proxied::Local);
        }
    }

    #[test]
    fn anything_else_is_refused_as_soon_as_it_can_be_told() {
        assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Err(HeaderError::Missing));
        assert_eq!(parse(&[0x00]), Err(HeaderError::Missing));
        assert_eq!(parse(b"PROXY UNKNOWN\r\n"), Err(HeaderError::Missing));
        assert_eq!(parse(&[&b"PROXY TCP4 "[..], &[b'1'; 200]].concat()), Err(HeaderError::Endless));
        for bad in [
            "PROXY TCP4 192.0.2.7 198.51.100.1 4000\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 70000\r\n",
            "PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
        ] {
            assert!(matches!(parse(bad.as_bytes()), Err(HeaderError::Malformed(_))), "{bad}");
        }
        let too_long = v2_header(0x21, 0x11, &vec![0; V2_BYTES_MAX]);
        assert_eq!(parse(&too_long[..16]), Err(HeaderError::TooLong));
        // Too short for its addresses, a wrong version, a wrong command, a datagram, no family, a file name.
        for (command, family, length) in [
            (0x21, 0x11, 11),
            (0x21, 0x21, 35),
            (0x11, 0x11, 12),
            (0x22, 0x11, 12),
            (0x21, 0x12, 12),
            (0x21, 0, 0),
            (0x21, 0x31, 216),
        ] {
            assert!(parse(&v2_header(command, family, &vec![0; length])).is_err(), "{command:#x} {family:#x} {length}");
        }
    }
}

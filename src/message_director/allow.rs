//! The allow-list of peers.

use crate::config::Cidr;
use std::net::IpAddr;

/// Whether a peer may connect: it lies in one of the blocks, or there are none.
pub fn allows(blocks: &[Cidr], peer: IpAddr) -> bool {
    blocks.is_empty() || blocks.iter().any(|block| contains(block, peer.to_canonical()))
}

fn contains(block: &Cidr, peer: IpAddr) -> bool {
    let differ = match (block.address, peer) {
        (IpAddr::V4(block), IpAddr::V4(peer)) => u128::from(block.to_bits() ^ peer.to_bits()) << 96,
        (IpAddr::V6(block), IpAddr::V6(peer)) => block.to_bits() ^ peer.to_bits(),
        _ => return false,
    };
    differ.leading_zeros() >= u32::from(block.prefix_bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_contain_what_shares_their_prefix() {
        let block = |address: &str, prefix_bits| Cidr { address: address.parse().unwrap(), prefix_bits };
        let peer = |address: &str| address.parse().unwrap();
        assert!(allows(&[], peer("203.0.113.9")));
        assert!(allows(&[block("10.0.0.0", 8)], peer("10.255.1.2")));
        assert!(!allows(&[block("10.0.0.0", 8)], peer("11.0.0.1")));
        assert!(allows(&[block("10.0.0.7", 32)], peer("::ffff:10.0.0.7")));
        assert!(!allows(&[block("10.0.0.7", 32)], peer("10.0.0.6")));
        assert!(allows(&[block("0.0.0.0", 0)], peer("192.0.2.1")));
        assert!(!allows(&[block("0.0.0.0", 0)], peer("2001:db8::1")));
        assert!(allows(&[block("2001:db8::", 32)], peer("2001:db8:ffff::1")));
    }
}

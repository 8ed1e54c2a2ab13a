//! What one Event Logger counts. Its thread writes, whoever shows it reads: no executor is concerned.

use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one Event Logger, since its start.
#[derive(Debug)]
pub struct EventLoggerFigures {
    /// Where it listens.
    pub address: SocketAddr,
    /// The socket's number in the system's tables.
    inode: u64,
    pub(super) lines: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) files: AtomicU64,
}

/// One of them, with its name and meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventLoggerFigure {
    pub name: &'static str,
    pub help: &'static str,
    pub value: u64,
}

impl EventLoggerFigures {
    pub(super) fn new(address: SocketAddr, socket: &UdpSocket) -> Self {
        use std::os::fd::AsRawFd;
        let inode = std::fs::metadata(format!("/proc/self/fd/{}", socket.as_raw_fd())).map_or(0, |file| file.ino());
        Self {
            address,
            inode,
            lines: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            files: AtomicU64::new(0),
        }
    }

    /// All of them.
    pub fn figures(&self) -> [EventLoggerFigure; 6] {
        let figure = |name, help, value| EventLoggerFigure { name, help, value };
        let count = |name, help, counter: &AtomicU64| figure(name, help, counter.load(Ordering::Relaxed));
        [
            count("lines", "Lines written.", &self.lines),
            count("bytes", "Bytes written.", &self.bytes),
            count("files", "Files opened.", &self.files),
            count(
                "packets_refused",
                "Packets that were no event: no MessagePack map, or too much of one.",
                &self.refused,
            ),
            count("lines_lost", "Lines that could not be written.", &self.lost),
            figure("packets_overflowed", "Packets that came faster than they were read.", self.overflowed()),
        ]
    }

    /// Packets for which there was no room in the socket's buffer, as the system counts them.
    fn overflowed(&self) -> u64 {
        let table = if self.address.is_ipv4() { "/proc/net/udp" } else { "/proc/net/udp6" };
        let table = std::fs::read_to_string(table).unwrap_or_default();
        table.lines().find_map(|line| drops_of(line, self.inode)).unwrap_or(0)
    }
}

/// The last column of a socket's line in proc(5)'s /proc/net/udp, where the tenth is its inode.
fn drops_of(line: &str, inode: u64) -> Option<u64> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    (columns.get(9)?.parse() == Ok(inode)).then(|| columns.last()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_table_is_read_by_inode() {
        let line = "  344: 0100007F:1C1D 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 31337 2 \
                    0000000000000000 17";
        assert_eq!(drops_of(line, 31337), Some(17));
        assert_eq!(drops_of(line, 31338), None);
        assert_eq!(
            drops_of("   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid", 5),
            None
        );
    }

    /// More than any buffer holds, and nobody reads.
    #[test]
    fn packets_without_room_are_counted() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
        let address = socket.local_addr().expect("bound");
        let figures = EventLoggerFigures::new(address, &socket);
        assert_eq!(figures.overflowed(), 0);
        let sender = UdpSocket::bind("127.0.0.1:0").expect("binds");
        for _ in 0..2000 {
            sender.send_to(&[0; 10_000], address).expect("sent");
        }
        assert!(figures.overflowed() > 0);
    }
}

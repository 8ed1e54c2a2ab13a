//! What waits to be sent on one connection, in order.

use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::{IoSlice, Write};

/// Buffers that one send gathers: a turn's worth of frames, well below the kernel's limit of 1,024.
const GATHER_MAX: usize = 256;
/// Buffers of at most so many bytes are copied: to send a list of as many pieces would cost the system call more, and to
/// keep one costs as much as it holds. Measured in docs/PERFORMANCE.md.
const SMALL_BYTES: usize = 512;
/// The most that is copied one behind the other.
const TAIL_BYTES: usize = 64 * 1024;
/// So many pieces have room on a connection that sends few at a time, and so many copied bytes.
const KEPT_PIECES: usize = 4;
const KEPT_BYTES: usize = 128;
/// More than this is kept on no connection, however much it always sends: tens of thousands may fall silent behind a burst.
const KEPT_BYTES_MAX: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct Unsent {
    /// Buffers that others may hold as well.
    pieces: VecDeque<Bytes>,
    /// Behind them: small buffers, copied.
    tail: Vec<u8>,
}

impl Unsent {
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.tail.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        self.tail.clear();
    }

    pub(super) fn push(&mut self, bytes: &Bytes) {
        let is_small = bytes.len() <= SMALL_BYTES;
        if !is_small || self.tail.len() + bytes.len() > TAIL_BYTES {
            self.close_tail();
        }
        match is_small {
            true => self.tail.extend_from_slice(bytes),
            false => self.pieces.push_back(bytes.clone()),
        }
    }

    /// Makes a piece of what was copied.
    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(std::mem::take(&mut self.tail).into());
        }
    }

    /// One write of what is there. Returns how much of it was taken.
    ///
    /// # Errors
    /// Those of the stream; everything is still there.
    pub(super) fn write(&mut self, mut stream: impl Write) -> std::io::Result<usize> {
        if self.pieces.is_empty() {
            let written = stream.write(&self.tail)?;
            if written == self.tail.len() {
                self.tail.clear();
            } else {
                self.close_tail();
                self.advance(written);
            }
            return Ok(written);
        }
        self.close_tail();
        let written = if let ([only], []) = self.pieces.as_slices() {
            // The plain call costs less than a list of one.
            stream.write(only)?
        } else {
            let pieces = self.pieces.iter().take(GATHER_MAX);
            let slices: smallvec::SmallVec<[IoSlice<'_>; 32]> = pieces.map(|bytes| IoSlice::new(bytes)).collect();
            stream.write_vectored(&slices)?
        };
        self.advance(written);
        Ok(written)
    }

    fn advance(&mut self, mut bytes: usize) {
        while let Some(front) = self.pieces.front_mut() {
            if bytes < front.len() {
                front.advance(bytes);
                break;
            }
            bytes -= front.len();
            self.pieces.pop_front();
        }
    }

    /// How much there is, for [`Unsent::give_back`].
    pub(super) fn load(&self) -> (usize, usize) {
        (self.pieces.len(), self.tail.len())
    }

    /// Gives memory back when everything has been sent, of which there had been so much. A client that was told of everybody
    /// in a zone and hears one at a time from then on must not keep the memory of the first; one that is always told much at
    /// once must not ask for it anew each time.
    pub(super) fn give_back(&mut self, (pieces, tail_bytes): (usize, usize)) {
        if self.pieces.capacity() > KEPT_PIECES && pieces <= self.pieces.capacity() / 4 {
            self.pieces.shrink_to(KEPT_PIECES);
        }
        let is_small = tail_bytes <= self.tail.capacity() / 4;
        if (self.tail.capacity() > KEPT_BYTES && is_small) || self.tail.capacity() > KEPT_BYTES_MAX {
            self.tail.shrink_to(KEPT_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes at a time.
    struct Narrow<'a>(usize, &'a mut Vec<u8>);

    impl Write for Narrow<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let taken = bytes.len().min(self.0);
            self.1.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> std::io::Result<usize> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            self.write(&all)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Small and large, in whatever order, through a socket of whatever width: what was pushed comes out.
    #[test]
    fn bytes_leave_in_their_order() {
        let mut random = crate::sim::Random::new(7);
        for width in [1, 3, 100, SMALL_BYTES, 5000, TAIL_BYTES, usize::MAX] {
            let (mut unsent, mut pushed, mut sent) = (Unsent::default(), Vec::new(), Vec::new());
            while pushed.len() < 3 * TAIL_BYTES / if width < 100 { 40 } else { 1 } {
                for _ in 0..random.below(40) {
                    let length = 1 + if random.below(8) == 0 { random.below(3000) } else { random.below(SMALL_BYTES) };
                    let bytes: Vec<u8> = (0..length).map(|_| random.number() as u8).collect();
                    pushed.extend_from_slice(&bytes);
                    unsent.push(&bytes.into());
                }
                let (load, before) = (unsent.load(), sent.len());
                if unsent.is_empty() {
                    continue;
                }
                let written = unsent.write(Narrow(width, &mut sent)).unwrap();
                assert_eq!((written, written <= width), (sent.len() - before, true));
                if unsent.is_empty() {
                    unsent.give_back(load);
                }
            }
            while !unsent.is_empty() {
                assert!(unsent.write(Narrow(width, &mut sent)).unwrap() > 0);
            }
            assert!(sent == pushed, "width {width}");
        }
    }

    #[test]
    fn small_buffers_are_one_piece_and_large_ones_are_shared() {
        let mut unsent = Unsent::default();
        let large = Bytes::from(vec![7; SMALL_BYTES + 1]);
        for _ in 0..100 {
            unsent.push(&Bytes::from_static(b"small"));
        }
        unsent.push(&large);
        unsent.push(&Bytes::from_static(b"small"));
        assert_eq!(unsent.load(), (2, 5));
        assert_eq!(unsent.pieces[1].as_ptr(), large.as_ptr(), "nobody has copied it");
    }

    #[test]
    fn memory_of_a_burst_is_given_back_by_what_follows_in_ones_and_kept_by_another_burst() {
        let (mut unsent, mut sent) = (Unsent::default(), Vec::new());
        let mut send = |small: usize, large: usize| {
            for (count, bytes) in
                [(large, Bytes::from(vec![1; SMALL_BYTES + 1])), (small, Bytes::from_static(b"entry"))]
            {
                (0..count).for_each(|_| unsent.push(&bytes));
            }
            let load = unsent.load();
            while !unsent.is_empty() {
                unsent.write(Narrow(usize::MAX, &mut sent)).unwrap();
            }
            unsent.give_back(load);
            (unsent.tail.capacity(), unsent.pieces.capacity())
        };
        assert!(send(400, 0).0 >= 2000 && send(400, 0).0 >= 2000);
        assert_eq!(send(1, 0).0, KEPT_BYTES);
        assert_eq!(send(1, 0).0, KEPT_BYTES);
        assert_eq!(send(KEPT_BYTES_MAX / 4, 0).0, KEPT_BYTES, "nobody keeps as much");
        assert!(send(0, 40).1 >= 40 && send(0, 40).1 >= 40);
        assert_eq!(send(0, 1).1, KEPT_PIECES);
    }
}

//! Receive buffers: borrowed by handlers, pooled per executor, held only while a connection has unused bytes.

use crate::app::CloseCause;

/// A buffer's size at first. An idle connection holds none.
const INITIAL_BYTES: usize = 16 * 1024;
/// The size of a connection that sends more at once than the initial size holds: the largest frame (65,535 bytes and its
/// length) with room for as much again, so that a read is never cut to the last bytes of a frame.
const LARGE_BYTES: usize = 128 * 1024;
const _: () = assert!(LARGE_BYTES > 65_537);
/// Connections whose bytes wait for one intake: more than these are read when the turn that takes them in is over. As many
/// buffers are on their way at most, however many connections speak at once.
pub(crate) const READS_PER_INTAKE: usize = 256;
/// Spare initial buffers that an executor keeps: as many as an intake needs, 4 MiB.
const POOL_INITIAL: usize = READS_PER_INTAKE;
/// Spare large buffers, 4 MiB: links that fill theirs every turn are few.
const POOL_LARGE: usize = 32;
/// So many unused bytes move into memory of just their size: a connection that stops within a frame holds no whole buffer.
const REST_BYTES: usize = 1024;
const _: () = assert!(REST_BYTES < INITIAL_BYTES);

/// Spare buffers of both sizes.
#[derive(Debug, Default)]
pub(crate) struct ReceivePool {
    initial: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
}

impl ReceivePool {
    fn take_initial(&mut self) -> Vec<u8> {
        self.initial.pop().unwrap_or_else(|| vec![0; INITIAL_BYTES])
    }

    fn take_large(&mut self) -> Vec<u8> {
        self.large.pop().unwrap_or_else(|| vec![0; LARGE_BYTES])
    }

    fn give_back(&mut self, memory: Vec<u8>) {
        let (spare, most) = match memory.len() {
            INITIAL_BYTES => (&mut self.initial, POOL_INITIAL),
            LARGE_BYTES => (&mut self.large, POOL_LARGE),
            _ => return,
        };
        if spare.len() < most {
            spare.push(memory);
        }
    }
}

/// Bytes of one connection that were received and not used yet.
#[derive(Debug, Default)]
pub(crate) struct ReceiveBuffer {
    memory: Vec<u8>,
    start: usize,
    end: usize,
    paused: bool,
    /// Bytes came that the application has not been offered.
    pending: bool,
    /// The last read took as much as there was room for: more waits, and a large buffer takes it in fewer reads.
    hungry: bool,
    /// Why the connection ended, while a pause keeps its last bytes from being used.
    ended: Option<CloseCause>,
}

impl ReceiveBuffer {
    /// Room to receive into; `None` while the application must first see what is here.
    pub(crate) fn space(&mut self, pool: &mut ReceivePool) -> Option<&mut [u8]> {
        if self.paused || self.pending {
            return None;
        }
        if self.memory.len() < INITIAL_BYTES {
            // Nothing, or the rest that was moved away.
            let mut memory = if self.hungry { pool.take_large() } else { pool.take_initial() };
            let rest = self.bytes();
            memory[..rest.len()].copy_from_slice(rest);
            (self.start, self.end) = (0, rest.len());
            self.memory = memory;
        } else if self.start > 0 {
            self.memory.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end * 2 > INITIAL_BYTES && self.memory.len() == INITIAL_BYTES {
            let mut large = pool.take_large();
            large[..self.end].copy_from_slice(&self.memory[..self.end]);
            pool.give_back(std::mem::replace(&mut self.memory, large));
        }
        Some(&mut self.memory[self.end..])
    }

    pub(crate) fn filled(&mut self, bytes: usize) {
        self.hungry = bytes >= INITIAL_BYTES || self.end + bytes == self.memory.len();
        self.end += bytes;
        assert!(self.end <= self.memory.len());
        self.pending = true;
    }

    pub(crate) fn offered(&mut self) {
        self.pending = false;
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    pub(crate) fn consume(&mut self, used: usize) {
        self.start += used;
        assert!(self.start <= self.end, "an application used more than it was offered");
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    /// Whether there are bytes to offer again.
    pub(crate) fn resume(&mut self) -> bool {
        let was_paused = std::mem::take(&mut self.paused);
        let again = was_paused && self.start < self.end;
        self.pending |= again;
        again
    }

    /// Whether there are bytes that will be offered: what ends the connection comes after them.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending
    }

    pub(crate) fn end(&mut self, cause: CloseCause) {
        self.ended = Some(cause);
    }

    pub(crate) fn take_end(&mut self) -> Option<CloseCause> {
        self.ended.take()
    }

    /// Gives back what is not needed until more comes.
    pub(crate) fn settle(&mut self, pool: &mut ReceivePool) {
        let rest = self.end - self.start;
        if self.pending {
            return;
        }
        if rest == 0 {
            self.release(pool);
        } else if rest <= REST_BYTES && self.memory.len() >= INITIAL_BYTES {
            let rest = self.bytes().to_vec();
            (self.start, self.end) = (0, rest.len());
            pool.give_back(std::mem::replace(&mut self.memory, rest));
        }
    }

    pub(crate) fn release(&mut self, pool: &mut ReceivePool) {
        (self.start, self.end) = (0, 0);
        pool.give_back(std::mem::take(&mut self.memory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a read of these bytes does.
    fn read(buffer: &mut ReceiveBuffer, pool: &mut ReceivePool, bytes: &[u8]) {
        buffer.space(pool).unwrap()[..bytes.len()].copy_from_slice(bytes);
        buffer.filled(bytes.len());
    }

    #[test]
    fn the_largest_frame_fits_and_unused_bytes_survive() {
        let mut pool = ReceivePool::default();
        let mut buffer = ReceiveBuffer::default();
        let mut total = 0;
        while total < 65_537 {
            let space = buffer.space(&mut pool).unwrap();
            assert!(!space.is_empty());
            let bytes = space.len().min(1000);
            space[..bytes].fill((total / 1000) as u8);
            buffer.filled(bytes);
            assert!(buffer.space(&mut pool).is_none(), "not before it was offered");
            buffer.offered();
            total += bytes;
        }
        assert_eq!(buffer.bytes().len(), total);
        buffer.consume(65_000);
        assert_eq!(buffer.bytes().first(), Some(&65));
    }

    #[test]
    fn a_pause_keeps_what_came_and_offers_it_again() {
        let mut pool = ReceivePool::default();
        let mut buffer = ReceiveBuffer::default();
        read(&mut buffer, &mut pool, b"abc");
        buffer.offered();
        buffer.consume(1);
        buffer.pause();
        assert!(buffer.space(&mut pool).is_none());
        assert!(buffer.resume());
        assert_eq!(buffer.bytes(), b"bc");
        assert!(!buffer.resume(), "only a pause can be resumed");
    }

    #[test]
    fn a_connection_that_fills_its_buffer_gets_a_large_one_as_long_as_it_goes_on() {
        let mut pool = ReceivePool::default();
        let mut buffer = ReceiveBuffer::default();
        let mut read = |bytes: usize| {
            let room = buffer.space(&mut pool).unwrap().len();
            buffer.filled(bytes.min(room));
            buffer.offered();
            buffer.consume(bytes.min(room));
            buffer.settle(&mut pool);
            room
        };
        let rooms = [INITIAL_BYTES, LARGE_BYTES, INITIAL_BYTES, 100, 100].map(&mut read);
        assert_eq!(rooms, [INITIAL_BYTES, LARGE_BYTES, LARGE_BYTES, LARGE_BYTES, INITIAL_BYTES]);
    }

    #[test]
    fn an_idle_connection_holds_no_memory() {
        let mut pool = ReceivePool::default();
        let mut buffer = ReceiveBuffer::default();
        read(&mut buffer, &mut pool, b"a");
        buffer.offered();
        buffer.consume(1);
        buffer.settle(&mut pool);
        assert_eq!((buffer.memory.capacity(), pool.initial.len()), (0, 1));
    }

    #[test]
    fn the_beginning_of_a_frame_is_kept_in_memory_of_its_size() {
        let mut pool = ReceivePool::default();
        let mut buffer = ReceiveBuffer::default();
        read(&mut buffer, &mut pool, b"abcde");
        buffer.settle(&mut pool);
        assert_eq!(buffer.memory.len(), INITIAL_BYTES, "not before it was offered");
        buffer.offered();
        buffer.consume(2);
        buffer.settle(&mut pool);
        assert_eq!((buffer.bytes(), buffer.memory.capacity(), pool.initial.len()), (&b"cde"[..], 3, 1));
        // And after every read that brings nothing.
        buffer.space(&mut pool).unwrap();
        buffer.settle(&mut pool);
        assert_eq!((buffer.bytes(), buffer.memory.capacity(), pool.initial.len()), (&b"cde"[..], 3, 1));
        read(&mut buffer, &mut pool, b"fg");
        buffer.offered();
        assert_eq!(buffer.bytes(), b"cdefg");
        buffer.consume(5);
        buffer.settle(&mut pool);
        assert_eq!((buffer.memory.capacity(), pool.initial.len()), (0, 1));
    }

    #[test]
    fn no_more_spare_buffers_are_kept_than_an_intake_needs() {
        let mut pool = ReceivePool::default();
        let mut all: Vec<ReceiveBuffer> = Vec::new();
        all.resize_with(2 * READS_PER_INTAKE, ReceiveBuffer::default);
        for buffer in &mut all {
            buffer.space(&mut pool).unwrap();
        }
        all.iter_mut().for_each(|buffer| buffer.settle(&mut pool));
        assert_eq!(pool.initial.len(), READS_PER_INTAKE);
    }
}

//! Gives memory back to the system that the process does not use any more.
//!
//! The allocator of glibc keeps what lies between pieces that are still in use. Thousands of clients that come and vanish
//! at once leave most of their memory that way (docs/PERFORMANCE.md, `donet-perf storm`); `malloc_trim` gives it back. It
//! holds up whoever allocates meanwhile, for some milliseconds, so it is called only where it pays.

use std::fs;
use std::io;
use std::thread::Builder;
use std::time::{Duration, Instant};

/// Between two looks, at least.
const PERIOD: Duration = Duration::from_secs(5);
/// A look goes through all free pieces under the allocator's locks: this many times as long there is none.
const REST: u32 = 1000;
/// Less than this is not worth a pause.
const WORTH_BYTES: u64 = 16 << 20;

/// Looks after the memory of this process, in a thread of its own, until the process ends.
///
/// # Errors
/// When the thread cannot be started.
pub fn look_after() -> io::Result<()> {
    let look = || {
        let mut watch = Watch::default();
        let mut rest = PERIOD;
        loop {
            std::thread::sleep(rest);
            let begin = Instant::now();
            let before = Memory::now();
            rest = PERIOD.max(begin.elapsed() * REST);
            let Some(before) = before else {
                tracing::warn!("/proc/self/status does not say how much memory is resident: none is given back");
                return;
            };
            if !watch.is_due(before) {
                watch.forget_a_part();
                continue;
            }
            give_back();
            let Some(after) = Memory::now() else { return };
            watch.given_back(after);
            let bytes = before.anonymous_bytes.saturating_sub(after.anonymous_bytes);
            tracing::debug!(bytes, resident = after.anonymous_bytes, "memory given back");
        }
    };
    Builder::new().name("memory".to_owned()).spawn(look).map(drop)
}

/// What the process has, in bytes.
#[derive(Clone, Copy, Debug)]
struct Memory {
    /// Resident, and of no file.
    anonymous_bytes: u64,
    /// Handed out by the allocator.
    used_bytes: u64,
}

impl Memory {
    fn now() -> Option<Self> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(Self { anonymous_bytes: kilobytes * 1024, used_bytes: used_bytes() })
    }

    fn excess_bytes(self) -> u64 {
        self.anonymous_bytes.saturating_sub(self.used_bytes)
    }
}

#[cfg(target_env = "gnu")]
fn used_bytes() -> u64 {
    // SAFETY: it reads the allocator's own figures, and takes the allocator's own locks for that.
    let heap = unsafe { libc::mallinfo2() };
    (heap.uordblks + heap.hblkhd) as u64
}

#[cfg(target_env = "gnu")]
fn give_back() {
    // SAFETY: it gives back pages on which no piece in use lies, under the allocator's own locks.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators are not asked.
#[cfg(not(target_env = "gnu"))]
fn used_bytes() -> u64 {
    u64::MAX
}

#[cfg(not(target_env = "gnu"))]
fn give_back() {}

/// Decides when there is something to give back.
#[derive(Debug, Default)]
struct Watch {
    /// Resident memory beyond what is in use, after some was given back: stacks, rings, and pages that are used in part.
    excess_bytes: u64,
}

impl Watch {
    /// Whether much more is resident than is in use, compared with the last time.
    fn is_due(&self, memory: Memory) -> bool {
        memory.excess_bytes() > 2 * self.excess_bytes + WORTH_BYTES
    }

    /// What was given back in the midst of a storm left pages that were in use in part, and are free by now.
    fn forget_a_part(&mut self) {
        self.excess_bytes -= self.excess_bytes / 8;
    }

    fn given_back(&mut self, memory: Memory) {
        self.excess_bytes = memory.excess_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn memory(anonymous: u64, used: u64) -> Memory {
        Memory { anonymous_bytes: anonymous * MIB, used_bytes: used * MIB }
    }

    #[test]
    fn memory_is_given_back_when_much_of_it_is_in_use_no_more() {
        let mut watch = Watch::default();
        assert!(!watch.is_due(memory(20, 15)));
        assert!(!watch.is_due(memory(100, 90)), "it is in use");
        assert!(watch.is_due(memory(100, 15)));
        watch.given_back(memory(25, 15));
        assert!(!watch.is_due(memory(25, 15)), "there is nothing more to be had");
        assert!(!watch.is_due(memory(100, 90)));
        assert!(watch.is_due(memory(100, 15)), "and again");
        watch.given_back(memory(40, 15));
        assert!(!watch.is_due(memory(35, 10)));
        for _ in 0..24 {
            watch.forget_a_part();
        }
        assert!(watch.is_due(memory(35, 10)), "two minutes later it is tried again");
    }

    /// An arena of many small pieces, of which a few stay: what the allocator does not give back by itself.
    #[test]
    fn what_lies_between_pieces_in_use_goes_back_to_the_system() {
        let before = Memory::now().expect("/proc/self/status");
        let mut pieces: Vec<Vec<u8>> = (0..64 * 1024).map(|_| vec![1; 1000]).collect();
        let full = Memory::now().unwrap();
        assert!(full.anonymous_bytes > before.anonymous_bytes + 60 * MIB, "{full:?}");
        assert!(full.used_bytes > before.used_bytes + 60 * MIB, "{full:?}");
        let mut number = 0;
        pieces.retain(|_| {
            number += 1;
            number % 1000 == 0
        });
        let kept = Memory::now().unwrap();
        assert!(Watch::default().is_due(kept), "{kept:?}");
        give_back();
        let after = Memory::now().unwrap();
        assert!(after.anonymous_bytes < before.anonymous_bytes + 20 * MIB, "{before:?} {after:?}");
        drop(pieces);
    }
}

use super::*;
use futures_lite::future::{block_on, poll_once};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// Every kind of ring that a kernel may have.
fn rings() -> [Ring<u32>; 2] {
    [deferring().unwrap(), plain().unwrap()].map(Ring::over)
}

fn pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (ours, theirs)
}

/// What a wait of at most so many microseconds tells, in order of their numbers.
fn told(ring: &Ring<u32>, within_us: u64) -> Vec<(u32, bool)> {
    let mut told = Vec::new();
    ring.wait(Some(ring.now_us() + within_us), |what, readiness| told.push((*what, readiness.ends))).unwrap();
    told.sort_unstable();
    told
}

/// Longer than any test takes.
const LONG_US: u64 = 60_000_000;

#[test]
fn a_watch_tells_of_everything_that_comes_once() {
    for ring in rings() {
        let (mut ours, mut theirs) = pair();
        ring.watch(&ours, 7);
        assert_eq!(told(&ring, 0), []);
        for _ in 0..3 {
            theirs.write_all(b"abc").unwrap();
            assert_eq!(told(&ring, LONG_US), [(7, false)]);
            assert_eq!(told(&ring, 0), [], "nothing new has come");
            assert_eq!(ours.read(&mut [0; 16]).unwrap(), 3);
        }
        drop(theirs);
        assert_eq!(told(&ring, LONG_US), [(7, true)]);
    }
}

#[test]
fn what_was_there_before_the_watch_is_told_too() {
    for ring in rings() {
        let (ours, mut theirs) = pair();
        theirs.write_all(b"abc").unwrap();
        ring.watch(&ours, 7);
        assert_eq!(told(&ring, LONG_US), [(7, false)]);
    }
}

#[test]
fn nothing_is_told_of_what_is_forgotten_nor_of_its_successor() {
    for ring in rings() {
        let ((ours, mut theirs), (other, stays)) = (pair(), pair());
        let watch = ring.watch(&ours, 7);
        assert_eq!(told(&ring, 0), []);
        theirs.write_all(b"abc").unwrap();
        ring.forget(watch);
        ring.forget(watch);
        // It takes the place of the forgotten one.
        ring.watch(&other, 8);
        drop(stays);
        // What came of the forgotten one would come before this.
        assert_eq!(told(&ring, LONG_US), [(8, true)]);
    }
}

#[test]
fn more_are_watched_than_can_be_submitted_or_told_at_once() {
    for ring in rings() {
        let count = (SUBMISSIONS * 3) as usize;
        let mut pairs: Vec<_> = (0..count).map(|_| pair()).collect();
        for (number, (ours, _)) in pairs.iter().enumerate() {
            ring.watch(ours, number as u32);
        }
        // Several times as many events as the ring has room for before they are looked at.
        let rounds = COMPLETIONS as usize / count + 2;
        let mut told = vec![0; count];
        for _ in 0..rounds {
            for (_, theirs) in &mut pairs {
                theirs.write_all(b"a").unwrap();
            }
            let _ = passing(ring.uring.borrow().submit());
        }
        while told.contains(&0) {
            ring.wait(None, |what, _| told[*what as usize] += 1).unwrap();
        }
    }
}

#[test]
fn a_task_waits_for_a_descriptor_and_no_longer() {
    for ring in rings() {
        let (ours, mut theirs) = pair();
        let mut writable = std::pin::pin!(ring.ready(&ours, Interest::Writable));
        assert!(block_on(poll_once(writable.as_mut())).is_none(), "not before the ring was asked");
        assert!(!ring.has_woken());
        assert_eq!(told(&ring, LONG_US), []);
        assert!(ring.has_woken() && !ring.has_woken());
        assert!(block_on(poll_once(writable)).expect("ready").is_ok());

        let given_up = ring.ready(&ours, Interest::Readable);
        drop(given_up);
        assert!(ring.waiting.borrow().is_empty());
        theirs.write_all(b"a").unwrap();
        ring.watch(&ours, 7);
        // What came of the given up wait would come before this.
        assert_eq!((told(&ring, LONG_US), ring.has_woken()), (vec![(7, false)], false));
        assert_eq!((&ours).read(&mut [0; 16]).unwrap(), 1);
    }
}

#[test]
fn sleeps_end_and_not_early() {
    for ring in rings() {
        for us in [0, 1, 1500] {
            let due_us = ring.now_us() + us;
            let (mut sleep, never) = (Box::pin(ring.after(Duration::from_micros(us))), ring.after(Duration::MAX));
            while block_on(poll_once(&mut sleep)).is_none() {
                ring.wait(None, |_, _| ()).unwrap();
            }
            assert!(ring.now_us() >= due_us && block_on(poll_once(never)).is_none());
        }
    }
}

#[test]
fn a_closed_ring_holds_no_descriptor() {
    for ring in rings() {
        let (ours, theirs) = pair();
        ring.watch(&ours, 7);
        assert_eq!(told(&ring, 0), []);
        ring.close();
        drop(ours);
        // A poll that was still under way would keep it open.
        theirs.set_nonblocking(true).unwrap();
        assert_eq!((&theirs).read(&mut [0; 1]).unwrap(), 0, "the other end is closed");
    }
}

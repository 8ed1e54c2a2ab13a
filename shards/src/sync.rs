//! What the atomics of this crate stand on, in one place: whoever checks the modules that use it on a model of memory puts
//! other types here.

pub(crate) use rtrb::{Consumer, Producer, PushError, RingBuffer};
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

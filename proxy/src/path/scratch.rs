//! Where a worker reads to while it is not known how much will come. What waits to read holds no buffer then, and what was read
//! holds no more than it is.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};

/// The most that is read at once, in bytes.
pub(super) const BYTES: usize = 128 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; BYTES].into_boxed_slice());
}

/// Lends the worker's buffer, as far as `most` bytes are wanted. The next reader overwrites it, so what is to last has to be copied.
/// Panics if called within itself.
pub(super) fn with<T>(most: usize, read: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| read(scratch.split_at_mut(most.min(BYTES)).0))
}

/// What was read to a buffer of its own: copied, where it would hold more than twice what it is.
pub(super) fn fitted(read: BytesMut) -> Bytes {
    if read.len() < read.capacity() / 2 { Bytes::copy_from_slice(&read) } else { read.freeze() }
}

//! Where a worker reads to while it is not known how much will come. What waits to read holds no buffer then, and what was read
//! holds no more than it is.

use std::cell::RefCell;

/// The most that is read at once, in bytes.
pub(super) const BYTES: usize = 128 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; BYTES].into_boxed_slice());
}

/// Lends the worker's buffer, which still has what was read last. Not to be called within itself.
pub(super) fn with<T>(read: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| read(scratch))
}

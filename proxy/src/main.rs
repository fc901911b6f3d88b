//! The `weft-proxy` command; everything is in the library.

/// A request makes and frees dozens of small pieces of memory: 5 to 16 % of its cost with glibc's allocator, and little with
/// this one (`docs/performance.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    weft_proxy::run(give_back)
}

/// Lets the allocator give the system what the calling thread has freed: by itself it does so only while it goes on allocating, so
/// that what a burst took would stay.
#[allow(unsafe_code, reason = "mimalloc's own crate has no safe form of it")]
fn give_back() {
    unsafe extern "C" {
        fn mi_collect(force: bool);
    }
    // SAFETY: it is the function of mimalloc's C interface, `void mi_collect(bool)`, and may be called at any time by any thread.
    unsafe { mi_collect(false) }
}

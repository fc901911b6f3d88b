//! The `weft-proxy` command; everything is in the library.

/// A request makes and frees some dozens of small pieces of memory: an eighth of its cost by glibc's allocator, half of that
/// by this one (`docs/performance.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    weft_proxy::run()
}

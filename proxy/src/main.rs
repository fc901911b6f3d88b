//! The `weft-proxy` command; everything is in the library.

/// A request makes and frees dozens of small pieces of memory: 5 to 16 % of its cost with glibc's allocator, and little with
/// this one (`docs/performance.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    weft_proxy::run()
}

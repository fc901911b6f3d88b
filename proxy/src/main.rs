//! The `weft-proxy` command; everything is in the library.

fn main() -> anyhow::Result<()> {
    weft_proxy::run()
}

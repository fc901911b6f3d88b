//! Where the mesh's own programs are.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// The path of `program`: what the environment variable `variable` says, or else beside the running program (or one
/// folder up, for tests in `target/PROFILE/deps`).
pub(super) fn find(program: &str, variable: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable).map(PathBuf::from) {
        match path.is_file() {
            true => return Ok(path),
            false => bail!("{variable}={} is not a file", path.display()),
        }
    }
    let own = std::env::current_exe().context("cannot find the running program's own path")?;
    let near: Vec<PathBuf> = own.ancestors().skip(1).take(2).map(|folder| folder.join(program)).collect();
    near.iter().find(|path| path.is_file()).cloned().with_context(|| {
        let folders: Vec<String> = near.iter().filter_map(|path| Some(path.parent()?.display().to_string())).collect();
        format!(
            "there is no {program} in {}; build it with `cargo build --bins` (the same profile), or name it in {variable}",
            folders.join(" or ")
        )
    })
}

//! The folder that the control plane keeps its own state in.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use weft_certs::authority::Authority;
use weft_certs::spiffe::TrustDomain;

use super::StartError;

/// The folder of `WEFT_STATE_DIR`; without it one that goes with us.
pub(super) enum StateFolder {
    /// It outlives restarts.
    Kept(PathBuf),
    /// It does not.
    Temporary(TempDir),
}

impl StateFolder {
    /// Makes it where it is missing.
    pub(super) fn open(dir: Option<&Path>) -> Result<Self, StartError> {
        match dir {
            Some(dir) => std::fs::create_dir_all(dir).map_err(failed(dir)).map(|()| Self::Kept(dir.to_owned())),
            None => tempfile::tempdir().map_err(failed(&std::env::temp_dir())).map(Self::Temporary),
        }
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Kept(dir) => dir,
            Self::Temporary(dir) => dir.path(),
        }
    }

    /// The CA of this folder; what proxies are to know it by is written beside it.
    pub(super) fn authority(&self, trust_domain: &TrustDomain) -> Result<Authority, StartError> {
        let authority = Authority::load_or_create(&self.path().join("ca"), trust_domain)?;
        let path = self.path().join("trust-bundle.pem");
        write_public(self.path(), &path, authority.bundle().to_pem().as_bytes()).map_err(failed(&path))?;
        Ok(authority)
    }
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> StartError + use<> {
    let path = path.to_owned();
    move |source| StartError::State { path, source }
}

/// Writes a file that everybody may read, so that readers find the old or the new one.
fn write_public(dir: &Path, path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    let temporary = dir.join(".trust-bundle.pem.new");
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(content)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

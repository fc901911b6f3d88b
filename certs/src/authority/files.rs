//! The CA's files: created once, then only read.

use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Authority;
use super::pem::{self, Named, fault};
use crate::spiffe::TrustDomain;

/// Why the CA can't be loaded or created. Each names the file.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file can't be read or written.
    #[error("can't {action} {}", path.display())]
    Io {
        /// `read`, `write`, ...
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The cryptographic library failed to make a key or a certificate.
    #[error("making the CA's keys and certificates failed")]
    Crypto(#[from] rcgen::Error),
}

pub(super) fn load_or_create(dir: &Path, domain: &TrustDomain, now: SystemTime) -> Result<Authority, AuthorityError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_error("create the folder", dir))?;
    let files = Files::of(dir);
    if read(&files.root_crt)?.is_none() {
        if read(&files.issuer_crt)?.is_some() {
            return Err(fault(
                &files.root_crt,
                "it is missing, but issuer.crt exists; bring back the root certificate",
            ));
        }
        files.create_root(domain, now)?;
    }
    if read(&files.issuer_crt)?.is_none() {
        files.create_issuer(domain, now)?;
    }
    files.load(domain, now)
}

struct Files {
    root_crt: PathBuf,
    root_key: PathBuf,
    issuer_crt: PathBuf,
    issuer_key: PathBuf,
}

impl Files {
    fn of(dir: &Path) -> Self {
        Self {
            root_crt: dir.join("root.crt"),
            root_key: dir.join("root.key"),
            issuer_crt: dir.join("issuer.crt"),
            issuer_key: dir.join("issuer.key"),
        }
    }

    fn create_root(&self, domain: &TrustDomain, now: SystemTime) -> Result<(), AuthorityError> {
        let (certificate, key) = pem::create_root(domain, now)?;
        write(&self.root_key, &key)?;
        write(&self.root_crt, &certificate)?;
        tracing::info!(file = %self.root_crt.display(), trust_domain = %domain, "created a root CA");
        Ok(())
    }

    fn create_issuer(&self, domain: &TrustDomain, now: SystemTime) -> Result<(), AuthorityError> {
        let Some(text) = read(&self.root_key)? else {
            return Err(fault(&self.root_key, "it is missing and there is no issuer.crt, so nothing can sign"));
        };
        let root_key = Named { name: self.root_key.clone(), text };
        let (certificate, key) = pem::create_issuer(&read_some(&self.root_crt)?, &root_key, domain, now)?;
        write(&self.issuer_key, &key)?;
        write(&self.issuer_crt, &certificate)?;
        tracing::info!(file = %self.issuer_crt.display(), "the root signed a new issuer");
        Ok(())
    }

    fn load(&self, domain: &TrustDomain, now: SystemTime) -> Result<Authority, AuthorityError> {
        let (root, issuer) = (read_some(&self.root_crt)?, read_some(&self.issuer_crt)?);
        let Some(text) = read(&self.issuer_key)? else {
            return Err(fault(&self.issuer_key, "it is missing; issuer.crt is of no use without its key"));
        };
        pem::load(&root, &issuer, &Named { name: self.issuer_key.clone(), text }, domain, now)
    }
}

fn read_some(path: &Path) -> Result<Named, AuthorityError> {
    let text = read(path)?.ok_or_else(|| fault(path, "it is missing"))?;
    Ok(Named { name: path.to_owned(), text })
}

fn read(path: &Path) -> Result<Option<String>, AuthorityError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(io_error("read", path)(cause)),
    }
}

/// Writes a file 0600 so that after a crash there is either all of it or none.
fn write(path: &Path, content: &str) -> Result<(), AuthorityError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let attempt = || -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(".tmp-")
            .permissions(std::fs::Permissions::from_mode(0o600))
            .tempfile_in(dir)?;
        file.write_all(content.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        std::fs::File::open(dir)?.sync_all()
    };
    attempt().map_err(io_error("write", path))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AuthorityError {
    let path = path.to_owned();
    move |source| AuthorityError::Io { action, path, source }
}

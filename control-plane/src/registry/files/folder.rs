//! The files of a folder: which of them changed, and what the whole says.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::state::{FileState, merge};
use crate::mesh::Manifests;
use crate::registry::{Fault, Origins, Severity};

/// The largest file that is read.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// How deep folders are followed.
const MAX_DEPTH: usize = 16;
/// A file that changed so shortly before it was read may change again without its time stamp doing so.
const SETTLED: Duration = Duration::from_secs(1);

/// A folder and what was read from it.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    /// By path relative to the folder.
    files: BTreeMap<String, File>,
    /// The folders below that could not be listed.
    unlisted: Vec<Fault>,
    manifests: Manifests,
    faults: Vec<Fault>,
}

#[derive(Debug)]
struct File {
    stamp: Option<Stamp>,
    state: FileState,
}

/// By what a file that changed is told from one that did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

impl Folder {
    pub(super) fn new(dir: PathBuf) -> Self {
        let (unlisted, faults) = (Vec::new(), Vec::new());
        Self { dir, files: BTreeMap::new(), unlisted, manifests: Manifests::default(), faults }
    }

    /// Reads what changed since the last time.
    ///
    /// # Errors
    /// When the folder itself cannot be listed; all stays as it was.
    pub(super) fn read(&mut self) -> io::Result<()> {
        let mut unlisted = Vec::new();
        let mut paths = BTreeMap::new();
        list(&self.dir, "", 0, &mut paths, &mut unlisted)?;
        let mut old = std::mem::take(&mut self.files);
        let mut changed = unlisted != self.unlisted;
        for (name, path) in paths {
            let stamp = fs::metadata(&path).ok().and_then(|metadata| Stamp::of(&metadata));
            let file = match old.remove(&name) {
                Some(same) if stamp.is_some() && stamp == same.stamp => same,
                before => {
                    changed = true;
                    File { stamp, state: read_file(&name, &path, before.map(|file| file.state).unwrap_or_default()) }
                }
            };
            self.files.insert(name, file);
        }
        let known = old.len();
        // Of a folder that could not be listed nobody knows which files are gone.
        old.retain(|name, _| unlisted.iter().any(|fault| Path::new(name).starts_with(&fault.file)));
        changed |= old.len() < known;
        self.files.append(&mut old);
        self.unlisted = unlisted;
        if changed {
            (self.manifests, self.faults) = merge(self.files.iter().map(|(name, file)| (name.as_str(), &file.state)));
            self.faults.extend(self.unlisted.iter().cloned());
            self.faults.sort();
        }
        Ok(())
    }

    pub(super) fn manifests(&self) -> Manifests {
        self.manifests.clone()
    }

    /// Where each object is. Of two of one name the first counts, which is the one in force.
    pub(super) fn origins(&self) -> Origins {
        let mut origins = Origins::new();
        for (file, read) in &self.files {
            for (object, line) in read.state.origins() {
                origins.entry(object).or_insert_with(|| (file.clone(), line));
            }
        }
        origins
    }

    pub(super) fn faults(&self) -> Vec<Fault> {
        self.faults.clone()
    }
}

/// Finds the manifests in a folder and below. Hidden names are left out: editors, and volumes of a ConfigMap, keep their
/// own files under such.
fn list(
    dir: &Path,
    prefix: &str,
    depth: usize,
    found: &mut BTreeMap<String, PathBuf>,
    unlisted: &mut Vec<Fault>,
) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let (path, name) = (entry.path(), format!("{prefix}{name}"));
        if entry.file_type()?.is_dir() {
            let below = match depth {
                MAX_DEPTH.. => Err(io::Error::other(format!("it is more than {MAX_DEPTH} folders deep"))),
                _ => list(&path, &format!("{name}/"), depth + 1, found, unlisted),
            };
            if let Err(error) = below {
                unlisted.push(fault(&name, format!("the folder cannot be listed: {error}")));
            }
        } else if is_manifest(&path) {
            found.insert(name, path);
        }
    }
    Ok(())
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "json")
}

fn read_file(name: &str, path: &Path, old: FileState) -> FileState {
    match read_text(path) {
        Ok(text) => FileState::read(name, &text, &old),
        Err(error) => FileState::unreadable(fault(name, format!("the file cannot be read: {error}")), old),
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let length = fs::metadata(path)?.len();
    if length > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("it has {length} bytes, more than {MAX_FILE_BYTES}")));
    }
    fs::read_to_string(path)
}

fn fault(file: &str, message: String) -> Fault {
    Fault { file: file.to_owned(), line: 0, field: String::new(), message, severity: Severity::Error, object: None }
}

impl Stamp {
    /// `None` where the file changed so lately that its stamp doesn't tell yet.
    fn of(metadata: &Metadata) -> Option<Self> {
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let settled = now.checked_sub(SETTLED)?;
        let since = Duration::new(u64::try_from(changed.0).ok()?, u32::try_from(changed.1).ok()?);
        (since < settled).then_some(Self { inode: metadata.ino(), length: metadata.len(), changed })
    }
}

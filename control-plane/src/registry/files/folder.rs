//! The files of a folder: which of them changed, and what the whole says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::hash::{Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::state::{FileState, Merged};
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
    /// The manifests, by path relative to the folder.
    files: BTreeMap<String, Seen>,
    /// The folders below that could not be listed.
    unlisted: Vec<Fault>,
    merged: Merged,
}

/// By what a file that changed is told from one that did not.
#[derive(Debug)]
struct Seen {
    /// `None`: its content has to be looked at.
    stamp: Option<Stamp>,
    /// Of its content; `None`: it could not be read.
    digest: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

impl Folder {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, files: BTreeMap::new(), unlisted: Vec::new(), merged: Merged::default() }
    }

    /// Reads what changed since the last time.
    ///
    /// # Errors
    /// When the folder itself cannot be listed; all stays as it was.
    pub(super) fn read(&mut self) -> io::Result<()> {
        let mut unlisted = Vec::new();
        let mut paths = BTreeMap::new();
        list(&self.dir, "", 0, &mut paths, &mut unlisted)?;
        // Of a folder that could not be listed nobody knows which files are gone.
        let is_gone = |name: &str| {
            !paths.contains_key(name) && !unlisted.iter().any(|fault| Path::new(name).starts_with(&fault.file))
        };
        let gone: Vec<_> = self.files.keys().filter(|name| is_gone(name)).cloned().collect();
        gone.iter().for_each(|name| self.remove(name));
        paths.iter().for_each(|(name, path)| self.read_file(name, path));
        self.unlisted = unlisted;
        Ok(())
    }

    /// Reads these files, of which it is known that they changed, came or went, where they are nothing but manifests in
    /// folders that are known; else all that changed.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(super) fn read_files(&mut self, paths: &BTreeSet<PathBuf>) -> io::Result<()> {
        let Some(named) = paths.iter().map(|path| Some((self.name(path)?, path))).collect::<Option<Vec<_>>>() else {
            return self.read();
        };
        for (name, path) in named {
            match fs::symlink_metadata(path) {
                Ok(metadata) if metadata.is_file() => self.read_file(&name, path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.remove(&name),
                _ => return self.read(),
            }
        }
        Ok(())
    }

    /// The name of a manifest, relative to the folder; `None`: a path that may stand for something else, too.
    fn name(&self, path: &Path) -> Option<String> {
        let name = path.strip_prefix(&self.dir).ok()?;
        let parts: Vec<_> = name.iter().map(|part| part.to_str()).collect::<Option<_>>()?;
        let is_plain = parts.len() <= MAX_DEPTH && parts.iter().all(|part| !part.starts_with('.'));
        (is_plain && is_manifest(path)).then(|| parts.join("/"))
    }

    fn read_file(&mut self, name: &str, path: &Path) {
        let stamp = fs::metadata(path).ok().and_then(|metadata| Stamp::of(&metadata));
        let seen = self.files.get(name);
        if stamp.is_some() && seen.is_some_and(|seen| seen.stamp == stamp) {
            return;
        }
        let text = read_text(path);
        let digest = text.as_ref().ok().map(|text| digest(text));
        let is_same = digest.is_some() && seen.is_some_and(|seen| seen.digest == digest);
        self.files.insert(name.to_owned(), Seen { stamp, digest });
        if is_same {
            return;
        }
        let none = FileState::default();
        let old = self.merged.file(name).unwrap_or(&none);
        let state = match text {
            Ok(text) => FileState::read(name, &text, old),
            Err(error) => FileState::unreadable(fault(name, format!("the file cannot be read: {error}")), old),
        };
        self.merged.put(name, state);
    }

    fn remove(&mut self, name: &str) {
        self.files.remove(name);
        self.merged.remove(name);
    }

    pub(super) fn manifests(&self) -> Manifests {
        self.merged.manifests().clone()
    }

    /// Where each object is. Of two of one name the first counts, which is the one in force.
    pub(super) fn origins(&self) -> Origins {
        self.merged.origins().clone()
    }

    /// What is wrong, ordered by file and line.
    pub(super) fn faults(&mut self) -> Vec<Fault> {
        let mut faults = self.merged.faults();
        faults.extend(self.unlisted.iter().cloned());
        faults.sort();
        faults
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

fn read_text(path: &Path) -> io::Result<String> {
    let length = fs::metadata(path)?.len();
    if length > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("it has {length} bytes, more than {MAX_FILE_BYTES}")));
    }
    fs::read_to_string(path)
}

/// Tells two states of a file apart, not friend from foe.
fn digest(text: &str) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
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

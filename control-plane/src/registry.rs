//! Where the mesh's truth comes from.
//!
//! ```text
//! files (a folder, watched) ─> document (YAML or JSON, with lines) ─> value ─> manifest (checked, compact) ─> mesh::Manifests
//!                                                                             └─> faults (file, line, field, message)
//! ```
//!
//! What is wrong is reported and left out by itself: all else applies, and the last good state of what is now wrong
//! stays in force.

mod decode;
mod document;
mod fault;
pub mod files;
mod manifest;
#[cfg(test)]
pub(crate) mod testing;

pub use fault::{Fault, Severity};
pub use files::FilesRegistry;

/// Where objects are written: by kind and name, such as `HTTPRoute shop/api`, the file and the line, from 1.
pub type Origins = std::collections::BTreeMap<String, (String, u32)>;

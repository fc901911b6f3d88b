//! Long streams that can be checked cheaply: a random block, over and over.

use bytes::Bytes;

const BLOCK: usize = 256 * 1024;

/// A stream of bytes that both ends know, without end.
#[derive(Clone, Debug)]
pub struct Pattern {
    block: Bytes,
    at: usize,
}

impl Pattern {
    /// At the start of a stream that differs from all others.
    pub fn new() -> Self {
        Self { block: (0..BLOCK / 16).flat_map(|_| rand::random::<u128>().to_le_bytes()).collect(), at: 0 }
    }

    /// The next bytes, at most `most`.
    pub fn next(&mut self, most: u64) -> Bytes {
        let end = BLOCK.min(self.at.saturating_add(usize::try_from(most).unwrap_or(BLOCK)));
        let bytes = self.block.slice(self.at..end);
        self.at = end % BLOCK;
        bytes
    }

    /// Whether `bytes` are what comes next; goes past them.
    #[must_use]
    pub fn continues_with(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let expected = self.next(bytes.len() as u64);
            let (head, tail) = bytes.split_at(expected.len());
            if head != expected {
                return false;
            }
            bytes = tail;
        }
        true
    }
}

impl Default for Pattern {
    fn default() -> Self {
        Self::new()
    }
}

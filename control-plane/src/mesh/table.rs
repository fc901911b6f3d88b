//! An ordered map that costs nothing to copy, and whose copies tell quickly where they differ.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// Entries of a chunk, at most; one that gets more is split in two.
const CHUNK: usize = 64;

/// Values by their keys, in the order of these: chunks of sorted entries. Copies share the chunks; a change copies the one
/// that it is in. So a snapshot costs nothing, a change costs a chunk, and two snapshots are compared by looking at the
/// chunks that they don't share.
pub struct Table<K, T> {
    /// None of them is empty.
    chunks: Arc<Vec<Chunk<K, T>>>,
}

type Chunk<K, T> = Arc<Vec<(K, Arc<T>)>>;

/// What two tables have for a key: not one and the same value.
#[derive(Debug)]
pub struct Difference<'a, K, T> {
    /// The key.
    pub key: &'a K,
    /// The value in the older table.
    pub old: Option<&'a Arc<T>>,
    /// The value in the newer one.
    pub new: Option<&'a Arc<T>>,
}

impl<K, T> Table<K, T> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// All entries, ordered by key.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &Arc<T>)> {
        self.chunks.iter().flat_map(|chunk| chunk.iter().map(|(key, value)| (key, value)))
    }

    /// All keys, ordered.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// All values, ordered by key.
    pub fn values(&self) -> impl Iterator<Item = &Arc<T>> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Ord, T> Table<K, T> {
    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&Arc<T>>
    where
        K: Borrow<Q>,
    {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        let (_, value) = chunk.get(place(chunk, key).ok()?)?;
        Some(value)
    }

    /// Whether there is such a key.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// The entries from a key on, which itself need not be there.
    pub fn range_from<'a, Q: Ord + ?Sized>(&'a self, key: &'a Q) -> impl Iterator<Item = (&'a K, &'a Arc<T>)>
    where
        K: Borrow<Q>,
    {
        let chunks = self.chunks.get(self.chunk_of(key)..).unwrap_or_default();
        let entries = chunks.iter().flat_map(|chunk| chunk.iter().map(|(key, value)| (key, value)));
        entries.skip_while(move |(known, _)| (*known).borrow() < key)
    }

    /// Where an older table and this one have not one and the same value, ordered by key.
    pub fn differences<'a>(&'a self, old: &'a Self) -> impl Iterator<Item = Difference<'a, K, T>> {
        let both = match Arc::ptr_eq(&old.chunks, &self.chunks) {
            true => (Cursor::default(), Cursor::default()),
            false => (Cursor::of(old), Cursor::of(self)),
        };
        Differences { old: both.0, new: both.1 }
    }

    /// The first chunk whose last key is not before this one: where it is, if it is anywhere.
    fn chunk_of<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        self.chunks.partition_point(|chunk| chunk.last().is_some_and(|(last, _)| last.borrow() < key))
    }
}

impl<K: Ord + Clone, T> Table<K, T> {
    /// Puts a value in. Returns the one that had the key before.
    pub fn insert(&mut self, key: K, value: Arc<T>) -> Option<Arc<T>> {
        if let Some(same) = self.get(&key).filter(|known| Arc::ptr_eq(known, &value)) {
            return Some(Arc::clone(same));
        }
        // What comes after all that is there goes to the last chunk.
        let at = self.chunk_of(&key).min(self.chunks.len().saturating_sub(1));
        let chunks = Arc::make_mut(&mut self.chunks);
        let Some(chunk) = chunks.get_mut(at).map(Arc::make_mut) else {
            chunks.push(Arc::new(vec![(key, value)]));
            return None;
        };
        match place(chunk, &key) {
            Ok(place) => chunk.get_mut(place).map(|(_, known)| std::mem::replace(known, value)),
            Err(place) => {
                chunk.insert(place, (key, value));
                if chunk.len() > CHUNK {
                    let rest = chunk.split_off(chunk.len() / 2);
                    chunks.insert(at + 1, Arc::new(rest));
                }
                None
            }
        }
    }

    /// Takes a value out.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<Arc<T>>
    where
        K: Borrow<Q>,
    {
        let at = self.chunk_of(key);
        let place = place(self.chunks.get(at)?, key).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(chunks.get_mut(at)?);
        let (_, removed) = chunk.remove(place);
        if chunk.is_empty() {
            chunks.remove(at);
        }
        Some(removed)
    }
}

fn place<K: Borrow<Q>, T, Q: Ord + ?Sized>(chunk: &[(K, Arc<T>)], key: &Q) -> Result<usize, usize> {
    chunk.binary_search_by(|(known, _)| known.borrow().cmp(key))
}

/// The walk along two tables at once.
struct Differences<'a, K, T> {
    old: Cursor<'a, K, T>,
    new: Cursor<'a, K, T>,
}

impl<'a, K: Ord, T> Iterator for Differences<'a, K, T> {
    type Item = Difference<'a, K, T>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.old.is_shared_with(&self.new) {
                self.old.skip_chunk();
                self.new.skip_chunk();
                continue;
            }
            let order = match (self.old.peek(), self.new.peek()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((old, _)), Some((new, _))) => old.cmp(new),
            };
            let old = if order.is_le() { self.old.step() } else { None };
            let new = if order.is_ge() { self.new.step() } else { None };
            let (key, _) = old.or(new)?;
            let (old, new) = (old.map(|(_, value)| value), new.map(|(_, value)| value));
            if old.map(Arc::as_ptr) != new.map(Arc::as_ptr) {
                return Some(Difference { key, old, new });
            }
        }
    }
}

/// A place in a table.
struct Cursor<'a, K, T> {
    /// The chunk that it is in, and those behind.
    chunks: &'a [Chunk<K, T>],
    at: usize,
}

impl<'a, K, T> Cursor<'a, K, T> {
    fn of(table: &'a Table<K, T>) -> Self {
        Self { chunks: &table.chunks, at: 0 }
    }

    fn peek(&self) -> Option<&'a (K, Arc<T>)> {
        self.chunks.first()?.get(self.at)
    }

    fn step(&mut self) -> Option<&'a (K, Arc<T>)> {
        let entry = self.peek();
        self.at += 1;
        if self.peek().is_none() {
            self.skip_chunk();
        }
        entry
    }

    fn skip_chunk(&mut self) {
        self.chunks = self.chunks.get(1..).unwrap_or_default();
        self.at = 0;
    }

    /// Whether both are at the beginning of one and the same chunk.
    fn is_shared_with(&self, other: &Self) -> bool {
        let chunks = self.chunks.first().zip(other.chunks.first());
        self.at == 0 && other.at == 0 && chunks.is_some_and(|(one, other)| Arc::ptr_eq(one, other))
    }
}

impl<K, T> Default for Cursor<'_, K, T> {
    fn default() -> Self {
        Self { chunks: &[], at: 0 }
    }
}

impl<K, T> Default for Table<K, T> {
    fn default() -> Self {
        Self { chunks: Arc::default() }
    }
}

impl<K, T> Clone for Table<K, T> {
    fn clone(&self) -> Self {
        Self { chunks: Arc::clone(&self.chunks) }
    }
}

impl<K: fmt::Debug, T: fmt::Debug> fmt::Debug for Table<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The same keys with equal values; what is shared is not looked at.
impl<K: Ord, T: PartialEq> PartialEq for Table<K, T> {
    fn eq(&self, other: &Self) -> bool {
        self.differences(other).all(|difference| difference.old == difference.new)
    }
}

impl<K: Ord + Clone, T> FromIterator<(K, Arc<T>)> for Table<K, T> {
    fn from_iter<I: IntoIterator<Item = (K, Arc<T>)>>(entries: I) -> Self {
        let mut table = Self::default();
        table.extend(entries);
        table
    }
}

impl<K: Ord + Clone, T> Extend<(K, Arc<T>)> for Table<K, T> {
    fn extend<I: IntoIterator<Item = (K, Arc<T>)>>(&mut self, entries: I) {
        entries.into_iter().for_each(|(key, value)| drop(self.insert(key, value)));
    }
}

#[cfg(test)]
mod tests;

//! Objects by a key that several of them may have.

use std::cmp::Ordering;
use std::sync::Arc;

use super::table::Table;

/// For each key the objects that have it, the first of which comes before the others.
#[derive(Debug)]
pub(super) struct Lists<K, T>(Table<K, Vec<Arc<T>>>);

/// In which order objects with the same key are listed. Two that are equal in this are one object, in two states.
pub(super) trait Ranked {
    fn rank(&self, other: &Self) -> Ordering;
}

impl<K: Ord + Clone, T: Ranked> Lists<K, T> {
    /// The objects that have a key.
    pub(super) fn of(&self, key: &K) -> &[Arc<T>] {
        self.0.get(key).map_or(&[], |list| list.as_slice())
    }

    /// The one that comes before the others.
    pub(super) fn first(&self, key: &K) -> Option<&Arc<T>> {
        self.of(key).first()
    }

    /// All keys with what has each, ordered by key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &[Arc<T>])> {
        self.0.iter().map(|(key, list)| (key, list.as_slice()))
    }

    /// Follows a table of objects from an older state to a newer one. `keys` are an object's; one may be there twice.
    pub(super) fn follow<N: Ord>(&mut self, old: &Table<N, T>, new: &Table<N, T>, keys: impl Fn(&T) -> Vec<K>) {
        for difference in new.differences(old) {
            if let Some(old) = difference.old {
                keys(old).iter().for_each(|key| self.take(key, old));
            }
            if let Some(new) = difference.new {
                keys(new).into_iter().for_each(|key| self.put(key, new));
            }
        }
    }

    fn put(&mut self, key: K, object: &Arc<T>) {
        let mut list = self.of(&key).to_vec();
        match list.binary_search_by(|known| known.rank(object)) {
            Ok(at) => list.get_mut(at).into_iter().for_each(|known| known.clone_from(object)),
            Err(at) => list.insert(at, Arc::clone(object)),
        }
        self.0.insert(key, Arc::new(list));
    }

    fn take(&mut self, key: &K, object: &T) {
        let rest: Vec<_> = self.of(key).iter().filter(|known| known.rank(object).is_ne()).cloned().collect();
        match rest.is_empty() {
            true => drop(self.0.remove(key)),
            false => drop(self.0.insert(key.clone(), Arc::new(rest))),
        }
    }
}

impl<K, T> Default for Lists<K, T> {
    fn default() -> Self {
        Self(Table::default())
    }
}

impl<K, T> Clone for Lists<K, T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

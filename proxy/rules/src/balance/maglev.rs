//! A Maglev table (Eisenbud and others, NSDI 2016, 3.4): each endpoint has about the same number of entries, and a request's
//! hash is an entry's number. When an endpoint leaves, few of the others' entries change; a look-up takes constant time.

#[cfg(test)]
mod tests;

use crate::hash::mix;

/// The entries of a table: the paper's prime, and Envoy's default. Some hundred times the number of endpoints is enough.
const SIZE: u64 = 65_537;
/// An entry that no endpoint has taken yet.
const FREE: u32 = u32::MAX;
/// How many further entries are looked at, each anywhere, for an endpoint that is usable.
const FURTHER: u64 = 32;

/// A table; 256 KiB.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// The index of an endpoint for each remainder of a hash. Empty without endpoints.
    entries: Vec<u32>,
}

impl Table {
    /// Fills a table with endpoints, told by their [hash](crate::hash::hash_address) and weight. One of weight 0 gets no
    /// entry.
    ///
    /// The same endpoints have the same entries in each proxy, in whatever order they are told. Takes some milliseconds.
    pub fn build(endpoints: &[(u64, u32)]) -> Self {
        let greatest = endpoints.iter().map(|(_, weight)| *weight).max().unwrap_or(0);
        let mut placed: Vec<Walk> = (0..FREE)
            .zip(endpoints)
            .filter(|(_, (_, weight))| *weight > 0)
            .map(|(index, (hash, weight))| Walk::new(index, *hash, *weight))
            .collect();
        placed.sort_unstable_by_key(|walk| (walk.hash, walk.weight));
        if placed.is_empty() {
            return Self::default();
        }
        let mut entries = vec![FREE; SIZE as usize];
        let mut free = SIZE;
        // In each round an endpoint takes one entry, or as often as its weight is to the greatest.
        for round in 1_u64.. {
            for walk in &mut placed {
                if walk.taken * u64::from(greatest) >= round * u64::from(walk.weight) {
                    continue;
                }
                walk.take(&mut entries);
                free -= 1;
                if free == 0 {
                    return Self { entries };
                }
            }
        }
        Self { entries }
    }

    /// The index of the endpoint for a request's hash; if that one is not `usable`, of one that is, the same for the same
    /// hash. `None` if none was found.
    pub fn pick(&self, hash: u64, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let entry = |hash: u64| self.entries.get((hash % SIZE) as usize).map(|index| *index as usize);
        let anywhere =
            (0..=FURTHER).filter_map(|number| entry(if number == 0 { hash } else { mix(hash.wrapping_add(number)) }));
        anywhere.into_iter().find(|index| usable(*index)).or_else(|| {
            // Few of many are usable: from the hash on, one by one.
            let start = (hash % SIZE) as usize;
            let (before, from) = self.entries.split_at_checked(start)?;
            from.iter().chain(before).map(|index| *index as usize).find(|index| usable(*index))
        })
    }
}

/// An endpoint's way through the table: a permutation of all entries.
struct Walk {
    index: u32,
    hash: u64,
    weight: u32,
    at: u64,
    skip: u64,
    /// How many entries it has.
    taken: u64,
}

impl Walk {
    fn new(index: u32, hash: u64, weight: u32) -> Self {
        // The size is prime, so any step below it but 0 comes past all entries.
        Self { index, hash, weight, at: mix(hash ^ 1) % SIZE, skip: mix(hash ^ 2) % (SIZE - 1) + 1, taken: 0 }
    }

    /// Takes the next free entry of its way. There must be one.
    fn take(&mut self, entries: &mut [u32]) {
        while let Some(entry) = entries.get_mut(self.at as usize) {
            self.at = (self.at + self.skip) % SIZE;
            if *entry == FREE {
                *entry = self.index;
                self.taken += 1;
                return;
            }
        }
    }
}

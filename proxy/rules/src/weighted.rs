//! A choice among weighted items.

#[cfg(test)]
mod tests;

/// Items with weights, at least one of which is not zero.
///
/// The shares are the weights divided by their sum; an item of weight zero is listed and never picked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weighted<T> {
    items: Vec<Item<T>>,
    /// The sum of all weights; at least 1.
    total: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Item<T> {
    value: T,
    weight: u32,
    /// The sum of the weights up to and including this one.
    up_to: u64,
}

/// Why a set of weights cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeightError {
    /// There is nothing to choose from.
    #[error("there are no backends to choose from; name at least one")]
    Empty,
    /// No item could ever be picked.
    #[error("the weights of all {count} backends are 0; give at least one of them a weight")]
    AllZero {
        /// How many items there are.
        count: usize,
    },
}

impl<T> Weighted<T> {
    /// Takes items with their weights.
    ///
    /// # Errors
    /// When there is no item, or none with a weight above zero.
    pub fn new(weights: Vec<(T, u32)>) -> Result<Self, WeightError> {
        if weights.is_empty() {
            return Err(WeightError::Empty);
        }
        let mut total = 0_u64;
        let items: Vec<Item<T>> = weights
            .into_iter()
            .map(|(value, weight)| {
                total += u64::from(weight);
                Item { value, weight, up_to: total }
            })
            .collect();
        if total == 0 {
            return Err(WeightError::AllZero { count: items.len() });
        }
        Ok(Self { items, total })
    }

    /// Everything to one item.
    pub fn single(value: T) -> Self {
        Self { items: vec![Item { value, weight: 1, up_to: 1 }], total: 1 }
    }

    /// The item that a uniformly distributed `random` falls on. O(log n).
    pub fn pick(&self, random: u64) -> &T {
        // Scales 0..2^64 to 0..total without a division; the bias is below total / 2^64.
        let point = ((u128::from(random) * u128::from(self.total)) >> 64) as u64;
        let index = self.items.partition_point(|item| item.up_to <= point);
        // `point < total`, which is the last `up_to`: there always is such an item.
        #[allow(clippy::indexing_slicing)]
        &self.items[index].value
    }

    /// The same weights over other items.
    pub fn map<U>(&self, mut to: impl FnMut(&T) -> U) -> Weighted<U> {
        let items = self.items.iter();
        let items = items.map(|item| Item { value: to(&item.value), weight: item.weight, up_to: item.up_to });
        Weighted { items: items.collect(), total: self.total }
    }

    /// All items with their weights, in the order given, those of weight zero included.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&T, u32)> {
        self.items.iter().map(|item| (&item.value, item.weight))
    }
}

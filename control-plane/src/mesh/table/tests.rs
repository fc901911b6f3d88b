use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Plain = BTreeMap<u16, Arc<u32>>;

/// Insertions, and with `None` removals.
fn edits() -> impl Strategy<Value = Vec<(u16, Option<u32>)>> {
    prop::collection::vec((0u16..400, prop::option::weighted(0.7, any::<u32>())), 0..600)
}

fn apply(edits: &[(u16, Option<u32>)], table: &mut Table<u16, u32>, plain: &mut Plain) {
    for (key, value) in edits {
        match value {
            Some(value) => {
                let value = Arc::new(*value);
                assert_eq!(table.insert(*key, Arc::clone(&value)), plain.insert(*key, value));
            }
            None => assert_eq!(table.remove(key), plain.remove(key)),
        }
    }
}

proptest! {
    #[test]
    fn it_is_what_a_plain_map_is(first in edits(), second in edits()) {
        let (mut table, mut plain) = (Table::default(), Plain::new());
        apply(&first, &mut table, &mut plain);
        let (old, old_plain) = (table.clone(), plain.clone());
        apply(&second, &mut table, &mut plain);
        for (table, plain) in [(&old, &old_plain), (&table, &plain)] {
            prop_assert!(table.iter().eq(plain.iter()));
            prop_assert_eq!((table.len(), table.is_empty()), (plain.len(), plain.is_empty()));
            for key in [0, 17, 200, 399] {
                prop_assert_eq!(table.get(&key), plain.get(&key));
                prop_assert!(table.range_from(&key).eq(plain.range(key..)));
            }
        }
        let keys = old_plain.keys().chain(plain.keys()).collect::<std::collections::BTreeSet<_>>();
        let differ = keys.into_iter().filter(|key| {
            old_plain.get(key).map(Arc::as_ptr) != plain.get(key).map(Arc::as_ptr)
        });
        let expected: Vec<_> = differ.map(|key| (*key, old_plain.get(key), plain.get(key))).collect();
        let found: Vec<_> = table.differences(&old).map(|found| (*found.key, found.old, found.new)).collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(table == old, plain == old_plain);
    }
}

#[test]
fn a_change_copies_one_chunk() {
    let entry = |number: u16| (number, Arc::new(u32::from(number)));
    let old: Table<_, _> = (0..10_000).map(entry).collect();
    let mut new = old.clone();
    new.insert(5_000, Arc::new(1));
    let shared = old.chunks.iter().zip(new.chunks.iter()).filter(|(old, new)| Arc::ptr_eq(old, new)).count();
    assert_eq!(shared, old.chunks.len() - 1);
    // The same value again copies nothing.
    let mut same = new.clone();
    same.insert(5_000, Arc::clone(new.get(&5_000).unwrap()));
    assert!(Arc::ptr_eq(&same.chunks, &new.chunks));
}

use super::*;

fn of(values: &[u64], q: f64) -> u64 {
    let values: Vec<_> = values.iter().map(|value| Duration::from_secs(*value)).collect();
    quantile(&values, q).as_secs()
}

#[test]
fn nearest_ranks() {
    let hundred: Vec<u64> = (1..=100).rev().collect();
    assert_eq!([0.0, 0.5, 0.99, 1.0].map(|q| of(&hundred, q)), [1, 50, 99, 100]);
    assert_eq!([0.0, 0.5, 0.99].map(|q| of(&[7], q)), [7, 7, 7]);
    assert_eq!(of(&[1, 2, 3, 4], 0.5), 2);
    assert_eq!(of(&[], 0.5), 0);
}

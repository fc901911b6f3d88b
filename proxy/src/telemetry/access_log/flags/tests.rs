use super::*;

#[test]
fn flags_are_shown_in_a_fixed_order() {
    let mut flags = Flags::default();
    assert!(flags.is_empty());
    flags.set(Flag::RetriesExhausted);
    flags.set(Flag::ConnectionFailure);
    assert!(!flags.is_empty());
    assert_eq!(flags.to_string(), "UF,URX");
}

#[test]
fn all_flags_are_listed_once() {
    let mut all = Flags::default();
    for (place, flag) in Flag::ALL.into_iter().enumerate() {
        assert_eq!(flag as usize, place);
        all.set(flag);
    }
    assert_eq!(all.to_string().split(',').count(), Flag::ALL.len());
}

//! The withdrawal list, and snapshots in parts.

use super::*;

#[test]
fn the_withdrawal_list_is_taken_once_and_never_goes_back() {
    use RegistryTopic::Withdrawn;
    let mut desk = at(4);
    let list = |number, names: &[&str]| token("withdrawn", number, list(number, names));
    assert_eq!(obey(&mut desk, Withdrawn, &list(4, &["a"])), "withdrawn a");
    assert_eq!(desk.standing().list, Some(4));
    assert_eq!(obey(&mut desk, Withdrawn, &list(4, &["a"])), "Known");
    assert_eq!(obey(&mut desk, Withdrawn, &list(3, &[])), "replayed");
    assert_eq!(desk.wanted(), None);
    assert_eq!(obey(&mut desk, Withdrawn, &list(7, &["a", "b"])), "withdrawn a b");
    assert_eq!(desk.wanted(), Some(Wanted { have: 4, need: 7 }), "as of 7 there is more");
    // After a start it is looked at again: somebody may have enrolled by hand who is on it.
    let mut desk = self::desk(desk.standing());
    assert_eq!(obey(&mut desk, Withdraw, &token("withdraw", 5, names(&["c"]))), "withdraw c");
    assert_eq!(obey(&mut desk, Withdrawn, &list(7, &["a", "b"])), "withdrawn a b");
    assert_eq!(obey(&mut desk, Withdrawn, &list(7, &["a", "b"])), "Known");
    let odd = token("withdrawn", 9, self::list(8, &["a"]));
    assert_eq!(obey(&mut desk, Withdrawn, &odd), "body");
}

#[test]
fn an_old_list_that_was_carried_out_may_be_over_its_time() {
    let mut desk = desk(Standing { list: Some(4), last: 4, ..Standing::default() });
    let mut claims = claims("withdrawn", 4, list(4, &["a"]));
    claims["exp"] = 1.into();
    let token = sign(&header(), claims.to_string().as_bytes(), 1);
    assert_eq!(obey(&mut desk, RegistryTopic::Withdrawn, &token), "Known");
    claims["num"] = 5.into();
    claims["body"]["number"] = 5.into();
    let token = sign(&header(), claims.to_string().as_bytes(), 1);
    assert_eq!(obey(&mut desk, RegistryTopic::Withdrawn, &token), "expired");
}

#[test]
fn an_entry_of_the_list_without_a_readable_time_is_withdrawn_for_good() {
    let body = json!({"withdrawn": [{"subject": "a", "since": "2026-06-01T00:00:00Z"},
                                    {"subject": "b", "since": "once"},
                                    {"subject": "", "since": "2026-06-01T00:00:00Z"}], "number": 4});
    let mut desk = at(4);
    let decision = judge(&mut desk, RegistryTopic::Withdrawn, &token("withdrawn", 4, body));
    let Decision::Accept(accepted) = decision else { panic!("{decision:?}") };
    assert_eq!(describe(&accepted), "withdrawn a b !b:time !?:name");
    let Task::Change(Change::Withdrawn(list)) = accepted.task else { panic!("another task") };
    assert_eq!(list[0].since, UnixTime::from_millis(1_780_272_000_000));
    assert_eq!(list[1].since, UnixTime::from_millis(i64::MAX));
}

#[test]
fn a_snapshot_in_parts_is_applied_as_a_whole() {
    let mut desk = at(4);
    let token = |n, names: &[&str]| token("snapshot", 9, part(n, 3, names));
    assert_eq!(obey(&mut desk, Snapshot, &token(2, &["b"])), "Part { missing: 2 }");
    assert_eq!(obey(&mut desk, Snapshot, &token(3, &["c", "a"])), "Part { missing: 1 }");
    assert_eq!(desk.standing().last, 4);
    assert_eq!(desk.wanted(), Some(Wanted { have: 4, need: 9 }));
    assert_eq!(obey(&mut desk, Snapshot, &token(1, &["a"])), "replace 9 a b c !a:named_twice");
    assert_eq!((desk.standing().last, desk.wanted()), (9, None));
}

#[test]
fn a_snapshot_that_is_overtaken_by_a_withdrawal_is_not_taken() {
    let mut desk = at(4);
    let first = token("snapshot", 9, part(1, 2, &["a"]));
    assert_eq!(obey(&mut desk, Snapshot, &first), "Part { missing: 1 }");
    assert_eq!(obey(&mut desk, Withdraw, &token("withdraw", 10, names(&["a"]))), "withdraw a");
    let second = token("snapshot", 9, part(2, 2, &["b"]));
    assert_eq!(obey(&mut desk, Snapshot, &second), "outdated");
    assert_eq!(desk.wanted(), Some(Wanted { have: 4, need: 10 }));
}

#[test]
fn parts_that_are_given_up_do_not_complete_a_snapshot() {
    let mut desk = at(4);
    obey(&mut desk, Snapshot, &token("snapshot", 9, part(1, 2, &["a"])));
    desk.give_snapshots_up();
    let second = token("snapshot", 9, part(2, 2, &["b"]));
    assert_eq!(obey(&mut desk, Snapshot, &second), "Part { missing: 1 }");
}

//! Penalties by a clock that is turned by hand.

use super::*;
use crate::access::{PublicKey, Secret, Transport};
use crate::base::ManualClock;
use proptest::prelude::*;

const KEYS: [&str; 2] = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHD+PDE+VUU6iQ8ePDq6hjx7qr/0msJYLkfwgVcbGfi4",
];

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn key(number: usize) -> Credentials {
    let key = PublicKey::from_openssh(KEYS[number]).expect("a key");
    Credentials::public_key(key, "git".to_owned(), "ssh-ed25519".to_owned(), Transport::in_memory())
}

fn password(user: &str) -> Credentials {
    Credentials::password(user, Secret::new("x"), Transport::in_memory())
}

fn penalties(change: impl FnOnce(&mut PenaltySettings)) -> (Penalties, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    let mut settings = PenaltySettings::default();
    change(&mut settings);
    (Penalties::new(settings, clock.clone()), clock)
}

/// So many failed logins from there; the penalty that began with one of them.
fn fail(penalties: &Penalties, from: IpAddr, count: usize) -> Option<u64> {
    (0..count).filter_map(|_| penalties.ended(from, Fault::AuthFailed)).last()
}

#[test]
fn the_third_failure_counts_and_the_penalty_passes() {
    let (penalties, clock) = penalties(|_| {});
    let (here, there) = (address("127.0.0.2"), address("127.0.0.3"));
    assert_eq!(fail(&penalties, here, 2), None);
    assert_eq!(penalties.judge(here, &key(0)), None);
    assert_eq!(fail(&penalties, here, 1), Some(15));
    let why = penalties.judge(here, &key(0)).expect("a penalty");
    assert_eq!(why, "127.0.0.2 has a penalty of 15 more seconds for failed logins");
    assert_eq!((penalties.of_strangers_at(here), penalties.of_strangers_at(there)), (Some(15), None));
    assert_eq!(penalties.judge(there, &key(0)), None);
    clock.advance_ms(14_999);
    assert!(penalties.judge(here, &key(0)).is_some_and(|why| why.contains("of 1 more")));
    clock.advance_ms(1);
    assert_eq!(penalties.judge(here, &key(0)), None);
}

#[test]
fn failures_far_apart_never_come_to_a_penalty() {
    let (penalties, clock) = penalties(|_| {});
    for _ in 0..100 {
        assert_eq!(fail(&penalties, address("127.0.0.2"), 1), None);
        clock.advance_ms(5_000);
    }
}

#[test]
fn what_got_in_from_there_before_is_heard_while_all_else_is_refused() {
    let (penalties, _) = penalties(|_| {});
    let (here, there) = (address("127.0.0.2"), address("127.0.0.3"));
    penalties.succeeded(here, &key(0));
    penalties.succeeded(there, &key(1));
    penalties.succeeded(here, &password("ann"));
    fail(&penalties, here, 3);
    assert_eq!((penalties.judge(here, &key(0)), penalties.judge(here, &password("ann"))), (None, None));
    assert!(penalties.judge(here, &key(1)).is_some() && penalties.judge(here, &password("bob")).is_some());
    let guess = Credentials::password("ann", Secret::new("y"), Transport::in_memory());
    assert!(penalties.judge(here, &guess).is_some(), "another password is another thing to show");
    assert!(penalties.judge(here, &password("ann")).is_some(), "after a guess the right one is not heard any more");
    assert_eq!(penalties.of_strangers_at(here), None, "a friend may come");
    // To show nothing is no merit.
    let nobody = Credentials::anonymous("anonymous", Transport::in_memory());
    penalties.succeeded(here, &nobody);
    assert!(penalties.judge(here, &nobody).is_some());
}

#[test]
fn who_goes_on_pays_double_until_the_most_and_later_begins_anew() {
    let (penalties, clock) = penalties(|settings| settings.max_s = 100);
    let here = address("127.0.0.2");
    let mut lasts = vec![];
    for _ in 0..6 {
        let begun = (0..3).find_map(|_| penalties.ended(here, Fault::AuthFailed)).expect("a penalty");
        lasts.push(begun);
        clock.advance_ms(begun * 1_000);
    }
    assert_eq!(lasts, [15, 20, 20, 40, 80, 100]);
    assert_eq!(fail(&penalties, here, 50), Some(100));
    assert!(penalties.judge(here, &key(0)).is_some_and(|why| why.contains("of 100 more")));
    clock.advance_ms(200_000);
    assert_eq!(fail(&penalties, here, 2), None);
    assert_eq!(fail(&penalties, here, 1), Some(15));
}

#[test]
fn faults_weigh_what_they_are_set_to() {
    let (penalties, _) = penalties(|settings| settings.exempt = vec!["10.0.0.0/8".to_owned()]);
    let until = |from: &str, fault| (1..100).find(|_| penalties.ended(address(from), fault).is_some());
    assert_eq!(until("127.0.0.1", Fault::NoAuth), Some(15));
    assert_eq!(until("127.0.0.2", Fault::GraceExceeded), Some(2));
    assert_eq!(until("10.1.2.3", Fault::AuthFailed), None);
    let (off, _) = self::penalties(|settings| settings.enabled = false);
    assert_eq!(fail(&off, address("127.0.0.1"), 100), None);
}

#[test]
fn wrong_passwords_are_on_account_of_their_user_from_wherever_they_come() {
    let (penalties, _) = penalties(|_| {});
    let home = address("192.0.2.7");
    penalties.succeeded(home, &password("ann"));
    let begun: Vec<_> = (1..=3).map(|n| penalties.wrong_password(address(&format!("198.51.100.{n}")), "ann")).collect();
    assert_eq!(begun, [None, None, Some(15)]);
    let why = penalties.judge(address("203.0.113.1"), &password("ann")).expect("a penalty");
    assert!(why.contains("this user"), "{why}");
    // Neither is she locked out where she was before, nor with a key, nor anybody else.
    assert_eq!(penalties.judge(home, &password("ann")), None);
    assert_eq!(penalties.judge(address("203.0.113.1"), &key(0)), None);
    assert_eq!(penalties.judge(address("203.0.113.1"), &password("bob")), None);
}

#[test]
fn a_network_counts_as_one_source() {
    let (penalties, _) = penalties(|settings| settings.ipv4_prefix = 24);
    fail(&penalties, address("192.0.2.1"), 3);
    fail(&penalties, address("2001:db8::1"), 3);
    for (text, is_penalised) in
        [("192.0.2.77", true), ("::ffff:192.0.2.3", true), ("192.0.3.1", false), ("2001:db8::ffff:1", true), ("2001:db8:0:1::1", false)]
    {
        assert_eq!(penalties.of_strangers_at(address(text)).is_some(), is_penalised, "{text}");
    }
    let all = PenaltySettings { ipv4_prefix: 0, ipv6_prefix: 0, ..PenaltySettings::default() };
    assert_eq!((all.source(address("192.0.2.1")), all.source(address("::1"))), (address("0.0.0.0"), address("::")));
}

#[test]
fn a_flood_of_addresses_fills_no_memory_and_frees_no_culprit() {
    let (penalties, clock) = penalties(|settings| settings.sources_max = 1_000);
    let culprit = address("127.0.0.2");
    assert!(fail(&penalties, culprit, 10).is_some());
    for n in 0..20_000_u128 {
        let from = IpAddr::from(Ipv6Addr::from_bits(n << 64));
        penalties.ended(from, Fault::AuthFailed);
        penalties.wrong_password(from, &n.to_string());
        penalties.succeeded(from, &key(0));
    }
    let inside = penalties.inside();
    for (entries, order) in [
        (inside.sources.entries.len(), inside.sources.by_end.len()),
        (inside.users.entries.len(), inside.users.by_end.len()),
        (inside.successes.entries.len(), inside.successes.by_time.len()),
        (inside.friends.entries.len(), inside.friends.by_time.len()),
    ] {
        assert_eq!((entries, order), (1_000, 1_000));
    }
    drop(inside);
    assert!(penalties.judge(culprit, &key(1)).is_some());
    clock.advance_ms(10_000_000);
    fail(&penalties, culprit, 1);
    assert_eq!(penalties.inside().sources.entries.len(), 1, "what has passed is forgotten");
}

#[test]
fn settings_that_mean_nothing_are_refused() {
    for (line, says) in [
        ("exempt = [\"10.0.0.1/8\"]", "no address and no network"),
        ("exempt = [\"office\"]", "no address and no network"),
        ("ipv4_prefix = 33", "at most 32"),
        ("ipv6_prefix = 129", "at most 128"),
        ("max_s = 0", "at least 1"),
        ("sources_max = 0", "at least 1"),
    ] {
        let refused = toml::from_str::<PenaltySettings>(line).expect_err(line).to_string();
        assert!(refused.contains(says), "{line}: {refused}");
    }
    let taken = toml::from_str::<PenaltySettings>("exempt = [\"10.0.0.0/8\", \"::1\"]\nmin_s = 0").expect("taken");
    assert_eq!(taken.exempt.len(), 2);
}

proptest! {
    /// Whatever happens, in whatever order: no penalty lasts longer than the most, and none counts below the least.
    #[test]
    fn penalties_stay_within_their_bounds(steps in proptest::collection::vec((0..3_u8, 0..3_usize, 0..40_000_u64), 1..200)) {
        let (penalties, clock) = penalties(|settings| { settings.max_s = 60; settings.sources_max = 2; });
        for (source, fault, pause_ms) in steps {
            clock.advance_ms(pause_ms);
            let from = IpAddr::from([127, 0, 0, source]);
            let begun = penalties.ended(from, [Fault::AuthFailed, Fault::NoAuth, Fault::GraceExceeded][fault]);
            prop_assert!(begun.is_none_or(|lasts| (15..=60).contains(&lasts)));
            prop_assert!(penalties.of_strangers_at(from).is_none_or(|left| left <= 60));
            let inside = penalties.inside();
            prop_assert!(inside.sources.entries.len() <= 2 && inside.sources.entries.len() == inside.sources.by_end.len());
        }
    }
}

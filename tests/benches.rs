//! The benches at work on a small repository, so that they cannot rot: every row must come to its end.

#![allow(clippy::duplicate_mod, reason = "each bench brings its own copy of what they share")]

#[path = "../benches/access.rs"]
mod access;
mod common;
#[path = "../benches/fetch.rs"]
mod fetch;
#[path = "../benches/logins.rs"]
mod logins;
#[path = "../benches/push.rs"]
mod push;
#[path = "../benches/serve.rs"]
mod serve;

use common::Sandbox;

#[test]
fn the_fetch_bench_measures_every_row() {
    let sandbox = Sandbox::new();
    let (repository, _) = sandbox.history("served/small.git", "sha1", 5, 150);
    sandbox.git(&repository, ["repack", "-adbq"]);
    assert!(fetch::run(&repository, 1) >= 8);
}

#[test]
fn the_access_bench_measures_every_row() {
    assert_eq!(access::run(&access::Options { rounds: 1, keys: 3_000, rules: 400, refs: 40 }), 6);
}

#[test]
fn the_serve_bench_measures_every_row() {
    if !common::server::has_ssh() {
        return;
    }
    let sandbox = Sandbox::new();
    let (repository, _) = sandbox.history("served/small.git", "sha1", 6, 60);
    match serve::run(&repository, 1) {
        Ok(count) => assert_eq!(count, 4),
        Err(why) => common::skipped(why),
    }
}

#[test]
fn the_push_bench_measures_every_row() {
    let sandbox = Sandbox::new();
    let options = push::Options { rounds: 1, refs: 2000, pushes: 2, deltas: 200, folder: sandbox.path(""), ..push::Options::default() };
    for why in push::run(&options) {
        common::skipped(why);
    }
}

#[test]
fn the_logins_bench_measures_both_servers() {
    if !common::server::has_ssh() {
        return;
    }
    if let Some(why) = logins::run(&logins::Options { rounds: 1, logins: 3 }) {
        common::skipped(why);
    }
}

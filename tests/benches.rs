//! The benches at work on a small repository, so that they cannot rot: every row must come to its end.

mod common;
#[path = "../benches/fetch.rs"]
mod fetch;

use common::Sandbox;

#[test]
fn the_fetch_bench_measures_every_row() {
    let sandbox = Sandbox::new();
    let (repository, _) = sandbox.history("served/small.git", "sha1", 5, 150);
    sandbox.git(&repository, ["repack", "-adbq"]);
    assert!(fetch::run(&repository, 1) >= 8);
}

//! Real repositories, whole, both ways: the bundles in `$PACKMULE_TEST_TOOLS/corpora`.

mod common;

use common::remote::Remote;
use common::server::{Server, has_ssh};
use common::{Case, Sandbox, check, test_tools};

/// Clone and push the whole bundle `file` with every protocol version, on standard input and output.
fn both_ways(file: &str) {
    let Some(tools) = test_tools() else { return };
    let sandbox = Sandbox::new();
    let bundle = tools.join("corpora").join(file);
    let case = |protocol| Case { hash: "sha1", protocol };
    let remote = Remote::stdio(&sandbox, case(2));
    let origin = remote.path("origin");
    sandbox.git(&sandbox.path(""), ["clone", "-q", "--mirror", &bundle.to_string_lossy(), &origin.to_string_lossy()]);
    for protocol in [2, 0] {
        let remote = Remote::stdio(&sandbox, case(protocol));
        let clone = remote.clone("origin", &format!("clone{protocol}"), &["--mirror"]);
        assert_eq!(check::refs(&sandbox, &origin), check::refs(&sandbox, &clone));
        check::same_objects(&sandbox, &origin, &clone);
    }
    let behind = one_in_ten_refs_removed(&sandbox, &remote);
    assert!(check::sends_no_more_than_git(&remote, "origin", &behind, &[]) > 0);
    let pushed = remote.bare("pushed");
    remote.push(&origin, "pushed", &["--mirror"]);
    assert_eq!(check::refs(&sandbox, &origin), check::refs(&sandbox, &pushed));
    check::same_objects(&sandbox, &origin, &pushed);
    check::tidy(&pushed);
    assert_eq!(check::complaints(&sandbox, &origin), check::complaints(&sandbox, &pushed));
}

/// A client that lacks the last tenth of the main branch, and every ref that needs it.
fn one_in_ten_refs_removed(sandbox: &Sandbox, remote: &Remote<'_>) -> std::path::PathBuf {
    let origin = remote.path("origin");
    let count: usize = sandbox.git(&origin, ["rev-list", "--count", "--first-parent", "HEAD"]).parse().expect("a number");
    let behind = sandbox.bare("behind", "sha1");
    let from = sandbox.git(&origin, ["rev-parse", &format!("HEAD~{}", count / 10)]);
    sandbox.git(&behind, ["fetch", "-q", "--no-tags", &origin.to_string_lossy(), &format!("{from}:refs/heads/main")]);
    behind
}

/// Push the whole bundle `file` into a new repository over SSH, and clone it again.
fn over_ssh(file: &str) {
    let Some(tools) = test_tools().filter(|_| has_ssh()) else { return };
    let sandbox = Sandbox::new();
    let bundle = tools.join("corpora").join(file);
    let client = sandbox.path("client");
    sandbox.git(&sandbox.path(""), ["clone", "-q", "--mirror", &bundle.to_string_lossy(), &client.to_string_lossy()]);
    let server = Server::start(&sandbox);
    let remote = Remote::ssh(&sandbox, Case { hash: "sha1", protocol: 2 }, &server);
    remote.push(&client, "new", &["--mirror"]);
    let made = server.root.join("new.git");
    assert_eq!(check::refs(&sandbox, &client), check::refs(&sandbox, &made));
    check::tidy(&made);
    assert_eq!(check::complaints(&sandbox, &client), check::complaints(&sandbox, &made));
    let clone = remote.clone("new", "clone", &["--mirror"]);
    check::same_objects(&sandbox, &clone, &client);
}

#[test]
fn heavy_the_small_repository_goes_both_ways() {
    both_ways("small-ripgrep.bundle");
}

#[test]
fn heavy_the_medium_repository_goes_both_ways() {
    both_ways("medium-dulwich.bundle");
}

#[test]
fn heavy_the_small_repository_goes_both_ways_over_ssh() {
    over_ssh("small-ripgrep.bundle");
}

#[test]
fn heavy_the_medium_repository_goes_both_ways_over_ssh() {
    over_ssh("medium-dulwich.bundle");
}

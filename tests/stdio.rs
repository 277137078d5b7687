//! Stock git starts `packmule upload-pack` and `packmule receive-pack` as it starts its own: both directions, all protocol
//! versions, both hash kinds.

mod common;

use common::pkt::Who;
use common::remote::Remote;
use common::{Case, Sandbox, check, each_case, few_cases, run, scenario};
use std::path::Path;

/// Each case with a sandbox of its own.
fn each_remote(test: impl Fn(&Remote<'_>)) {
    each_case(|case| test(&Remote::stdio(&Sandbox::new(), case)));
}

/// Likewise, two cases only.
fn few_remotes(test: impl Fn(&Remote<'_>)) {
    few_cases(|case| test(&Remote::stdio(&Sandbox::new(), case)));
}

#[test]
fn a_clone_has_everything() {
    each_remote(|remote| scenario::clone_whole(remote, 120));
}

#[test]
fn a_fetch_brings_what_is_new_and_no_more_than_git_sends() {
    each_remote(scenario::fetch_new_commits);
}

#[test]
fn a_client_that_went_its_own_way_negotiates() {
    each_remote(scenario::fetch_into_divergent_client);
}

#[test]
fn a_client_with_another_history_gets_everything() {
    few_remotes(scenario::fetch_into_stranger);
}

#[test]
fn a_whole_history_is_pushed_into_an_empty_repository() {
    each_remote(|remote| scenario::push_history(remote, 120));
}

#[test]
fn commits_branches_tags_and_deletions_are_pushed() {
    each_remote(scenario::push_day_by_day);
}

#[test]
fn thin_packs_are_completed() {
    few_remotes(scenario::push_thin);
}

#[test]
fn a_rewind_must_be_forced_and_allowed() {
    few_remotes(scenario::rewind);
}

#[test]
fn an_atomic_push_is_all_or_nothing() {
    few_remotes(scenario::atomic);
}

#[test]
fn an_empty_repository_is_cloned_and_filled() {
    each_remote(scenario::clone_empty);
}

#[test]
fn a_head_that_is_detached_or_unborn_is_served() {
    each_remote(scenario::odd_heads);
}

#[test]
fn annotated_tags_follow_their_commits() {
    each_remote(scenario::tags_follow);
}

#[test]
fn a_submodule_entry_is_no_missing_object() {
    few_remotes(scenario::submodule_entry);
}

#[test]
fn thousands_of_refs_go_both_ways() {
    few_remotes(|remote| scenario::many_refs(remote, 2000));
}

#[test]
fn objects_are_fetched_by_id() {
    each_remote(scenario::fetch_by_id);
}

#[test]
fn a_shallow_clone_is_deepened_and_made_whole() {
    each_remote(scenario::shallow_clone_grows);
}

#[test]
fn history_is_cut_by_time_and_by_name() {
    each_remote(scenario::shallow_by_time_and_name);
}

#[test]
fn a_server_that_is_shallow_itself_is_cloned() {
    each_remote(scenario::shallow_server);
}

#[test]
fn ls_remote_says_what_git_says() {
    each_remote(|remote| {
        let (server, _) = remote.history("listed", 10, 40);
        remote.sandbox.git(&server, ["symbolic-ref", "refs/heads/alias", "refs/heads/main"]);
        scenario::same_ls_remote(remote, "listed");
        remote.sandbox.git(&server, ["pack-refs", "--all"]);
        scenario::same_ls_remote(remote, "listed");
    });
}

#[test]
fn loose_objects_and_many_packs_and_alternates_are_served() {
    few_remotes(|remote| {
        let sandbox = remote.sandbox;
        let (server, mut story) = remote.history("pieces", 11, 30);
        // Loose objects: a small stream is unpacked by fast-import.
        for _ in 0..3 {
            sandbox.import(&server, &story.grow(4));
        }
        sandbox.git(&server, ["-c", "fastimport.unpackLimit=0", "repack", "-q", "-d"]);
        sandbox.import(&server, &story.grow(4));
        let mirror = remote.clone("pieces", "pieces-mirror", &["--mirror"]);
        check::same_objects(sandbox, &server, &mirror);
        // A fork that borrows everything from the first.
        sandbox
            .git(&sandbox.path(""), ["clone", "-q", "--mirror", "-s", &server.to_string_lossy(), &remote.path("fork").to_string_lossy()]);
        sandbox.import(&remote.path("fork"), &story.grow(5));
        let fork = remote.clone("fork", "fork-mirror", &["--mirror"]);
        check::same_objects(sandbox, &remote.path("fork"), &fork);
    });
}

#[test]
fn repacked_histories_with_deep_deltas_are_served() {
    few_remotes(|remote| {
        let sandbox = remote.sandbox;
        let (server, mut story) = remote.history("deep", 12, 200);
        let old = remote.clone("deep", "deep-old", &["--mirror"]);
        sandbox.import(&server, &story.grow(100));
        for ofs in ["true", "false"] {
            sandbox.git(&server, ["-c", &format!("repack.useDeltaBaseOffset={ofs}"), "repack", "-q", "-adf", "--depth=50"]);
            let mirror = remote.clone("deep", &format!("deep-mirror-{ofs}"), &["--mirror"]);
            check::same_objects(sandbox, &server, &mirror);
            scenario_old_client(remote, &old);
        }
    });
}

/// The client behind gets what it lacks, whatever deltas the server stores.
fn scenario_old_client(remote: &Remote<'_>, old: &Path) {
    assert!(check::sends_no_more_than_git(remote, "deep", old, &[]) > 0);
}

#[test]
fn a_repository_is_found_as_git_finds_it() {
    let sandbox = Sandbox::new();
    let work_tree = sandbox.work_tree("place/tree", "sha1");
    sandbox.bare("place/bare.git", "sha1");
    let ls = |who: Who, options: &[&str], path: &Path| {
        let mut command = who.command(&sandbox, 0, "upload-pack", options, path);
        let output = run(&mut command);
        (output.status.success(), output.stdout.is_empty())
    };
    for (path, options) in [
        ("place/tree", &[][..]),
        ("place/tree/.git", &[]),
        ("place/tree", &["--strict"]),
        ("place/tree/.git", &["--strict"]),
        ("place/bare", &[]),
        ("place/bare.git", &["--strict"]),
        ("place/bare", &["--strict"]),
        ("place", &[]),
        ("nowhere", &[]),
    ] {
        let mut options = options.to_vec();
        options.extend(["--advertise-refs", "--timeout=10"]);
        let path = sandbox.path(path);
        assert_eq!(ls(Who::Packmule, &options, &path), ls(Who::Git, &options, &path), "{} {options:?}", path.display());
    }
    assert!(work_tree.exists());
}

#[test]
fn what_is_no_repository_gets_one_sentence() {
    each_case(|case| {
        let sandbox = Sandbox::new();
        let remote = Remote::stdio(&sandbox, case);
        let said = remote.git_fails(&sandbox.path(""), "ls-remote", [remote.url("nothing")]).1;
        assert!(said.contains("nothing"), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    });
}

#[test]
fn a_repository_of_a_format_that_nobody_knows_is_refused_by_name() {
    for (key, value, named) in [
        ("extensions.refStorage", "reftable", "reftable"),
        ("extensions.somethingNew", "true", "somethingnew"),
        ("core.repositoryFormatVersion", "2", "2"),
    ] {
        let sandbox = Sandbox::new();
        let remote = Remote::stdio(&sandbox, Case { hash: "sha1", protocol: 2 });
        let (server, _) = remote.history("odd", 13, 3);
        let client = remote.clone("odd", "client", &["--mirror"]);
        let config = server.join("config");
        let mut text = std::fs::read_to_string(&config).expect("a config");
        let (section, name) = key.split_once('.').expect("a key");
        text = text.replace("repositoryformatversion = 0", "repositoryformatversion = 1");
        text += &format!("[{section}]\n\t{name} = {value}\n");
        std::fs::write(&config, text).expect("a writable config");
        for said in [
            remote.git_fails(&sandbox.path(""), "ls-remote", [remote.url("odd")]).1,
            remote.push_fails(&client, "odd", &["main:refs/heads/more"]),
        ] {
            assert!(said.to_lowercase().contains(named), "{key}: {said}");
        }
    }
}

#[test]
fn stock_git_and_packmule_push_to_one_repository_at_once() {
    let sandbox = Sandbox::new();
    let case = Case { hash: "sha1", protocol: 2 };
    let ours = Remote::stdio(&sandbox, case);
    let (server, _) = ours.history("shared", 14, 20);
    let clients: Vec<_> = (0..4).map(|n| ours.clone("shared", &format!("client{n}"), &[])).collect();
    let wins: usize = std::thread::scope(|scope| {
        let pushers: Vec<_> = clients
            .iter()
            .enumerate()
            .map(|(n, client)| {
                let remote = if n % 2 == 0 { ours } else { ours.stock() };
                scope.spawn(move || push_twenty(&remote, n, client))
            })
            .collect();
        pushers.into_iter().map(|pusher| pusher.join().expect("a pusher")).sum()
    });
    check::sound(&sandbox, &server);
    for (n, client) in clients.iter().enumerate() {
        for round in 0..20 {
            let name = format!("own/{n}/{round}");
            assert_eq!(check::ref_value(&sandbox, &server, &format!("refs/heads/{name}")), sandbox.git(client, ["rev-parse", &name]));
        }
    }
    let common = sandbox.git(&server, ["rev-list", "--count", "--first-parent", "origin-main..common"]);
    assert_eq!(common, wins.to_string(), "every push that won is in the common branch, no other");
}

/// Twenty commits, each pushed to a branch of its own and tried on the common one; returns how many of these won.
fn push_twenty(remote: &Remote<'_>, n: usize, client: &Path) -> usize {
    let sandbox = remote.sandbox;
    let mut wins = 0;
    if n == 0 {
        remote.push(client, "shared", &["main:refs/heads/origin-main", "main:refs/heads/common"]);
    }
    for round in 0..20 {
        let branch = format!("own/{n}/{round}");
        let fetched = remote.command(client, "fetch", ["-q", &remote.url("shared"), "common"]).status().expect("git runs").success();
        let base = if fetched { "FETCH_HEAD" } else { "main" };
        sandbox.git(client, ["checkout", "-q", "-B", &branch, base]);
        sandbox.commit_file(client, &format!("file{n}-{round}"), format!("{n} {round}\n"));
        remote.push(client, "shared", &[&branch]);
        let to_common = format!("{branch}:refs/heads/common");
        let mut command = remote.command(client, "push", ["-q", &remote.url("shared"), &to_common]);
        wins += usize::from(fetched && run(&mut command).status.success());
    }
    wins
}

/// A file of `len` bytes, compressible or not, committed in a fresh repository by a stream (so that nothing is held twice).
fn huge_file(sandbox: &Sandbox, name: &str, megabytes: usize, compressible: bool) -> std::path::PathBuf {
    use std::io::Write as _;
    let repository = sandbox.bare(name, "sha1");
    let mut command = sandbox
        .git_command(&repository, ["-c", "core.bigFileThreshold=64m", "-c", "pack.compression=1", "fast-import", "--quiet", "--done"]);
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().expect("git starts");
    let mut stdin = std::io::BufWriter::new(child.stdin.take().expect("piped"));
    let mut random = common::fixture::Random(15);
    write!(
        stdin,
        "commit refs/heads/main\ncommitter C <c@example.com> 1700000000 +0000\ndata 4\nhuge\nM 100644 inline huge\ndata {}\n",
        megabytes << 20
    )
    .expect("a reader");
    for n in 0..megabytes {
        let block = if compressible { format!("{n:016}").repeat(1 << 16).into_bytes() } else { random.bytes(1 << 20) };
        stdin.write_all(&block).expect("a reader");
    }
    write!(stdin, "\ndone\n").expect("a reader");
    drop(stdin);
    assert!(child.wait().expect("a child").success());
    repository
}

#[test]
fn heavy_a_file_of_300_megabytes_goes_both_ways() {
    for compressible in [true, false] {
        let sandbox = Sandbox::new();
        let remote = Remote::stdio(&sandbox, Case { hash: "sha1", protocol: 2 });
        let client = huge_file(&sandbox, "huge-client", 300, compressible);
        let server = remote.bare("huge");
        remote.push(&client, "huge", &["main"]);
        check::sound(&sandbox, &server);
        let clone = remote.clone("huge", "huge-clone", &["--bare"]);
        assert_eq!(sandbox.git(&clone, ["cat-file", "-s", "main:huge"]), (300 << 20).to_string());
        check::same_objects(&sandbox, &server, &clone);
    }
}

//! What every transport must get right, told once: each function is one story with a client of stock git, for any [`Remote`].

use super::check::{same_objects, sends_no_more_than_git, sound};
use super::remote::Remote;
use super::{Sandbox, check};
use std::path::{Path, PathBuf};

/// A whole random history is cloned, as a mirror and with a work tree.
pub fn clone_whole(remote: &Remote<'_>, commits: usize) {
    let (server, _) = remote.history("whole", 1, commits);
    let mirror = remote.clone("whole", "mirror", &["--mirror"]);
    same_objects(remote.sandbox, &server, &mirror);
    assert_eq!(check::refs(remote.sandbox, &server), check::refs(remote.sandbox, &mirror));
    remote.sandbox.git(&mirror, ["fsck", "--strict", "--no-progress"]);
    let plain = remote.clone("whole", "plain", &[]);
    assert_eq!(remote.sandbox.git(&plain, ["rev-parse", "HEAD"]), check::ref_value(remote.sandbox, &server, "refs/heads/main"));
    assert_eq!(remote.sandbox.git(&plain, ["status", "--porcelain"]), "");
    let one = remote.clone("whole", "one", &["--single-branch", "--branch", "main"]);
    remote.sandbox.git(&one, ["fsck", "--strict", "--no-progress"]);
}

/// The server's history grows, and the client fetches what is new: no more than git would send, and in the end all of it.
pub fn fetch_new_commits(remote: &Remote<'_>) {
    let (server, mut story) = remote.history("grown", 2, 60);
    let mirror = remote.clone("grown", "mirror", &["--mirror"]);
    for commits in [1, 5, 60] {
        remote.sandbox.import(&server, &story.grow(commits));
        let sent = sends_no_more_than_git(remote, "grown", &mirror, &[]);
        assert!(sent > 0, "{commits} new commits");
        remote.fetch(&mirror, &["--prune"]);
        same_objects(remote.sandbox, &server, &mirror);
        assert_eq!(check::refs(remote.sandbox, &server), check::refs(remote.sandbox, &mirror));
    }
    assert_eq!(sends_no_more_than_git(remote, "grown", &mirror, &[]), 0, "nothing is new");
    remote.sandbox.git(&mirror, ["fsck", "--strict", "--no-progress"]);
}

/// Both sides went on: the client has hundreds of commits that the server has never seen, so negotiation takes many rounds.
pub fn fetch_into_divergent_client(remote: &Remote<'_>) {
    let (server, mut story) = remote.history("apart", 3, 40);
    let clone = remote.clone("apart", "clone", &[]);
    let mut stream = String::new();
    for n in 0..400 {
        let from = if n == 0 { "from refs/remotes/origin/main^0\n" } else { "" };
        let time = 1_650_000_000 + n * 60;
        stream += &format!(
            "commit refs/heads/mine\ncommitter Me <me@example.com> {time} +0000\ndata 5\nlocal\n{from}M 100644 inline mine{n}\ndata 1\nx\n"
        );
    }
    stream += "done\n";
    remote.sandbox.import(&clone, stream.as_bytes());
    remote.sandbox.git(&clone, ["checkout", "-q", "mine"]);
    remote.sandbox.import(&server, &story.grow(80));
    sends_no_more_than_git(remote, "apart", &clone, &[]);
    sends_no_more_than_git(remote, "apart", &clone, &["refs/heads/main"]);
    remote.fetch(&clone, &["--tags", "origin"]);
    let missing = remote.sandbox.git(&clone, ["rev-list", "--objects", "--missing=print", "--all"]);
    assert!(!missing.lines().any(|line| line.starts_with('?')), "the clone lacks objects");
    remote.sandbox.git(&clone, ["fsck", "--strict", "--no-progress"]);
}

/// A client that has nothing of what is fetched.
pub fn fetch_into_stranger(remote: &Remote<'_>) {
    remote.history("other", 4, 30);
    let stranger = remote.sandbox.history("stranger", remote.case.hash, 99, 30).0;
    sends_no_more_than_git(remote, "other", &stranger, &["refs/heads/main"]);
}

/// A whole history goes into an empty repository.
pub fn push_history(remote: &Remote<'_>, commits: usize) {
    let server = remote.bare("pushed");
    let client = remote.sandbox.history("client", remote.case.hash, 5, commits).0;
    remote.push(&client, "pushed", &["--mirror"]);
    sound(remote.sandbox, &server);
    same_objects(remote.sandbox, &server, &client);
    assert_eq!(check::refs(remote.sandbox, &server), check::refs(remote.sandbox, &client));
}

/// A clone with a work tree of a server's repository with two commits and one large text file.
fn clone_to_push_from(remote: &Remote<'_>, name: &str) -> (PathBuf, PathBuf) {
    let server = remote.bare(name);
    let seed = remote.sandbox.work_tree(&format!("seed-{name}"), remote.case.hash);
    remote.sandbox.commit_file(&seed, "long", long_text(0));
    remote.sandbox.git(&seed, ["push", "-q", &server.to_string_lossy(), "main"]);
    (server, remote.clone(name, &format!("clone-{name}"), &[]))
}

/// Text that makes a delta worth while; `edition` changes one line.
fn long_text(edition: usize) -> String {
    (0..3000).map(|n| if n == 1500 { format!("edition {edition}\n") } else { format!("line {n} of a long text\n") }).collect()
}

/// Everyday pushes: one commit (as a thin pack), a branch, tags, a deletion.
pub fn push_day_by_day(remote: &Remote<'_>) {
    let sandbox = remote.sandbox;
    let (server, clone) = clone_to_push_from(remote, "daily");
    let value = |name: &str| check::ref_value(sandbox, &server, name);
    let tip = sandbox.commit_file(&clone, "long", long_text(1));
    let said = remote.push(&clone, "daily", &["main"]);
    assert!(said.contains("main -> main"), "{said}");
    assert_eq!(value("refs/heads/main"), tip);
    sound(sandbox, &server);

    sandbox.git(&clone, ["checkout", "-q", "-b", "topic/deep/er"]);
    let topic = sandbox.commit_file(&clone, "topic", "topic\n");
    sandbox.git(&clone, ["tag", "-a", "-m", "one", "v1"]);
    sandbox.git(&clone, ["tag", "-a", "-m", "tag of a tag", "v1-again", "v1"]);
    let said = remote.push(&clone, "daily", &["topic/deep/er", "v1-again", "v1", "main"]);
    assert!(said.contains("* [new branch]") && said.contains("* [new tag]"), "{said}");
    assert_eq!(value("refs/heads/topic/deep/er"), topic);
    assert_eq!(value("refs/tags/v1-again"), sandbox.git(&clone, ["rev-parse", "v1-again"]));
    sound(sandbox, &server);
    same_objects(sandbox, &server, &clone);

    let said = remote.push(&clone, "daily", &[":topic/deep/er", ":v1-again"]);
    assert!(said.contains("- [deleted]"), "{said}");
    assert_eq!(value("refs/heads/topic/deep/er"), "");
    sound(sandbox, &server);
    // The folders of a deleted branch do not stand in the way of a new one.
    remote.push(&clone, "daily", &["main:refs/heads/topic"]);
    assert_eq!(value("refs/heads/topic"), tip);
    let said = remote.push(&clone, "daily", &["main"]);
    assert!(said.contains("up-to-date") || said.contains("up to date"), "{said}");
    sound(sandbox, &server);
}

/// A thin pack, whose bases are not in it, becomes a whole one on the server.
pub fn push_thin(remote: &Remote<'_>) {
    let (server, clone) = clone_to_push_from(remote, "thin");
    // Everything that is deltified at all then stands against what the server has.
    for edition in 1..4 {
        remote.sandbox.commit_file(&clone, "long", long_text(edition));
        let said = remote.push(&clone, "thin", &["--thin", "main"]);
        assert!(!said.contains("error"), "{said}");
        sound(remote.sandbox, &server);
    }
    same_objects(remote.sandbox, &server, &clone);
}

/// Not a fast-forward: refused unless forced, and forced only where the server's settings let it.
pub fn rewind(remote: &Remote<'_>) {
    let sandbox = remote.sandbox;
    let (server, clone) = clone_to_push_from(remote, "rewound");
    let old = sandbox.commit_file(&clone, "a", "one way\n");
    remote.push(&clone, "rewound", &["main"]);
    sandbox.git(&clone, ["reset", "-q", "--hard", "HEAD~1"]);
    let new = sandbox.commit_file(&clone, "a", "another way\n");
    let said = remote.push_fails(&clone, "rewound", &["main"]);
    assert!(said.contains("[rejected]"), "{said}");
    assert_eq!(check::ref_value(sandbox, &server, "refs/heads/main"), old);
    sandbox.git(&server, ["config", "receive.denyNonFastForwards", "true"]);
    let said = remote.push_fails(&clone, "rewound", &["+main"]);
    assert!(said.contains("! [remote rejected] main -> main (non-fast-forward)"), "{said}");
    assert_eq!(check::ref_value(sandbox, &server, "refs/heads/main"), old);
    sandbox.git(&server, ["config", "receive.denyNonFastForwards", "false"]);
    let said = remote.push(&clone, "rewound", &["+main"]);
    assert!(said.contains("(forced update)"), "{said}");
    assert_eq!(check::ref_value(sandbox, &server, "refs/heads/main"), new);
    sound(sandbox, &server);
}

/// With `--atomic` one ref that cannot be had keeps all where they were; without, the others come through.
pub fn atomic(remote: &Remote<'_>) {
    let sandbox = remote.sandbox;
    let (server, clone) = clone_to_push_from(remote, "atomic");
    let old = check::ref_value(sandbox, &server, "refs/heads/main");
    let new = sandbox.commit_file(&clone, "a", "a\n");
    let before = check::refs(sandbox, &server);
    let conflicting = ["main", "main:refs/heads/fine", "main:refs/heads/main/below"];
    let mut args = vec!["--atomic"];
    args.extend(conflicting);
    let said = remote.push_fails(&clone, "atomic", &args);
    assert!(said.matches("! [remote rejected]").count() == 3, "{said}");
    assert_eq!(check::refs(sandbox, &server), before, "nothing moved from {old}");
    sound(sandbox, &server);
    let said = remote.push_fails(&clone, "atomic", &conflicting);
    assert!(said.matches("! [remote rejected]").count() == 1, "{said}");
    assert_eq!(check::ref_value(sandbox, &server, "refs/heads/main"), new);
    assert_eq!(check::ref_value(sandbox, &server, "refs/heads/fine"), new);
    sound(sandbox, &server);
    sandbox.git(&clone, ["checkout", "-q", "-b", "second"]);
    let second = sandbox.commit_file(&clone, "b", "b\n");
    remote.push(&clone, "atomic", &["--atomic", "second", "second:main", ":fine"]);
    assert_eq!(check::refs(sandbox, &server), format!("{second} refs/heads/main\n{second} refs/heads/second"));
    sound(sandbox, &server);
}

/// A repository without a commit is cloned, and the clone's first push fills it.
pub fn clone_empty(remote: &Remote<'_>) {
    let server = remote.bare("empty");
    let clone = remote.clone("empty", "clone", &[]);
    assert_eq!(remote.sandbox.git(&clone, ["rev-parse", "--show-object-format"]), remote.case.hash);
    if remote.case.protocol == 2 {
        assert_eq!(remote.sandbox.git(&clone, ["symbolic-ref", "HEAD"]), "refs/heads/main", "the unborn branch is told");
    }
    remote.sandbox.git(&clone, ["symbolic-ref", "HEAD", "refs/heads/main"]);
    let tip = remote.sandbox.commit_file(&clone, "first", "first\n");
    remote.push(&clone, "empty", &["main"]);
    assert_eq!(check::ref_value(remote.sandbox, &server, "refs/heads/main"), tip);
    sound(remote.sandbox, &server);
}

/// HEAD names a commit, or a branch that is not there.
pub fn odd_heads(remote: &Remote<'_>) {
    let sandbox = remote.sandbox;
    let (detached, _) = remote.history("detached", 6, 10);
    let tip = sandbox.git(&detached, ["rev-parse", "main~1"]);
    sandbox.git(&detached, ["update-ref", "--no-deref", "HEAD", &tip]);
    let clone = remote.clone("detached", "clone-detached", &[]);
    assert_eq!(sandbox.git(&clone, ["rev-parse", "HEAD"]), tip);
    same_ls_remote(remote, "detached");

    let (unborn, _) = remote.history("unborn", 7, 10);
    sandbox.git(&unborn, ["symbolic-ref", "HEAD", "refs/heads/nothing"]);
    let clone = remote.clone("unborn", "clone-unborn", &[]);
    let fetched = sandbox.git(&clone, ["rev-parse", "refs/remotes/origin/main"]);
    assert_eq!(fetched, sandbox.git(&unborn, ["rev-parse", "main"]));
    same_ls_remote(remote, "unborn");
}

/// The advertisement says what stock git's says.
#[track_caller]
pub fn same_ls_remote(remote: &Remote<'_>, name: &str) {
    for options in [&["--symref"][..], &[], &["--heads"], &["--tags", "--refs"]] {
        let (ours, gits) = (remote.ls_remote(name, options), remote.stock().ls_remote(name, options));
        let strip = |text: &str| text.replace(&remote.url(name), "").replace(&remote.stock().url(name), "");
        assert_eq!(strip(&ours), strip(&gits), "ls-remote {options:?} {name}");
    }
}

/// Annotated tags follow their commits without being asked for; tags of tags come with all their links.
pub fn tags_follow(remote: &Remote<'_>) {
    let sandbox = remote.sandbox;
    let (server, clone) = clone_to_push_from(remote, "tagged");
    let seed = sandbox.path("seed-tagged");
    sandbox.commit_file(&seed, "tagged", "tagged\n");
    sandbox.git(&seed, ["tag", "-a", "-m", "one", "inner"]);
    sandbox.git(&seed, ["tag", "-a", "-m", "two", "outer", "inner"]);
    sandbox.git(&seed, ["push", "-q", &server.to_string_lossy(), "main", "inner", "outer"]);
    sends_no_more_than_git(remote, "tagged", &clone, &["refs/heads/main"]);
    sends_no_more_than_git(remote, "tagged", &clone, &["--include-tag", "refs/heads/main"]);
    remote.fetch(&clone, &["origin"]);
    assert_eq!(sandbox.git(&clone, ["tag"]), "inner\nouter");
    sandbox.git(&clone, ["fsck", "--strict", "--no-progress"]);
    let single = remote.clone("tagged", "single", &["--single-branch", "--branch", "outer"]);
    assert_eq!(sandbox.git(&single, ["rev-parse", "HEAD"]), sandbox.git(&server, ["rev-parse", "main"]));
    same_ls_remote(remote, "tagged");
}

/// A submodule entry names a commit that the repository does not have: it is neither asked for nor missed.
pub fn submodule_entry(remote: &Remote<'_>) {
    let sandbox = remote.sandbox;
    let server = remote.bare("outer");
    let client = sandbox.work_tree("outer-client", remote.case.hash);
    let inner = sandbox.work_tree("inner", remote.case.hash);
    let tip = sandbox.git(&inner, ["rev-parse", "HEAD"]);
    std::fs::write(client.join(".gitmodules"), "[submodule \"inner\"]\n\tpath = inner\n\turl = ../inner\n").expect("a writable work tree");
    sandbox.git(&client, ["add", ".gitmodules"]);
    sandbox.git(&client, ["update-index", "--add", "--cacheinfo", &format!("160000,{tip},inner")]);
    sandbox.git(&client, ["commit", "-q", "-m", "Link"]);
    remote.push(&client, "outer", &["main"]);
    sound(sandbox, &server);
    same_objects(sandbox, &server, &client);
    let clone = remote.clone("outer", "outer-clone", &[]);
    assert_eq!(sandbox.git(&clone, ["ls-files", "-s", "inner"]), format!("160000 {tip} 0\tinner"));
    sandbox.git(&clone, ["fsck", "--strict", "--no-progress"]);
}

/// Thousands of refs, loose and packed, both ways.
pub fn many_refs(remote: &Remote<'_>, count: usize) {
    let sandbox = remote.sandbox;
    let (server, _) = remote.history("many", 8, 20);
    let commits = sandbox.git(&server, ["rev-list", "--all"]);
    let commits: Vec<&str> = commits.lines().collect();
    let update: String = (0..count).map(|n| format!("create refs/heads/b/{n} {}\n", commits[n % commits.len()])).collect();
    sandbox.git_with_input(&server, ["update-ref", "--stdin"], update.as_bytes());
    sandbox.git(&server, ["pack-refs", "--all"]);
    sandbox.git(&server, ["update-ref", "refs/heads/b/0", commits[1]]);
    sandbox.git(&server, ["update-ref", "-d", "refs/heads/b/1"]);
    same_ls_remote(remote, "many");
    let mirror = remote.clone("many", "many-mirror", &["--mirror"]);
    assert_eq!(check::refs(sandbox, &server), check::refs(sandbox, &mirror));
    assert_eq!(sends_no_more_than_git(remote, "many", &mirror, &[]), 0);
    let other = remote.bare("many-too");
    remote.push(&mirror, "many-too", &["--mirror"]);
    assert_eq!(check::refs(sandbox, &other), check::refs(sandbox, &mirror));
    sound(sandbox, &other);
    let deletions: Vec<String> = (2..count / 2).map(|n| format!(":refs/heads/b/{n}")).collect();
    remote.push(&mirror, "many-too", &deletions.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(check::refs(sandbox, &other).lines().filter(|line| line.contains("/b/")).count(), count - 1 - (count / 2 - 2));
    sound(sandbox, &other);
}

/// Fetch by object id: an advertised tip everywhere, any object in version 2.
pub fn fetch_by_id(remote: &Remote<'_>) {
    let sandbox = remote.sandbox;
    let (server, _) = remote.history("by-id", 9, 30);
    let client = sandbox.bare("by-id-client", remote.case.hash);
    let fetch = |id: &str| vec!["-q".to_owned(), remote.url("by-id"), format!("{id}:refs/heads/got")];
    let tip = sandbox.git(&server, ["rev-parse", "main"]);
    remote.git(&client, "fetch", fetch(&tip));
    assert_eq!(check::ref_value(sandbox, &client, "refs/heads/got"), tip);
    let deeper = sandbox.git(&server, ["rev-parse", "main~3"]);
    let empty = sandbox.bare("by-id-empty", remote.case.hash);
    let stock_accepts = remote.stock().command(&empty, "fetch", fetch(&deeper)).output().expect("git runs").status.success();
    assert_eq!(stock_accepts, remote.case.protocol == 2);
    let empty = sandbox.bare("by-id-empty-too", remote.case.hash);
    if stock_accepts {
        remote.git(&empty, "fetch", fetch(&deeper));
        same_closure(sandbox, &server, &empty, &deeper);
    } else {
        remote.git_fails(&empty, "fetch", fetch(&deeper));
        sandbox.git(&server, ["config", "uploadpack.allowReachableSHA1InWant", "true"]);
        remote.git(&empty, "fetch", fetch(&deeper));
        same_closure(sandbox, &server, &empty, &deeper);
    }
    let nowhere = "1".repeat(tip.len());
    let said = remote.git_fails(&empty, "fetch", fetch(&nowhere)).1;
    assert!(said.contains("not our ref"), "{said}");
}

/// What `tip` reaches is the same on both sides.
#[track_caller]
fn same_closure(sandbox: &Sandbox, one: &Path, other: &Path, tip: &str) {
    let closure = |repository: &Path| sandbox.git(repository, ["rev-list", "--objects", tip]);
    assert_eq!(closure(one), closure(other));
}

/// A clone one commit deep is deepened, made whole, and goes on like any other.
pub fn shallow_clone_grows(remote: &Remote<'_>) {
    let sandbox = remote.sandbox;
    let (server, mut story) = remote.history("long", 30, 60);
    let clone = remote.clone("long", "short", &["--depth=1", "--no-single-branch"]);
    let commits = |repository: &Path| sandbox.git(repository, ["rev-list", "--count", "--all"]).parse::<usize>().expect("a number");
    let is_shallow = || sandbox.git(&clone, ["rev-parse", "--is-shallow-repository"]) == "true";
    let whole = |repository: &Path| {
        assert_eq!(check::complaints(sandbox, repository), Vec::<String>::new());
        sandbox.git(repository, ["rev-list", "--objects", "--quiet", "--all"]);
    };
    assert!(is_shallow());
    whole(&clone);
    let mut count = commits(&clone);
    for deepen in ["--deepen=1", "--deepen=3", "--depth=12"] {
        remote.fetch(&clone, &[deepen, "origin"]);
        whole(&clone);
        assert!(commits(&clone) > count, "{deepen}: {count} commits before, {} now", commits(&clone));
        count = commits(&clone);
    }
    // An ordinary fetch into what is still shallow.
    sandbox.import(&server, &story.grow(10));
    remote.fetch(&clone, &["origin"]);
    whole(&clone);
    assert!(is_shallow() && commits(&clone) > count);
    assert_eq!(sandbox.git(&clone, ["rev-parse", "origin/main"]), sandbox.git(&server, ["rev-parse", "main"]));
    remote.fetch(&clone, &["--unshallow", "origin"]);
    assert!(!is_shallow());
    whole(&clone);
    assert_eq!(commits(&clone), commits(&server));
}

/// History cut by time, and at a tag; and what is no name and what leaves nothing.
pub fn shallow_by_time_and_name(remote: &Remote<'_>) {
    let sandbox = remote.sandbox;
    let server = remote.bare("dated");
    let seed = sandbox.work_tree("dated-seed", remote.case.hash);
    for n in 1..=6 {
        std::fs::write(seed.join("file"), format!("{n}\n")).expect("a writable work tree");
        let mut commit = sandbox.git_command(&seed, ["commit", "-q", "-a", "-m", &n.to_string()]);
        sandbox.git(&seed, ["add", "file"]);
        let output = super::run(commit.env("GIT_COMMITTER_DATE", format!("{} +0000", 1_700_000_000 + n * 1000)));
        assert!(output.status.success(), "{}", super::report(&commit, &output));
        sandbox.git(&seed, ["tag", "-a", "-m", "tag", &format!("v{n}")]);
    }
    sandbox.git(&seed, ["push", "-q", &server.to_string_lossy(), "main", "--tags"]);
    let subjects = |clone: &Path| sandbox.git(clone, ["log", "--format=%s", "origin/main"]).replace('\n', " ");
    let since = remote.clone("dated", "since", &["--shallow-since=1700003500 +0000"]);
    assert_eq!(subjects(&since), "6 5 4");
    let without = remote.clone("dated", "without", &["--shallow-exclude=v2"]);
    assert_eq!(subjects(&without), "6 5 4 3");
    remote.fetch(&without, &["--shallow-exclude=v1", "origin"]);
    assert_eq!(subjects(&without), "6 5 4 3 2");
    remote.fetch(&since, &["--shallow-since=1700001500 +0000", "origin"]);
    assert_eq!(subjects(&since), "6 5 4 3 2");
    for clone in [&since, &without] {
        assert_eq!(check::complaints(sandbox, clone), Vec::<String>::new());
    }
    let said = remote.git_fails(&without, "fetch", ["--shallow-exclude=nothing", "origin"]).1;
    assert!(said.contains("deepen-not is not a ref: deepen-not nothing"), "{said}");
    let said = remote.git_fails(&without, "fetch", ["--shallow-since=2000000000 +0000", "origin"]).1;
    assert!(said.contains("no commits selected for shallow requests"), "{said}");
    assert_eq!(subjects(&without), "6 5 4 3 2");
}

/// A server that is a shallow clone itself: clones of it end where it ends, and its boundary moves when it is deepened.
pub fn shallow_server(remote: &Remote<'_>) {
    let sandbox = remote.sandbox;
    remote.history("origin", 31, 60);
    let server = remote.path("cut");
    let places = [remote.stock().url("origin"), server.to_string_lossy().into_owned()];
    let options = ["-q", "--mirror", "--depth=4"].map(str::to_owned);
    remote.stock().git(&sandbox.path(""), "clone", options.into_iter().chain(places));
    let boundary = |repository: &Path| std::fs::read_to_string(repository.join("shallow")).expect("a boundary");
    let mirror = remote.clone("cut", "cut-mirror", &["--mirror"]);
    same_objects(sandbox, &server, &mirror);
    assert_eq!(boundary(&server), boundary(&mirror));
    let client = sandbox.bare("cut-client", remote.case.hash);
    let fetch = |more: &str| vec!["-q".to_owned(), more.to_owned(), remote.url("cut"), "refs/heads/*:refs/heads/*".to_owned()];
    remote.git(&client, "fetch", fetch("--no-update-shallow"));
    assert!(!client.join("shallow").exists(), "refused by the client, ref by ref");
    remote.git(&client, "fetch", fetch("--update-shallow"));
    assert_eq!(check::complaints(sandbox, &client), Vec::<String>::new());
    let one = remote.clone("cut", "cut-one", &["--depth=1"]);
    assert_eq!(sandbox.git(&one, ["rev-list", "--count", "HEAD"]), "1");
    remote.fetch(&one, &["--depth=2147483647", "origin"]);
    assert_eq!(sandbox.git(&one, ["rev-list", "HEAD"]), sandbox.git(&server, ["rev-list", "HEAD"]));
    assert_eq!(check::complaints(sandbox, &one), Vec::<String>::new());
}

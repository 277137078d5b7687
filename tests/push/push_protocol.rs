//! What a push may ask for beside new values: stock git pushes into `packmule receive-pack` and into its own, and both
//! servers must tell it the same, their hooks too.

use crate::common::pkt::{self, Who};
use crate::common::{HASHES, PACKMULE, Sandbox, check, report, run, run_with_input, write_program};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;

const BOTH: [Who; 2] = [Who::Git, Who::Packmule];

/// `git push ARGS` in `client`, received by `who`.
fn push(sandbox: &Sandbox, who: Who, client: &Path, args: &[&str]) -> Output {
    let receiver = if who == Who::Git { "git receive-pack".to_owned() } else { format!("{PACKMULE} receive-pack") };
    let mut command = sandbox.git_command(client, ["push", &format!("--receive-pack={receiver}")]);
    command.args(args);
    let output = run(&mut command);
    eprintln!("{who:?}: {}", report(&command, &output));
    output
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn hook(repository: &Path, name: &str, text: &str) {
    write_program(&repository.join("hooks").join(name), &format!("#!/bin/sh\n{text}\n"));
}

/// A work tree with three commits, and a bare repository that has two of them.
fn client_and_server(sandbox: &Sandbox, hash: &str) -> (PathBuf, PathBuf) {
    let client = sandbox.work_tree("client", hash);
    ["one", "two", "three"].iter().for_each(|text| drop(sandbox.commit_file(&client, "a", text)));
    let server = sandbox.bare("server.git", hash);
    sandbox.git(&client, ["push", "-q", &server.to_string_lossy(), "main~1:refs/heads/main"]);
    (client, server)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

#[test]
fn push_options_reach_the_hooks_and_are_refused_where_they_are_off() {
    for hash in HASHES {
        let answers = BOTH.map(|who| {
            let sandbox = Sandbox::new();
            let (client, server) = client_and_server(&sandbox, hash);
            let url = server.to_string_lossy().into_owned();
            let off = push(&sandbox, who, &client, &["-o", "x", &url, "main"]);
            assert!(!off.status.success() && told(&off).contains("the receiving end does not support push options"));
            sandbox.git(&server, ["config", "receive.advertisePushOptions", "true"]);
            hook(&server, "pre-receive", "env | grep ^GIT_PUSH_OPTION | sort >options");
            assert!(push(&sandbox, who, &client, &["-o", "a=b c", "-o", "", "-o", "ü", &url, "main"]).status.success());
            check::sound(&sandbox, &server);
            read(&server.join("options"))
        });
        assert_eq!(answers[0], answers[1]);
        assert!(answers[1].contains("GIT_PUSH_OPTION_COUNT=3") && answers[1].contains("GIT_PUSH_OPTION_0=a=b c"), "{}", answers[1]);
    }
}

/// Make the key `name` in the home folder; its public half.
fn make_key(sandbox: &Sandbox, name: &str) -> String {
    let mut keygen = sandbox.command("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(sandbox.home().join(name));
    assert!(run(&mut keygen).status.success());
    read(&sandbox.home().join(format!("{name}.pub"))).trim().to_owned()
}

const CERTIFICATE_HOOK: &str = "cat >/dev/null\nenv | grep ^GIT_PUSH_CERT | grep -v -e NONCE= -e CERT= | sort >$1certificate\n\
                                git cat-file blob $GIT_PUSH_CERT >blob || exit 1\n[ -n \"$GIT_PUSH_CERT_NONCE\" ] && grep -q \"^nonce $GIT_PUSH_CERT_NONCE$\" blob";

#[test]
fn a_signed_push_tells_hooks_who_signed_it() {
    for hash in HASHES {
        let answers = BOTH.map(|who| {
            let sandbox = Sandbox::new();
            let (client, server) = client_and_server(&sandbox, hash);
            let url = server.to_string_lossy().into_owned();
            let off = push(&sandbox, who, &client, &["--signed", &url, "main"]);
            assert!(!off.status.success() && told(&off).contains("the receiving end does not support --signed push"));
            let known = make_key(&sandbox, "known");
            let key_file = sandbox.home().join("known");
            for (key, value) in [("gpg.format", "ssh"), ("user.signingKey", &*key_file.to_string_lossy())] {
                sandbox.git(&client, ["config", key, value]);
            }
            let other = make_key(&sandbox, "other");
            let allowed = format!("nobody@example.com {other}\nann@example.com namespaces=\"git\" {known}\n");
            std::fs::write(server.join("allowed"), allowed).expect("written");
            for (key, value) in
                [("receive.certNonceSeed", "sekrit"), ("gpg.ssh.allowedSignersFile", "allowed"), ("receive.advertisePushOptions", "true")]
            {
                sandbox.git(&server, ["config", key, value]);
            }
            hook(&server, "pre-receive", CERTIFICATE_HOOK);
            hook(&server, "post-receive", CERTIFICATE_HOOK);
            assert!(push(&sandbox, who, &client, &["--signed", "-o", "x", &url, "main", "main:new"]).status.success());
            assert!(read(&server.join("blob")).contains(" refs/heads/new\n-----BEGIN SSH SIGNATURE-----"));
            check::sound(&sandbox, &server);
            assert!(push(&sandbox, who, &client, &["--signed=if-asked", &url, ":new"]).status.success(), "one that only deletes");
            read(&server.join("certificate"))
        });
        for certificate in answers {
            assert!(certificate.contains("GIT_PUSH_CERT_SIGNER=ann@example.com\n"), "{certificate}");
            assert!(
                certificate.contains("GIT_PUSH_CERT_STATUS=G\n") && certificate.contains("GIT_PUSH_CERT_NONCE_STATUS=OK\n"),
                "{certificate}"
            );
            assert!(certificate.contains("GIT_PUSH_CERT_KEY=SHA256:"), "{certificate}");
        }
    }
}

#[test]
fn a_key_that_nobody_knows_is_not_called_good() {
    let sandbox = Sandbox::new();
    let (client, server) = client_and_server(&sandbox, "sha1");
    let url = server.to_string_lossy().into_owned();
    make_key(&sandbox, "stranger");
    let other = make_key(&sandbox, "other");
    let key_file = sandbox.home().join("stranger");
    sandbox.git(&client, ["config", "gpg.format", "ssh"]);
    sandbox.git(&client, ["config", "user.signingKey", &key_file.to_string_lossy()]);
    sandbox.git(&server, ["config", "receive.certNonceSeed", "sekrit"]);
    hook(&server, "post-receive", CERTIFICATE_HOOK);
    assert!(push(&sandbox, Who::Packmule, &client, &["--signed", &url, "main"]).status.success());
    assert!(read(&server.join("certificate")).contains("GIT_PUSH_CERT_STATUS=N\n"), "nothing is known of any key");
    std::fs::write(server.join("allowed"), format!("ann@example.com {other}\n")).expect("written");
    sandbox.git(&server, ["config", "gpg.ssh.allowedSignersFile", "allowed"]);
    assert!(push(&sandbox, Who::Packmule, &client, &["--signed", &url, "main:again"]).status.success());
    let certificate = read(&server.join("certificate"));
    assert!(certificate.contains("GIT_PUSH_CERT_STATUS=U\n") && certificate.contains("GIT_PUSH_CERT_SIGNER=\n"), "{certificate}");
}

/// A bare repository with the history of `from`, cut after `depth` commits.
fn cut(sandbox: &Sandbox, from: &Path, depth: &str, name: &str) -> PathBuf {
    let url = format!("file://{}", from.display());
    sandbox.git(&sandbox.path(""), ["clone", "-q", "--no-tags", &format!("--depth={depth}"), &url, name]);
    sandbox.path(name)
}

fn shallow_file(repository: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(repository.join("shallow")).unwrap_or_default();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn history_that_is_cut_off_is_taken_only_where_that_is_allowed() {
    for hash in HASHES {
        let answers = BOTH.map(|who| {
            let sandbox = Sandbox::new();
            let (client, server) = client_and_server(&sandbox, hash);
            let url = server.to_string_lossy().into_owned();
            // On top of what the server has: its own history goes on.
            let near = cut(&sandbox, &client, "1", "near");
            sandbox.commit_file(&near, "n", "near");
            let mut answers = vec![shallow_file(&server)];
            sandbox.git(&client, ["push", "-q", &url, "main"]);
            assert!(push(&sandbox, who, &near, &[&url, "main"]).status.success());
            answers.push(shallow_file(&server));
            // A history that the server has nothing of.
            let other = sandbox.work_tree("other", hash);
            ["a", "b", "c"].iter().for_each(|text| drop(sandbox.commit_file(&other, "o", text)));
            let far = cut(&sandbox, &other, "2", "far");
            let refused = push(&sandbox, who, &far, &[&url, "main:far"]);
            assert!(!refused.status.success() && told(&refused).contains("(shallow update not allowed)"));
            answers.push(shallow_file(&server));
            sandbox.git(&server, ["config", "receive.shallowUpdate", "true"]);
            // One after the other: git itself fails where two refs need the same commit.
            for refs in ["main:far", "main~1:refs/heads/farther"] {
                assert!(push(&sandbox, who, &far, &[&url, refs]).status.success());
            }
            answers.push(shallow_file(&server));
            check::sound(&sandbox, &server);
            // What refs reach already is not cut, whatever a client says.
            let again = cut(&sandbox, &client, "1", "again");
            sandbox.commit_file(&again, "g", "again");
            assert!(push(&sandbox, who, &again, &[&url, "+main:again"]).status.success());
            answers.push(shallow_file(&server));
            check::sound(&sandbox, &server);
            // And from a whole repository into one that is cut.
            sandbox.commit_file(&client, "w", "whole");
            let mirror = sandbox.path("mirror.git");
            sandbox.git(&sandbox.path(""), ["clone", "-q", "--bare", "--depth=1", &format!("file://{}", client.display()), "mirror.git"]);
            sandbox.commit_file(&client, "w", "more");
            assert!(push(&sandbox, who, &client, &[&mirror.to_string_lossy(), "main"]).status.success());
            answers.push(shallow_file(&mirror));
            check::sound(&sandbox, &mirror);
            answers.push(vec![sandbox.git(&mirror, ["rev-list", "--count", "main"])]);
            answers
        });
        assert_eq!(answers[0], answers[1], "git, packmule");
        assert_eq!(answers[1][3].len(), 1);
    }
}

/// The words of an advertisement, without the agent.
fn advertisement(sandbox: &Sandbox, who: Who, server: &Path, namespace: Option<&str>) -> String {
    let mut command = who.command(sandbox, 0, "receive-pack", &["--http-backend-info-refs"], server);
    if let Some(namespace) = namespace {
        command.env("GIT_NAMESPACE", namespace);
    }
    let output = run_with_input(&mut command, b"");
    assert!(output.status.success(), "{}", report(&command, &output));
    let mut bytes = output.stdout.as_slice();
    let mut text = String::new();
    while let Some(pkt) = crate::common::pkt::take(&mut bytes).expect("packets") {
        if let crate::common::pkt::Pkt::Data(line) = pkt {
            let line = String::from_utf8_lossy(&line).into_owned();
            text += line.split(" agent=").next().expect("a line").trim_end();
            text.push('\n');
        }
    }
    text
}

#[test]
fn the_advertisement_is_gits_word_for_word() {
    for hash in HASHES {
        let sandbox = Sandbox::new();
        let (client, server) = client_and_server(&sandbox, hash);
        sandbox.git(
            &client,
            ["push", "-q", &server.to_string_lossy(), "main:refs/heads/new", "main~2:refs/tags/t", "main:refs/namespaces/a/refs/heads/n"],
        );
        sandbox.git(&server, ["symbolic-ref", "refs/namespaces/a/HEAD", "refs/namespaces/a/refs/heads/n"]);
        sandbox.git(&server, ["symbolic-ref", "refs/heads/link", "refs/heads/new"]);
        let fork = sandbox.path("fork.git");
        sandbox.git(&sandbox.path(""), ["clone", "-q", "--bare", "--shared", "server.git", "fork.git"]);
        sandbox.git(&fork, ["update-ref", "-d", "refs/heads/new"]);
        sandbox.git(&fork, ["update-ref", "-d", "refs/tags/t"]);
        let shallow = sandbox.path("shallow.git");
        sandbox.git(&sandbox.path(""), ["clone", "-q", "--bare", "--depth=1", &format!("file://{}", server.display()), "shallow.git"]);
        let same = |repository: &Path, namespace: Option<&str>| {
            let [git, ours] = BOTH.map(|who| advertisement(&sandbox, who, repository, namespace));
            assert_eq!(ours, git, "{} in {namespace:?}", repository.display());
            ours
        };
        let told = same(&fork, None);
        assert_eq!(told.matches(" .have\n").count(), 1, "of two objects a ref has told already: {told}");
        assert!(same(&shallow, None).contains("\nshallow "));
        assert!(same(&server, Some("a")).contains(" .have\n"));
        same(&server, Some("b"));
        for (repository, key, value) in [
            (&fork, "core.alternateRefsPrefixes", "refs/tags"),
            (&fork, "receive.advertisePushOptions", "true"),
            (&fork, "receive.advertiseAtomic", "false"),
            (&fork, "repack.useDeltaBaseOffset", "false"),
            (&server, "transfer.hideRefs", "refs/tags"),
            (&server, "receive.hideRefs", "^refs/heads/main"),
        ] {
            sandbox.git(repository, ["config", "--add", key, value]);
            for namespace in [None, Some("a")] {
                same(repository, namespace);
            }
        }
        let empty = sandbox.bare("empty.git", hash);
        same(&empty, None);
    }
}

#[test]
fn what_alternates_have_need_not_come_again() {
    let sandbox = Sandbox::new();
    let (client, server) = client_and_server(&sandbox, "sha1");
    sandbox.git(&client, ["push", "-q", &server.to_string_lossy(), "main"]);
    sandbox.git(&sandbox.path(""), ["clone", "-q", "--bare", "--shared", "server.git", "fork.git"]);
    let fork = sandbox.path("fork.git");
    sandbox.git(&fork, ["update-ref", "-d", "refs/heads/main"]);
    sandbox.commit_file(&client, "a", "four");
    let output = push(&sandbox, Who::Packmule, &client, &["--progress", &fork.to_string_lossy(), "main"]);
    assert!(output.status.success() && told(&output).contains("Enumerating objects: 5,"), "only the last commit: {}", told(&output));
    check::sound(&sandbox, &fork);
}

#[test]
fn each_ref_is_told_by_itself_what_it_lacks() {
    let sandbox = Sandbox::new();
    let (client, server) = client_and_server(&sandbox, "sha1");
    let commit = |file: &str| {
        sandbox.commit_file(&client, file, file);
        sandbox.git(&client, ["rev-parse", "HEAD"])
    };
    let whole = sandbox.git(&client, ["rev-parse", "HEAD"]);
    let (broken, above) = (commit("broken"), commit("above"));
    sandbox.git(&client, ["checkout", "-q", "-b", "side", "main~2"]);
    let side = commit("side");
    let blob = sandbox.git(&client, ["rev-parse", &format!("{broken}:broken")]);
    let objects = sandbox.git(&client, ["rev-list", "--objects", "--no-object-names", &above, &side, "^main~3"]);
    let kept: String = objects.lines().filter(|id| **id != *blob).map(|id| format!("{id}\n")).collect();
    let mut packer = sandbox.git_command(&client, ["pack-objects", "-q", "--stdout"]);
    let pack = run_with_input(&mut packer, kept.as_bytes()).stdout;
    let zero = "0".repeat(40);
    let tips = [("above", &above), ("broken", &broken), ("side", &side), ("whole", &whole)];
    let mut input = vec![];
    for (at, (name, tip)) in tips.iter().enumerate() {
        let words = if at == 0 { "\0report-status" } else { "" };
        input.extend(crate::common::pkt::data(format!("{zero} {tip} refs/heads/{name}{words}")));
    }
    input.extend_from_slice(b"0000");
    input.extend(pack);
    let [git, ours] = BOTH.map(|who| {
        let server = sandbox.copy(&server, &format!("{who:?}.git"));
        let answer = who.answer(&sandbox, 0, "receive-pack", &server, &input);
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        text[text.find("unpack").unwrap_or_default()..].to_owned()
    });
    assert_eq!(ours, git);
    assert_eq!(ours.matches("missing necessary objects").count(), 2, "{ours}");
}

#[test]
fn flags_that_git_has_for_its_own_tests_do_what_they_do_there() {
    let sandbox = Sandbox::new();
    let (client, server) = client_and_server(&sandbox, "sha1");
    let text: String = (0..2000).map(|line| format!("line {line}\n")).collect();
    sandbox.commit_file(&client, "big", &text);
    sandbox.git(&client, ["push", "-q", &server.to_string_lossy(), "main"]);
    sandbox.commit_file(&client, "big", &(text + "one more\n"));
    let receiver = format!("{PACKMULE} receive-pack --reject-thin-pack-for-testing");
    let push = |args: &[&str]| {
        let mut command = sandbox.git_command(&client, ["push", &format!("--receive-pack={receiver}")]);
        command.args(args).arg(&server).arg("main");
        run(&mut command)
    };
    assert!(!push(&["--thin"]).status.success());
    check::sound(&sandbox, &server);
    assert!(push(&["--no-thin"]).status.success());
}

/// A nonce as git makes it (`builtin/receive-pack.c`: `prepare_push_cert_nonce`): HMAC, RFC 2104, with the seed as its text.
fn nonce_of(seed: &str, place: &str, at_s: i64) -> String {
    let digest = |parts: [&[u8]; 2]| {
        let mut hasher = gix_hash::hasher(gix_hash::Kind::Sha1);
        parts.iter().for_each(|part| hasher.update(part));
        hasher.try_finalize().expect("no collision")
    };
    let (mut key, moment) = ([0u8; 64], format!("{place}:{at_s}"));
    if moment.len() > key.len() {
        key[..20].copy_from_slice(digest([moment.as_bytes(), b""]).as_slice());
    } else {
        key[..moment.len()].copy_from_slice(moment.as_bytes());
    }
    let inner = digest([&key.map(|byte| byte ^ 0x36), seed.as_bytes()]);
    format!("{at_s}-{}", digest([&key.map(|byte| byte ^ 0x5c), inner.as_slice()]))
}

/// What a hook is told of a push to `server` that was signed with this nonce; `None`: none ran.
fn told_of_nonce(sandbox: &Sandbox, who: Who, options: &[&str], server: &Path, nonce: &str) -> Option<BTreeMap<String, String>> {
    let _ = std::fs::remove_file(server.join("told"));
    let tip = check::ref_value(sandbox, server, "refs/heads/main");
    let lines = [
        "push-cert\0report-status".to_owned(),
        "certificate version 0.1\n".to_owned(),
        "pusher A U Thor <author@example.com> 1700000000 +0000\n".to_owned(),
        if nonce.is_empty() { "\n".to_owned() } else { format!("nonce {nonce}\n\n") },
        format!("{} {tip} refs/heads/new\n", "0".repeat(40)),
        "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n".to_owned(),
        "push-cert-end\n".to_owned(),
    ];
    let mut request: Vec<u8> = lines.iter().flat_map(pkt::data).collect();
    request.extend(b"0000");
    request.extend(run_with_input(&mut sandbox.git_command(server, ["pack-objects", "-q", "--stdout"]), b"").stdout);
    let output = run_with_input(&mut who.command(sandbox, 0, "receive-pack", options, server), &request);
    eprintln!("{who:?} {options:?} {nonce}: {output:?}");
    let told = std::fs::read_to_string(server.join("told")).ok()?;
    Some(told.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

#[test]
fn a_nonce_of_another_moment_is_good_for_as_long_as_is_set_where_requests_are_separate() {
    let sandbox = Sandbox::new();
    let (_, server) = client_and_server(&sandbox, "sha1");
    sandbox.git(&server, ["config", "receive.certNonceSeed", "sekrit"]);
    hook(&server, "pre-receive", "cat >/dev/null\nenv | grep ^GIT_PUSH_CERT_NONCE >told\nexit 1");
    let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("later").as_secs() as i64;
    let place = server.to_string_lossy().into_owned();
    let at = |by_s: i64| nonce_of("sekrit", &place, now_s + by_s);
    let elsewhere = nonce_of("sekrit", &format!("{place}/"), now_s);
    const SEPARATE: &[&str] = &["--stateless-rpc"];
    for (what, options, slop_s, nonce, status) in [
        ("now", SEPARATE, "100000", at(0), "OK"),
        ("before", SEPARATE, "0", at(-5_000), "SLOP"),
        ("before, within what is set", SEPARATE, "100000", at(-5_000), "OK"),
        ("before, without", SEPARATE, "1000", at(-5_000), "SLOP"),
        ("after", SEPARATE, "0", at(5_000), "SLOP"),
        ("after, within what is set", SEPARATE, "100000", at(5_000), "OK"),
        ("of another place", SEPARATE, "100000", elsewhere, "BAD"),
        ("with another seed", SEPARATE, "100000", nonce_of("secret", &place, now_s), "BAD"),
        ("of a moment that it does not name", SEPARATE, "100000", at(-5_000).replacen('-', "0-", 1), "BAD"),
        ("none", SEPARATE, "100000", String::new(), "MISSING"),
        ("before, in one conversation", &[], "100000", at(-5_000), "BAD"),
    ] {
        sandbox.git(&server, ["config", "receive.certNonceSlop", slop_s]);
        let [git, ours] = BOTH.map(|who| told_of_nonce(&sandbox, who, options, &server, &nonce).expect("the hook ran"));
        for (who, told) in [("git", &git), ("ours", &ours)] {
            let shown = told["GIT_PUSH_CERT_NONCE"].as_str();
            assert_eq!(told["GIT_PUSH_CERT_NONCE_STATUS"], status, "{what}: {who}");
            assert_eq!(shown == nonce, status == "OK", "{what}: {who} says {shown}");
            // Where we are told that time is by now.
            let by_s: Option<i64> = told.get("GIT_PUSH_CERT_NONCE_SLOP").map(|by_s| by_s.parse().expect("seconds"));
            assert_eq!(by_s.is_some(), status == "SLOP", "{what}: {who}");
            let right = if what.starts_with("after") { -5_000..-4_000 } else { 5_000..6_000 };
            assert!(by_s.is_none_or(|by_s| right.contains(&by_s)), "{what}: {who} {by_s:?}");
        }
    }
}

#[test]
fn a_certificate_that_nobody_asked_for_tells_hooks_of_no_nonce() {
    let sandbox = Sandbox::new();
    let (_, server) = client_and_server(&sandbox, "sha1");
    hook(&server, "pre-receive", "cat >/dev/null\nenv | grep ^GIT_PUSH_CERT_NONCE >told\nexit 1");
    let nonce = nonce_of("sekrit", &server.to_string_lossy(), 1_700_000_000);
    // git goes on with it; here nothing is served that was not offered.
    assert_eq!(told_of_nonce(&sandbox, Who::Git, &["--stateless-rpc"], &server, &nonce), Some(BTreeMap::new()));
    assert_eq!(told_of_nonce(&sandbox, Who::Packmule, &["--stateless-rpc"], &server, &nonce), None);
    check::sound(&sandbox, &server);
}

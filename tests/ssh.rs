//! `packmule serve` on a port of its own, and stock git with OpenSSH before it.

mod common;

use common::pkt;
use common::remote::Remote;
use common::server::{Server, has_ssh, make_key, write_ssh_config};
use common::{Case, PACKMULE, Sandbox, check, few_cases, report, run, run_with_input, scenario};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};

/// Two cases, each with a server of its own.
fn few_remotes(test: impl Fn(&Remote<'_>)) {
    if has_ssh() {
        few_cases(|case| {
            let sandbox = Sandbox::new();
            let server = Server::start(&sandbox);
            test(&Remote::ssh(&sandbox, case, &server));
        });
    }
}

/// SHA-1 and protocol version 2, with a server of its own.
fn one_server(test: impl Fn(&Sandbox, &mut Server)) {
    if has_ssh() {
        let sandbox = Sandbox::new();
        let mut server = Server::start(&sandbox);
        test(&sandbox, &mut server);
    }
}

const V2: Case = Case { hash: "sha1", protocol: 2 };

/// Run `git ARGS` against `server`, whatever comes of it.
fn git(sandbox: &Sandbox, server: &Server, folder: &Path, args: &[&str]) -> (Output, String) {
    let mut command = sandbox.git_command(folder, args);
    command.env("GIT_SSH_COMMAND", server.ssh_command()).env("GIT_SSH_VARIANT", "ssh");
    let output = run(&mut command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

#[test]
fn a_clone_has_everything() {
    few_remotes(|remote| scenario::clone_whole(remote, 120));
}

#[test]
fn a_fetch_brings_what_is_new_and_no_more_than_git_sends() {
    few_remotes(scenario::fetch_new_commits);
}

#[test]
fn a_client_that_went_its_own_way_negotiates() {
    few_remotes(scenario::fetch_into_divergent_client);
}

#[test]
fn a_whole_history_is_pushed_into_an_empty_repository() {
    few_remotes(|remote| scenario::push_history(remote, 120));
}

#[test]
fn commits_branches_tags_and_deletions_are_pushed() {
    few_remotes(scenario::push_day_by_day);
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
    few_remotes(scenario::clone_empty);
}

#[test]
fn a_head_that_is_detached_or_unborn_is_served() {
    few_remotes(scenario::odd_heads);
}

#[test]
fn annotated_tags_follow_their_commits() {
    few_remotes(scenario::tags_follow);
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
fn the_first_push_creates_the_repository_under_any_spelling_of_its_name() {
    one_server(|sandbox, server| {
        let client = sandbox.work_tree("client", "sha1");
        let tip = sandbox.git(&client, ["rev-parse", "main"]);
        for (url, on_disk) in [
            (server.url("one"), "one.git"),
            (server.url("two.git"), "two.git"),
            (server.url("group/three.git"), "group/three.git"),
            ("mule:four".to_owned(), "four.git"),
            ("mule:group/five.git".to_owned(), "group/five.git"),
        ] {
            let (output, said) = git(sandbox, server, &client, &["push", &url, "main"]);
            assert!(output.status.success() && said.contains("[new branch]"), "{url}: {said}");
            let made = server.root.join(on_disk);
            assert_eq!(check::ref_value(sandbox, &made, "refs/heads/main"), tip, "{url}");
            check::sound(sandbox, &made);
        }
        for name in ["one", "one.git", "one/", "one.git/"] {
            let (output, said) = git(sandbox, server, &client, &["ls-remote", &server.url(name)]);
            assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains(&tip), "{name}: {said}");
        }
        let (output, said) = git(sandbox, server, &client, &["ls-remote", "mule:/one"]);
        assert!(output.status.success(), "{said}");
    });
}

#[test]
fn head_points_at_the_first_branch_pushed_unless_main_is_among_them() {
    one_server(|sandbox, server| {
        let client = sandbox.work_tree("client", "sha1");
        sandbox.git(&client, ["tag", "v1"]);
        for (name, refspecs, head) in [
            ("topic-only", &["main:refs/heads/topic"][..], "refs/heads/topic"),
            ("topic-and-main", &["main:refs/heads/a-topic", "main"], "refs/heads/main"),
            ("two-topics", &["main:refs/heads/zebra", "main:refs/heads/ant"], "refs/heads/zebra"),
            ("tag-and-topic", &["v1", "main:refs/heads/topic"], "refs/heads/topic"),
        ] {
            Remote::ssh(sandbox, V2, server).push(&client, name, refspecs);
            let made = server.root.join(format!("{name}.git"));
            assert_eq!(sandbox.git(&made, ["symbolic-ref", "HEAD"]), head, "{name}");
            let clone = Remote::ssh(sandbox, V2, server).clone(name, &format!("clone-{name}"), &[]);
            assert!(clone.join("readme").exists(), "{name}");
        }
    });
}

#[test]
fn a_client_with_the_other_hash_hears_so_and_leaves_nothing_behind() {
    one_server(|sandbox, server| {
        let client = sandbox.work_tree("client", "sha256");
        let (output, said) = git(sandbox, server, &client, &["push", &server.url("new/thing"), "main"]);
        assert!(!output.status.success(), "{said}");
        // The advertisement tells; the client draws the conclusion.
        assert!(said.contains("the receiving end does not support this repository's hash algorithm"), "{said}");
        assert!(!said.contains("Could not read from remote repository"), "{said}");
        assert!(!server.root.join("new").exists() && !server.root.join("new.git").exists());
    });
}

#[test]
fn a_server_set_to_sha256_makes_such_repositories() {
    if !has_ssh() {
        return;
    }
    let sandbox = Sandbox::new();
    let config = sandbox.path("config.toml");
    std::fs::write(&config, "hash = \"sha256\"\n").expect("a writable sandbox");
    let server = Server::start_with(&sandbox, &["--config".as_ref(), config.as_os_str()]);
    let client = sandbox.work_tree("client", "sha256");
    let (output, said) = git(&sandbox, &server, &client, &["push", &server.url("new"), "main"]);
    assert!(output.status.success(), "{said}");
    assert_eq!(sandbox.git(&server.root.join("new.git"), ["rev-parse", "--show-object-format"]), "sha256");
    check::sound(&sandbox, &server.root.join("new.git"));
}

#[test]
fn a_creation_that_is_refused_or_broken_off_leaves_no_folder() {
    one_server(|sandbox, server| {
        let client = sandbox.work_tree("client", "sha1");
        Remote::ssh(sandbox, V2, server).push(&client, "taken", &["main"]);
        for name in [".hidden", "group/.hidden", "taken.git/below", "../outside", "a/../b", "a//b/../../c", ".packmule/x"] {
            let (output, said) = git(sandbox, server, &client, &["push", &server.url(name), "main"]);
            assert!(!output.status.success(), "{name}: {said}");
            assert!(said.contains("remote error: ") && !said.contains("Could not read from remote repository"), "{name}: {said}");
        }
        let tip = sandbox.git(&client, ["rev-parse", "main"]);
        let zero = "0".repeat(40);
        let command = |name: &str| [pkt::data(format!("{zero} {tip} {name}\0report-status")), b"0000".to_vec()].concat();
        let broken = [command("refs/heads/main"), b"PACK\0\0\0\x02\0\0\0\x03x\x9c".to_vec()].concat();
        let funny = [command("refs/heads/../x"), empty_pack()].concat();
        for (name, input) in [("broken", broken), ("funny", funny), ("nothing", b"0000".to_vec()), ("gone", vec![])] {
            let mut ssh = server.ssh(sandbox, &[&format!("git-receive-pack 'deep/{name}'")]);
            let output = run_with_input(&mut ssh, &input);
            assert!(!String::from_utf8_lossy(&output.stdout).contains("\nok refs"), "{}", report(&ssh, &output));
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
        let mut left: Vec<String> = check::files(&server.root).into_iter().filter(|name| !name.starts_with("taken.git/")).collect();
        left.retain(|name| !matches!(name.as_str(), ".packmule/lock" | ".packmule/host_key" | ".packmule/host_key.pub"));
        assert!(left.is_empty(), "{left:?}");
        assert!(!server.root.join("deep").exists() && !sandbox.path("outside.git").exists());
    });
}

/// A pack without objects.
fn empty_pack() -> Vec<u8> {
    let sandbox = Sandbox::new();
    let repository = sandbox.bare("empty", "sha1");
    let mut command = sandbox.git_command(&repository, ["pack-objects", "-q", "--stdout"]);
    run_with_input(&mut command, b"").stdout
}

#[test]
fn a_repository_that_is_not_there_is_refused_with_a_sentence() {
    one_server(|sandbox, server| {
        let (output, said) = git(sandbox, server, &sandbox.path(""), &["clone", &server.url("nothing"), "copy"]);
        assert!(!output.status.success());
        assert!(said.contains("fatal: remote error: no repository \"nothing\" here"), "{said}");
        assert!(!said.contains("Could not read from remote repository"), "{said}");
    });
}

#[test]
fn two_folders_for_one_name_are_an_error_that_names_both() {
    one_server(|sandbox, server| {
        sandbox.bare("served/twin", "sha1");
        sandbox.bare("served/twin.git", "sha1");
        let (output, said) = git(sandbox, server, &sandbox.path(""), &["ls-remote", &server.url("twin")]);
        assert!(!output.status.success() && said.contains("remote error: "), "{said}");
        server.wait_for("both 'twin.git' and 'twin' are there");
    });
}

#[test]
fn who_logs_in_without_a_command_is_greeted() {
    one_server(|sandbox, server| {
        let client = sandbox.work_tree("client", "sha1");
        Remote::ssh(sandbox, V2, server).push(&client, "notes", &["main"]);
        let mut ssh = server.ssh(sandbox, &[]);
        let output = run(&mut ssh);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let mut keygen = sandbox.command("ssh-keygen");
        let listed = run(keygen.args(["-l", "-f"]).arg(sandbox.home().join(".ssh/id_ed25519.pub")));
        let fingerprint = String::from_utf8_lossy(&listed.stdout).split(' ').nth(1).expect("a fingerprint").to_owned();
        assert!(output.status.success(), "{}", report(&ssh, &output));
        assert!(said.contains("hello ") && said.contains(&fingerprint) && said.contains("read") && said.contains("notes"), "{said}");
    });
}

#[test]
fn what_is_no_git_command_gets_a_sentence_of_its_own() {
    one_server(|sandbox, server| {
        sandbox.bare("served/x.git", "sha1");
        for words in ["ls -la", "git-upload-pack", "git-upload-pack 'x' 'y'", "git-upload-pack 'x'; id", "scp -t x"] {
            let mut ssh = server.ssh(sandbox, &[words]);
            let output = run(&mut ssh);
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && said.trim().len() > 10 && !said.contains("uid="), "{words}: {}", report(&ssh, &output));
        }
        for refused in [&["-s", "sftp"][..], &["-tt"]] {
            let mut ssh = sandbox.command("ssh");
            ssh.args(server.ssh(sandbox, &[]).get_args().take(2)).args(refused.iter().take(1)).arg("mule").args(refused.iter().skip(1));
            let output = run(ssh.stdin(Stdio::null()));
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(refused[0] == "-tt" || !output.status.success(), "{refused:?}: {said}");
        }
    });
}

#[test]
fn keys_of_every_kind_are_taken_and_an_unknown_one_is_not() {
    if !has_ssh() {
        return;
    }
    let sandbox = Sandbox::new();
    let kinds: [(&str, &[&str]); 4] = [
        ("ed25519", &["ed25519"]),
        ("ecdsa", &["ecdsa", "-b", "256"]),
        ("ecdsa521", &["ecdsa", "-b", "521"]),
        ("rsa", &["rsa", "-b", "3072"]),
    ];
    let keys: Vec<_> = kinds.iter().map(|(name, kind)| make_key(&sandbox, &sandbox.path("keys").join(name), kind)).collect();
    let mut more = vec![];
    for key in &keys {
        more.extend(["--admin-key".to_owned(), key.with_extension("pub").to_string_lossy().into_owned()]);
    }
    let server = Server::start_with(&sandbox, &more);
    let stranger = make_key(&sandbox, &sandbox.path("keys/stranger"), &["ed25519"]);
    let client = sandbox.work_tree("client", "sha1");
    for (n, key) in keys.iter().chain([&stranger]).enumerate() {
        let config = write_ssh_config(&sandbox, server.port, key);
        let mut push = sandbox.git_command(&client, ["push", &server.url(&format!("by-{n}")), "main"]);
        push.env("GIT_SSH_COMMAND", format!("ssh -F {}", config.display()));
        let output = run(&mut push);
        assert_eq!(output.status.success(), *key != stranger, "{}", report(&push, &output));
    }
    assert!(!server.root.join("by-4.git").exists());
}

#[test]
fn the_host_key_is_made_once_and_kept_private() {
    if !has_ssh() {
        return;
    }
    let sandbox = Sandbox::new();
    let fingerprint = |server: &Server| {
        let said = server.said();
        said.split_once("host key ").expect("the host key is told").1.split(' ').next().expect("a fingerprint").to_owned()
    };
    let mut first = Server::start(&sandbox);
    first.wait_for("host key ");
    let kept = fingerprint(&first);
    let key = first.root.join(".packmule/host_key");
    assert_eq!(std::fs::metadata(&key).expect("a key file").permissions().mode() & 0o777, 0o600);
    first.signal("TERM");
    assert!(first.wait().success());
    let second = Server::start(&sandbox);
    second.wait_for("host key ");
    assert_eq!(fingerprint(&second), kept);
}

#[test]
fn a_second_server_on_the_same_root_or_port_is_refused_with_a_hint() {
    one_server(|sandbox, server| {
        let mut second = sandbox.command(PACKMULE);
        second.arg("serve").arg(&server.root).args(["--ssh", "127.0.0.1:0"]);
        let output = run(&mut second);
        assert!(!output.status.success(), "{}", report(&second, &output));
        let mut third = sandbox.command(PACKMULE);
        third.arg("serve").arg(sandbox.path("other")).args(["--ssh", &format!("127.0.0.1:{}", server.port)]);
        let output = run(&mut third);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("is in use") && said.contains("hint: packmule serve --ssh "), "{said}");
    });
}

#[test]
fn sighup_changes_nothing_and_sigterm_lets_transfers_end() {
    one_server(|sandbox, server| {
        sandbox.history("served/x.git", "sha1", 20, 30);
        let tip = sandbox.git(&server.root.join("x.git"), ["rev-parse", "main"]);
        server.signal("HUP");
        let mut ssh = server.ssh(sandbox, &["git-upload-pack 'x'"]);
        let mut child = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("ssh starts");
        let (mut stdin, mut stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let mut first = [0; 4];
        stdout.read_exact(&mut first).expect("an advertisement");
        server.signal("TERM");
        std::thread::sleep(std::time::Duration::from_millis(500));
        assert!(server.runs(), "a transfer is under way");
        let (refused, _) = git(sandbox, server, &sandbox.path(""), &["ls-remote", &server.url("x")]);
        assert!(!refused.status.success(), "nothing new is taken");
        stdin.write_all(&[pkt::data(format!("want {tip}\n")), b"0000".to_vec(), pkt::data("done\n")].concat()).expect("a reader");
        let mut rest = vec![];
        stdout.read_to_end(&mut rest).expect("the pack");
        assert!(rest.windows(4).any(|bytes| bytes == b"PACK"), "the transfer ended well");
        assert!(child.wait().expect("ssh ends").success());
        assert!(server.wait().success());
    });
}

#[test]
fn a_second_signal_ends_at_once() {
    one_server(|sandbox, server| {
        sandbox.history("served/x.git", "sha1", 21, 5);
        let mut ssh = server.ssh(sandbox, &["git-upload-pack 'x'"]);
        let mut child = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("ssh starts");
        child.stdout.as_mut().expect("piped").read_exact(&mut [0; 4]).expect("an advertisement");
        server.signal("INT");
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(server.runs());
        let begun = std::time::Instant::now();
        server.signal("INT");
        server.wait();
        assert!(begun.elapsed().as_secs() < 5);
        drop(child.stdin.take());
        child.wait().expect("ssh ends");
    });
}

#[test]
fn many_clients_at_once_get_what_they_ask_for() {
    one_server(|sandbox, server| {
        let remote = Remote::ssh(sandbox, V2, server);
        let (path, _) = remote.history("busy", 22, 150);
        std::thread::scope(|scope| {
            for n in 0..8 {
                scope.spawn(move || {
                    let clone = remote.clone("busy", &format!("clone{n}"), &["--no-checkout"]);
                    sandbox.git(&clone, ["checkout", "-q", "-b", &format!("mine{n}")]);
                    sandbox.commit_file(&clone, &format!("mine{n}"), "mine\n");
                    remote.push(&clone, "busy", &[&format!("mine{n}")]);
                });
            }
        });
        check::sound(sandbox, &path);
        assert_eq!(check::refs(sandbox, &path).matches("refs/heads/mine").count(), 8);
    });
}

#[test]
fn a_client_that_vanishes_in_the_middle_leaves_nothing_behind() {
    one_server(|sandbox, server| {
        let remote = Remote::ssh(sandbox, V2, server);
        let (path, _) = remote.history("left", 23, 40);
        let client = sandbox.history("left-client", "sha1", 24, 40).0;
        let tip = sandbox.git(&client, ["rev-parse", "main"]);
        let mut pack = sandbox.git_command(&client, ["pack-objects", "-q", "--revs", "--stdout"]);
        let pack = run_with_input(&mut pack, b"main\n").stdout;
        let head = [pkt::data(format!("{} {tip} refs/heads/new\0report-status", "0".repeat(40))), b"0000".to_vec()].concat();
        for part in [0, 5, 12, 100, pack.len() / 2, pack.len() - 1] {
            let mut ssh = server.ssh(sandbox, &["git-receive-pack 'left'"]);
            run_with_input(&mut ssh, &[&head, &pack[..part]].concat());
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
        check::sound(sandbox, &path);
        assert_eq!(check::ref_value(sandbox, &path, "refs/heads/new"), "");
        let mut ssh = server.ssh(sandbox, &["git-receive-pack 'left'"]);
        let output = run_with_input(&mut ssh, &[head, pack].concat());
        assert!(String::from_utf8_lossy(&output.stdout).contains("ok refs/heads/new"), "{}", report(&ssh, &output));
        assert_eq!(check::ref_value(sandbox, &path, "refs/heads/new"), tip);
    });
}

#[test]
fn journals_are_brought_to_their_end_when_a_server_is_idle_and_when_it_stops() {
    one_server(|sandbox, server| {
        let client = sandbox.work_tree("client", "sha1");
        sandbox.commit_file(&client, "file", "1");
        Remote::ssh(sandbox, V2, server).push(&client, "journaled", &["HEAD:refs/heads/made"]);
        let path = server.root.join("journaled.git");
        let length = || std::fs::metadata(path.join("packmule-journal")).map(|meta| meta.len()).unwrap_or_default();
        Remote::ssh(sandbox, V2, server).push(&client, "journaled", &["HEAD:refs/heads/first"]);
        assert!(length() > 64, "the push stands in it");
        for _ in 0..3000 {
            if length() == 64 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!(length(), 64, "nobody has pushed for a while");
        Remote::ssh(sandbox, V2, server).push(&client, "journaled", &["HEAD:refs/heads/second"]);
        server.signal("TERM");
        server.wait();
        assert_eq!(length(), 64, "the server has ended");
        check::sound(sandbox, &path);
    });
}

#[test]
fn what_dead_pushes_left_is_removed_at_the_start() {
    if !has_ssh() {
        return;
    }
    let sandbox = Sandbox::new();
    let repository = sandbox.bare("served/left.git", "sha1");
    let left = repository.join("objects/packmule-incoming-0123456789abcdef");
    let foreign = repository.join("objects/tmp_objdir-incoming-XyZ123");
    for folder in [&left, &foreign] {
        std::fs::create_dir_all(folder.join("pack")).expect("a folder");
    }
    std::fs::write(left.join("owner"), "").expect("a file");
    let _server = Server::start(&sandbox);
    for _ in 0..1000 {
        if !left.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(!left.exists(), "the quarantine of a dead push stays");
    assert!(foreign.exists(), "what is not ours is left alone");
}

#[test]
fn a_session_id_is_told_where_the_repository_says_so() {
    one_server(|sandbox, server| {
        let client = sandbox.work_tree("client", "sha1");
        Remote::ssh(sandbox, V2, server).push(&client, "told", &["main"]);
        sandbox.git(&server.root.join("told.git"), ["config", "transfer.advertiseSID", "true"]);
        let advertised = |name: &str| {
            let mut ssh = server.ssh(sandbox, &[&format!("git-upload-pack '{name}'")]);
            String::from_utf8_lossy(&run_with_input(&mut ssh, b"0000").stdout).into_owned()
        };
        assert!(advertised("told").contains(" session-id="), "{}", advertised("told"));
        sandbox.git(&server.root.join("told.git"), ["config", "transfer.advertiseSID", "false"]);
        assert!(!advertised("told").contains("session-id="));
    });
}

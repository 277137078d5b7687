//! Hooks around pushes beside stock git's: what each hears, sees and may refuse, and what the pusher reads of it.

use crate::common::remote::Remote;
use crate::common::server::{Server, has_ssh};
use crate::common::{Case, PACKMULE, Sandbox, check, few_cases, run, write_program};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Writes down its arguments, its environment and its input, beneath the git directory, and speaks on both outputs.
const RECORD: &str = r#"
log=record.$(basename "$0")
{ echo "-- args $*"; env | sort; echo "-- pwd $(pwd)"; } >>"$log"
"#;
const READ: &str = "cat >>\"$log\"\n";

fn write_hook(repository: &Path, name: &str, text: &str) -> PathBuf {
    let path = repository.join("hooks").join(name);
    write_program(&path, &format!("#!/bin/sh\n{text}"));
    path
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Two equal repositories on the server, `ours` and `stock`, each with `prepare`d hooks, and a client with commits and tags.
struct Pair<'a> {
    remote: Remote<'a>,
    client: PathBuf,
}

const NAMES: [&str; 2] = ["ours", "stock"];

impl<'a> Pair<'a> {
    fn new(remote: Remote<'a>, prepare: impl Fn(&Path)) -> Self {
        let sandbox = remote.sandbox;
        let client = sandbox.work_tree("client", remote.case.hash);
        sandbox.commit_file(&client, "a", "one\n");
        sandbox.git(&client, ["branch", "old"]);
        for name in NAMES {
            let server = remote.bare(name);
            sandbox.git(&client, ["push", "-q", &server.to_string_lossy(), "main", "old", "main:refs/heads/topic"]);
            prepare(&server);
        }
        sandbox.commit_file(&client, "a", "two\n");
        sandbox.git(&client, ["tag", "-a", "-m", "tag", "v1"]);
        Self { remote, client }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.remote.path(name)
    }

    /// Push to both. What the client says of each, with the names of the repositories taken out; whether both succeed is held here.
    #[track_caller]
    fn push(&self, args: &[&str]) -> [String; 2] {
        let outcome = |remote: &Remote<'_>, name: &str| {
            let mut words: Vec<String> = args.iter().map(|word| (*word).to_owned()).collect();
            words.insert(args.iter().take_while(|word| word.starts_with('-')).count(), remote.url(name));
            let output = run(&mut remote.command(&self.client, "push", words));
            let said = String::from_utf8_lossy(&output.stderr).replace(&remote.url(name), "URL");
            (output.status.success(), said.replace(&*self.path(name).to_string_lossy(), "REPO"))
        };
        let ours = outcome(&self.remote, "ours");
        let stock = outcome(&self.remote.stock(), "stock");
        assert_eq!(ours.0, stock.0, "--- ours\n{}\n--- stock\n{}", ours.1, stock.1);
        let refs = |name| check::refs(self.remote.sandbox, &self.path(name));
        assert_eq!(refs("ours"), refs("stock"), "--- ours\n{}\n--- stock\n{}", ours.1, stock.1);
        [ours.1, stock.1]
    }

    /// As [`Pair::push`], and the client reads the same of both.
    #[track_caller]
    fn push_alike(&self, args: &[&str]) -> String {
        let [ours, stock] = self.push(args);
        assert_eq!(ours, stock);
        ours
    }

    /// What a hook wrote down in both, without what differs from one run to the next.
    fn records(&self, hook: &str) -> [String; 2] {
        NAMES.map(|name| {
            let text = read(self.path(name).join(format!("record.{hook}")))
                .replace(&*self.path(name).to_string_lossy(), "REPO")
                .replace("REPO/./", "REPO/");
            let lines = text.lines().map(|line| match line.split_once('=') {
                // git puts its own programs in front of the path.
                Some(("PATH" | "_" | "SHLVL" | "OLDPWD", _)) => String::new(),
                Some((variable @ ("GIT_QUARANTINE_PATH" | "GIT_OBJECT_DIRECTORY"), value)) => {
                    assert!(value.starts_with("REPO/objects/"), "{line}");
                    format!("{variable}=REPO/objects/(quarantine)\n")
                }
                _ => format!("{line}\n"),
            });
            lines.collect()
        })
    }
}

fn each_pair(prepare: impl Fn(&Path), test: impl Fn(&Pair<'_>)) {
    few_cases(|case| {
        let sandbox = Sandbox::new();
        test(&Pair::new(Remote::stdio(&sandbox, case), &prepare));
    });
}

#[test]
fn every_hook_hears_what_git_tells_it() {
    let prepare = |server: &Path| {
        for (name, text) in [("pre-receive", READ), ("update", ""), ("post-receive", READ), ("post-update", "")] {
            write_hook(server, name, &format!("{RECORD}{text}echo {name} out; echo {name} err >&2\n"));
        }
    };
    each_pair(prepare, |pair| {
        let [said, stock] = pair.push(&["main", "v1", "main:refs/heads/new", ":old"]);
        let sorted = |said: &str| {
            let mut lines: Vec<String> = said.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&said), sorted(&stock));
        for hook in ["pre-receive", "update", "post-receive", "post-update"] {
            assert!(said.contains(&format!("remote: {hook} out")) && said.contains(&format!("remote: {hook} err")), "{said}");
        }
        for hook in ["pre-receive", "post-receive", "post-update"] {
            let [ours, stock] = pair.records(hook);
            assert_eq!(ours, stock, "{hook}");
            assert!(ours.contains("GIT_DIR=.") && ours.contains("-- pwd REPO"), "{ours}");
            assert_eq!(ours.contains("GIT_QUARANTINE_PATH="), hook == "pre-receive", "{hook}");
        }
        // With us the objects are still in quarantine then.
        let [ours, stock] = pair.records("update");
        let within = |line: &&str| {
            ["GIT_QUARANTINE_PATH=", "GIT_OBJECT_DIRECTORY=", "GIT_ALTERNATE_OBJECT_DIRECTORIES="].iter().any(|name| line.starts_with(name))
        };
        assert_eq!(ours.lines().filter(within).count(), 3 * 4, "{ours}");
        let without: String = ours.lines().filter(|line| !within(line)).map(|line| format!("{line}\n")).collect();
        // Since 2.51 git asks about deletions first.
        let runs = |record: &str| {
            let mut runs: Vec<String> = record.split("-- args ").map(str::to_owned).collect();
            runs.sort();
            runs
        };
        assert_eq!(runs(&without), runs(&stock));
        check::sound(pair.remote.sandbox, &pair.path("ours"));
    });
}

#[test]
fn what_a_hook_refuses_does_not_happen() {
    let prepare = |server: &Path| {
        let text = "echo asked; while read old new name; do case $name in */bad) exit 1;; esac; done\n";
        write_hook(server, "pre-receive", text);
        write_hook(server, "update", "echo asked $1; case $1 in */never) exit 3;; */killed) kill -TERM $$;; esac\n");
    };
    each_pair(prepare, |pair| {
        let said = pair.push_alike(&["main", "main:refs/heads/bad"]);
        assert!(said.matches("(pre-receive hook declined)").count() == 2, "{said}");
        let said = pair.push_alike(&["main:refs/heads/good", "main:refs/heads/never"]);
        assert!(said.contains("error: hook declined to update refs/heads/never") && said.contains("(hook declined)"), "{said}");
        let said = pair.push_alike(&["--atomic", "main:refs/heads/better", "main:refs/heads/never", "main:refs/heads/zeal"]);
        assert!(said.contains("(atomic push failure)") && !said.contains("asked refs/heads/zeal"), "{said}");
        let [ours, stock] = pair.push(&["main:refs/heads/killed"]);
        for said in [ours, stock] {
            assert!(said.contains("(hook declined)"), "{said}");
        }
        check::sound(pair.remote.sandbox, &pair.path("ours"));
    });
}

#[test]
fn git_within_a_hook_sees_what_is_pushed_and_nothing_of_it_stays_when_it_is_refused() {
    let see = "zero=$(echo $3 | tr 0-9a-f 0); git cat-file -t $3 && git rev-list --objects $3 --not --all | wc -l; git fsck --connectivity-only $3\n";
    let prepare = |server: &Path| {
        write_hook(server, "update", &format!("{see}exit 1\n"));
        write_hook(
            server,
            "pre-receive",
            "read old new name; git diff-tree --stat $old $new; git update-ref refs/heads/x $new && echo changed; exit 0\n",
        );
    };
    each_pair(prepare, |pair| {
        let [ours, stock] = pair.push(&["main"]);
        assert!(ours.contains("remote: commit") && ours.contains("1 file changed"), "{ours}");
        assert_eq!(ours.matches("forbidden inside quarantine").count(), stock.matches("forbidden inside quarantine").count());
        assert!(ours.contains("forbidden inside quarantine") && ours.contains("(hook declined)"), "{ours}");
        let server = pair.path("ours");
        let packs = std::fs::read_dir(server.join("objects/pack")).expect("a folder").count();
        assert_eq!(packs, 0, "what was refused stays");
        check::sound(pair.remote.sandbox, &server);
    });
}

#[test]
fn what_hooks_write_stays_with_the_push_and_goes_with_a_refused_one() {
    let pack = "id=$(echo packed by $0 $refused | git hash-object -w --stdin); echo $id >>ids; cd $GIT_OBJECT_DIRECTORY\n\
        echo $id | git --git-dir=../.. pack-objects -q pack/pack >/dev/null; rm -f $(echo $id | cut -c1-2)/$(echo $id | cut -c3-); cd ../..\n";
    let write = "echo written by $0 $refused | git hash-object -w --stdin >>ids\n";
    let prepare = |server: &Path| {
        let refuse = "while read old new name; do case $name in *refused*) refused=1;; esac; done\n";
        write_hook(server, "pre-receive", &format!("{refuse}{write}{pack}exit ${{refused:-0}}\n"));
        write_hook(server, "update", write);
    };
    each_pair(prepare, |pair| {
        let sandbox = pair.remote.sandbox;
        for (name, stay, count) in [("main:refs/heads/refused", false, 2), ("main", true, 5)] {
            pair.push_alike(&[name]);
            let [ours, stock] = NAMES.map(|name| read(pair.path(name).join("ids")));
            assert_eq!((ours.lines().count(), &ours), (count, &stock));
            for name in NAMES {
                for id in ours.lines().skip(count - if stay { 3 } else { 2 }) {
                    let has = run(&mut sandbox.git_command(&pair.path(name), ["cat-file", "-e", id])).status.success();
                    assert_eq!(has, stay, "{name} {id}");
                }
            }
            check::sound(sandbox, &pair.path("ours"));
        }
        let packs = std::fs::read_dir(pair.path("ours").join("objects/pack")).expect("a folder");
        let packs: Vec<String> = packs.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        assert_eq!(packs.iter().filter(|name| name.ends_with(".idx")).count(), 2, "the one that was pushed, and the hook's: {packs:?}");
    });
}

#[test]
fn hooks_of_a_push_that_cuts_history_off_know_where_it_ends() {
    let hooks = ["pre-receive", "update", "post-receive", "post-update", "reference-transaction"];
    let prepare = |server: &Path| {
        for name in hooks {
            // Only of the states that every git has.
            let text = "case $1 in preparing|aborted) exit 0;; esac\n{ echo \"$1 ${GIT_SHALLOW_FILE+is set}\"\n\
                [ -z \"$GIT_SHALLOW_FILE\" ] || sort \"$GIT_SHALLOW_FILE\"\n[ -z \"$3\" ] || git rev-list --count $3; } >>record.$(basename $0)\n";
            write_hook(server, name, text);
        }
    };
    each_pair(prepare, |pair| {
        let sandbox = pair.remote.sandbox;
        let far = sandbox.work_tree("far", pair.remote.case.hash);
        ["a", "b", "c"].iter().for_each(|text| drop(sandbox.commit_file(&far, "f", text)));
        sandbox.git(&sandbox.path(""), ["clone", "-q", "--no-tags", "--depth=2", &format!("file://{}", far.display()), "cut"]);
        let cut = sandbox.path("cut");
        let push = |client: &Path, spec: &str| {
            [&pair.remote, &pair.remote.stock()]
                .into_iter()
                .zip(NAMES)
                .map(|(remote, name)| run(&mut remote.command(client, "push", [remote.url(name).as_str(), spec])).status.success())
                .collect::<Vec<_>>()
        };
        assert_eq!(push(&cut, "main:refused"), [false, false]);
        NAMES.iter().for_each(|name| drop(sandbox.git(&pair.path(name), ["config", "receive.shallowUpdate", "true"])));
        assert_eq!(push(&cut, "main:far"), [true, true]);
        assert_eq!(push(&pair.client, "main"), [true, true], "a client with all of its history");
        sandbox.commit_file(&cut, "f", "d");
        assert_eq!(push(&cut, "main:far"), [true, true], "the end is known already");
        for hook in hooks {
            let [ours, stock] = NAMES.map(|name| read(pair.path(name).join(format!("record.{hook}"))));
            assert_eq!(ours, stock, "{hook}");
            assert!(ours.contains("is set\n") && !ours.starts_with("is set"), "{hook}: {ours}");
        }
        check::sound(sandbox, &pair.path("ours"));
    });
}

/// The lines of one state, in order: packs of transactions differ, their edits do not.
fn states(record: &str, state: &str) -> Vec<String> {
    let mut lines: Vec<String> = record
        .split("-- args ")
        .filter_map(|run| run.strip_prefix(state)?.split_once("-- pwd REPO\n"))
        .flat_map(|(_, lines)| lines.lines())
        // Up to 2.54, git tells of HEAD's reflog too.
        .filter(|line| !line.is_empty() && !line.ends_with(" HEAD"))
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

#[test]
fn every_state_of_a_transaction_is_told_and_the_first_two_may_be_refused() {
    let prepare = |server: &Path| {
        let refuse = "grep -q refs/heads/veto-$1 $log && { echo no; exit 1; }; exit 0\n";
        write_hook(server, "reference-transaction", &format!("{RECORD}{READ}{refuse}"));
    };
    each_pair(prepare, |pair| {
        let clear = || NAMES.iter().for_each(|name| drop(std::fs::remove_file(pair.path(name).join("record.reference-transaction"))));
        pair.push(&["--atomic", "main", "main:refs/heads/new", ":old"]);
        let [ours, stock] = pair.records("reference-transaction");
        for state in ["prepared", "committed"] {
            assert_eq!(states(&ours, state), states(&stock, state), "{state}");
            assert_eq!(states(&ours, state).len(), 3);
        }
        assert_eq!(states(&ours, "preparing"), states(&ours, "prepared"));
        assert_eq!(states(&ours, "aborted"), [""; 0]);
        for state in ["preparing", "prepared"] {
            clear();
            let name = format!("main:refs/heads/veto-{state}");
            let mut command = pair.remote.command(&pair.client, "push", [pair.remote.url("ours").as_str(), &name, "main:refs/heads/other"]);
            let output = run(&mut command);
            let said = String::from_utf8_lossy(&output.stderr);
            let why = format!("(in '{state}' phase, update aborted by the reference-transaction hook)");
            assert!(!output.status.success() && said.matches(&why).count() == 2 && said.contains("remote: no"), "{said}");
            let [ours, _] = pair.records("reference-transaction");
            assert_eq!(states(&ours, "aborted").len(), 2, "{ours}");
            assert_eq!(states(&ours, "committed"), [""; 0]);
        }
        check::sound(pair.remote.sandbox, &pair.path("ours"));
    });
}

/// Packets in a shell: enough to speak with.
const PACKETS: &str = r#"
send() { printf '%04x%s' $((${#1} + 4)) "$1"; }
flush() { printf 0000; }
receive() { len=$(head -c 4); [ "$len" = 0000 ] && return 1; head -c $((0x$len - 4)) | tr '\000' ' '; echo; }
receive_all() { while receive; do :; done; }
{ echo "-- version"; receive_all; } >>record.proc
"#;

#[test]
fn what_proc_receive_does_is_reported_as_it_says() {
    let prepare = |server: &Path| {
        let answers = "\
            send 'version=1'; flush\n\
            { echo '-- commands'; receive_all; } >record.commands; cat record.commands >>record.proc\n\
            grep -q quiet record.commands && exit 0\n\
            grep -q fails record.commands && { send 'ok refs/for/fails'; flush; exit 1; }\n\
            echo working >&2\n\
            while read old new name; do case $name in\n\
            refs/for/a) git update-ref refs/heads/made-of-a $new; send \"ok $name\"; send 'option refname refs/heads/made-of-a';\n\
              send \"option new-oid $new\"; send 'option forced-update'; send \"ok $name\"; send 'option refname refs/heads/more';;\n\
            refs/for/b) send \"ng $name not you\";;\n\
            refs/for/c) send \"ok $name\"; send 'option fall-through';;\n\
            refs/for/d) send 'ok refs/for/unknown';;\n\
            esac; done <record.commands; flush\n";
        write_hook(server, "proc-receive", &format!("{PACKETS}{answers}"));
        write_hook(server, "post-receive", &format!("{RECORD}{READ}"));
        std::fs::write(server.join("config"), read(server.join("config")) + "[receive]\nprocReceiveRefs = refs/for\n").expect("written");
    };
    each_pair(prepare, |pair| {
        let said = pair.push_alike(&["main", "main:refs/for/a", "main:refs/for/b", "main:refs/for/c"]);
        assert!(said.contains("main -> made-of-a") && said.contains("(not you)") && said.contains("remote: working"), "{said}");
        assert!(said.contains("main -> refs/for/c"), "{said}");
        let [ours, stock] = pair.records("post-receive");
        assert_eq!(ours, stock);
        for args in [
            &["--atomic", "main:refs/for/a", "main:refs/heads/not-alone", "main:refs/for/b"][..],
            &["main:refs/for/d", "main:refs/heads/alone"],
            &["main:refs/for/quiet", "main:refs/heads/alone-too"],
            &["main:refs/for/fails"],
            &["--atomic", "main:refs/for/a", "main:refs/heads/together"],
        ] {
            pair.push_alike(args);
        }
        let [ours, stock] = pair.records("proc");
        assert_eq!(ours, stock);
        check::sound(pair.remote.sandbox, &pair.path("ours"));
    });
}

#[test]
fn without_proc_receive_nothing_is_made_of_its_refs() {
    let prepare = |server: &Path| {
        std::fs::write(server.join("config"), read(server.join("config")) + "[receive]\nprocReceiveRefs = refs/for\n").expect("written");
    };
    each_pair(prepare, |pair| {
        let said = pair.push_alike(&["main", "main:refs/for/main"]);
        assert!(said.contains("cannot find hook 'proc-receive'") && said.contains("(fail to run proc-receive hook)"), "{said}");
    });
}

#[test]
fn hooks_are_looked_for_where_git_looks() {
    let prepare = |server: &Path| {
        write_hook(server, "post-update", "echo not here\n");
        write_hook(&server.join("other"), "post-update", "echo \"here, $0\"\n");
        write_hook(&server.join("other"), "update", "exit 1\n");
        let update = server.join("other/hooks/update");
        std::fs::set_permissions(update, PermissionsExt::from_mode(0o644)).expect("not executable");
        write_program(&server.join("other/hooks/post-receive"), "echo no interpreter; cat\n");
        std::fs::write(server.join("config"), read(server.join("config")) + "[core]\nhooksPath = other/hooks\n").expect("written");
    };
    each_pair(prepare, |pair| {
        let [ours, stock] = pair.push(&["main"]);
        for said in [&ours, &stock] {
            assert!(said.contains("here, other/hooks/post-update") && !said.contains("not here"), "{said}");
            assert!(said.contains("no interpreter") && said.contains(" refs/heads/main"), "{said}");
            assert!(said.contains("hint: The 'other/hooks/update' hook was ignored because it's not set as executable."), "{said}");
        }
    });
}

#[test]
fn much_is_said_and_told_and_whoever_does_not_listen_is_no_fault() {
    let prepare = |server: &Path| {
        write_hook(server, "pre-receive", "exec <&-; exit 0\n");
        let much = "i=0; while [ $i -lt 1500 ]; do echo \"line $i of much that is said by this hook\"; i=$((i+1)); done; wc -l\n";
        write_hook(server, "post-receive", much);
    };
    each_pair(prepare, |pair| {
        let names: Vec<String> = (0..800).map(|n| format!("create refs/heads/many/branch-with-a-long-name-{n:05} main\n")).collect();
        pair.remote.sandbox.git_with_input(&pair.client, ["update-ref", "--stdin"], names.concat().as_bytes());
        let said = pair.push_alike(&["refs/heads/many/*:refs/heads/many/*"]);
        assert!(said.contains("line 1499 of much") && said.contains("remote: 800"), "{said}");
    });
}

/// Programs that were started beneath a push, as strace saw them.
fn started(sandbox: &Sandbox, server: &Path, client: &Path) -> Option<Vec<String>> {
    let trace = sandbox.path("trace");
    let receive = format!("strace -f -qq -e trace=execve,fork,vfork -o {} {PACKMULE} receive-pack", trace.display());
    if !run(sandbox.command("sh").args(["-c", "command -v strace"])).status.success() {
        crate::common::skipped("no strace here");
        return None;
    }
    let receive = format!("--receive-pack={receive}");
    sandbox.git(client, ["push", "-q", &receive, &format!("file://{}", server.display()), "main"]);
    let lines = read(trace);
    Some(lines.lines().filter(|line| line.contains("exec") || line.contains("fork(")).map(str::to_owned).collect())
}

#[test]
fn without_a_hook_no_process_is_started() {
    let sandbox = Sandbox::new();
    let remote = Remote::stdio(&sandbox, Case { hash: "sha1", protocol: 2 });
    let pair = Pair::new(remote, |_| ());
    let Some(none) = started(&sandbox, &pair.path("ours"), &pair.client) else { return };
    assert_eq!(none.len(), 1, "{none:#?}");
    sandbox.commit_file(&pair.client, "a", "three\n");
    write_hook(&pair.path("ours"), "post-update", "exit 0\n");
    let one = started(&sandbox, &pair.path("ours"), &pair.client).expect("strace");
    assert!(one.iter().any(|line| line.contains("execve(\"hooks/post-update\"")), "{one:#?}");
}

#[test]
fn whoever_hangs_up_ends_the_hook_that_he_waited_for() {
    let sandbox = Sandbox::new();
    let remote = Remote::stdio(&sandbox, Case { hash: "sha1", protocol: 2 });
    let pair = Pair::new(remote, |server| drop(write_hook(server, "pre-receive", "echo $$ > self; echo begun; sleep 1000\n")));
    let mut command = remote.command(&pair.client, "push", [remote.url("ours").as_str(), "main"]);
    let mut child = command.stderr(std::process::Stdio::null()).spawn().expect("git starts");
    let wait_for = |what: &str, is_so: &dyn Fn() -> bool| {
        let begun = std::time::Instant::now();
        while !is_so() {
            assert!(begun.elapsed().as_secs() < 60, "never: {what}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    wait_for("the hook begins", &|| !read(pair.path("ours").join("self")).is_empty());
    child.kill().expect("killed");
    child.wait().expect("waited for");
    let process = format!("/proc/{}", read(pair.path("ours").join("self")).trim());
    wait_for("the hook ends", &|| !Path::new(&process).exists());
    wait_for("the quarantine goes", &|| {
        let objects = std::fs::read_dir(pair.path("ours").join("objects")).expect("a folder");
        !objects.flatten().any(|entry| entry.file_name().to_string_lossy().contains("incoming"))
    });
    assert_eq!(check::ref_value(&sandbox, &pair.path("ours"), "refs/heads/main"), sandbox.git(&pair.client, ["rev-parse", "main~"]));
}

/// A server with this in its configuration file.
fn server_with(sandbox: &Sandbox, config: &str) -> Server {
    std::fs::create_dir_all(sandbox.path("served")).expect("a folder");
    let file = sandbox.path("config.toml");
    std::fs::write(&file, config).expect("written");
    Server::start_with(sandbox, &["--config".as_ref(), file.as_os_str()])
}

#[test]
fn a_server_runs_hooks_only_when_told_to() {
    if !has_ssh() {
        return;
    }
    let record = format!("{RECORD}{READ}echo hello from $(basename $0)\n");
    let case = Case { hash: "sha1", protocol: 2 };
    for (config, runs) in [("", false), ("[hooks]\nenabled = true\n", true), ("[hooks]\nenabled = true\npath = \"all\"\n", false)] {
        let sandbox = Sandbox::new();
        let server = server_with(&sandbox, config);
        let pair = Pair::new(Remote::ssh(&sandbox, case, &server), |repository| {
            drop(write_hook(repository, "pre-receive", &record));
            // Nothing that a repository says of its hooks counts.
            let config = read(repository.join("config")) + "[core]\nhooksPath = elsewhere\n";
            std::fs::write(repository.join("config"), config).expect("written");
            write_hook(&repository.join("elsewhere"), "pre-receive", "exit 1\n");
        });
        std::fs::rename(write_hook(&sandbox.path("spare"), "post-receive", &record).parent().expect("a folder"), sandbox.path("all"))
            .expect("moved");
        let (_, said) = pair.remote.git(&pair.client, "push", [pair.remote.url("ours").as_str(), "main"]);
        assert_eq!(said.contains("remote: hello from pre-receive"), runs, "{said}");
        assert_eq!(said.contains("remote: hello from post-receive"), config.contains("all"), "{said}");
        if runs {
            let [ours, _] = pair.records("pre-receive");
            assert!(
                ours.contains("GIT_COMMITTER_NAME=") && ours.contains("GIT_DIR=.\n") && ours.contains("GIT_QUARANTINE_PATH="),
                "{ours}"
            );
            assert!(!ours.contains("GIT_CONFIG") && !ours.contains("GIT_AUTHOR_NAME"), "the server's own environment came through: {ours}");
        }
        if config.contains("all") {
            // A repository that this push makes: the hook after it stands where it lies then.
            let (_, said) = pair.remote.git(&pair.client, "push", [pair.remote.url("made").as_str(), "main"]);
            assert!(said.contains("remote: hello from post-receive"), "{said}");
            assert!(read(pair.path("made").join("record.post-receive")).contains("refs/heads/main"));
        }
    }
}

#[test]
fn a_slow_hook_is_ended_in_time_and_nobody_else_waits_for_it() {
    if !has_ssh() {
        return;
    }
    let sandbox = Sandbox::new();
    let server = server_with(&sandbox, "[hooks]\nenabled = true\ntimeout_s = 5\n");
    let pair = Pair::new(Remote::ssh(&sandbox, Case { hash: "sha1", protocol: 2 }, &server), |repository| {
        if repository.ends_with("ours.git") {
            write_hook(repository, "pre-receive", "echo $$ > self; sleep 1000\n");
        }
    });
    let push = |name: &str| pair.remote.command(&pair.client, "push", [pair.remote.url(name).as_str(), "main"]);
    let begun = std::time::Instant::now();
    let slow = push("ours").stderr(std::process::Stdio::piped()).spawn().expect("git starts");
    while read(pair.path("ours").join("self")).is_empty() {
        assert!(begun.elapsed().as_secs() < 50, "the hook never began");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // Into another repository, and into the same one past its hook.
    pair.remote.git(&pair.client, "push", [pair.remote.url("stock").as_str(), "main"]);
    pair.remote.git(&pair.client, "ls-remote", [pair.remote.url("ours").as_str()]);
    let output = slow.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("remote: error: hooks/pre-receive took longer than 5 s and was ended"), "{said}");
    assert!(said.contains("(pre-receive hook declined)"), "{said}");
    assert!(!Path::new(&format!("/proc/{}", read(pair.path("ours").join("self")).trim())).exists());
    check::sound(&sandbox, &pair.path("ours"));
}

//! Configurations of gitolite and gitosis through `packmule import`: what comes of them is right, and decides as they did.
//!
//! The configurations are of the kinds that gitolite's documentation explains; each answer is the one that it gives.

use crate::common::server::{Server, has_ssh, make_key, write_ssh_config};
use crate::common::{PACKMULE, Sandbox, report, run, write_program};
use std::path::{Path, PathBuf};

/// What `packmule ARGS` prints on standard output and standard error, and its exit code.
fn packmule(sandbox: &Sandbox, args: &[&str]) -> (i32, String, String) {
    let mut command = sandbox.command(PACKMULE);
    let output = run(command.args(args));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

/// A folder with files, and a `config.toml` that comes of its `gitolite.conf`; what was told on the way.
fn imported(files: &[(&str, &str)], more: &[&str]) -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    for (name, text) in files {
        std::fs::create_dir_all(sandbox.path(name).parent().expect("a folder above")).expect("a folder");
        std::fs::write(sandbox.path(name), text).expect("written");
    }
    let (code, out, err) = packmule(&sandbox, &[&["import", "gitolite", "gitolite.conf", "--output", "config.toml"], more].concat());
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, checked) = packmule(&sandbox, &["check"]);
    assert_eq!(code, 0, "{out}{checked}");
    (sandbox, err)
}

/// Hold each line `yes|no USER REPOSITORY [REF] VERB` against what `packmule why` says.
#[track_caller]
fn hold(sandbox: &Sandbox, questions: &str) {
    for question in questions.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (expected, words) = question.split_once(' ').expect("an answer and a question");
        let words: Vec<&str> = ["why"].into_iter().chain(words.split(' ')).collect();
        let (code, out, err) = packmule(sandbox, &words);
        let said = ["yes", "no"].get(usize::try_from(code).expect("no signal"));
        let config = std::fs::read_to_string(sandbox.path("config.toml")).expect("a configuration");
        assert_eq!(said, Some(&expected), "{question}\n{out}{err}{config}");
    }
}

#[test]
fn the_first_rule_for_user_and_ref_decides() {
    let conf = "
        repo @all
            R                       =   @managers
        repo foo bar
            RW+                     =   alice @teamleads
            -   master              =   dilbert @devteam
            -   refs/tags/v[0-9]    =   dilbert @devteam
            RW+ dev/                =   dilbert @devteam
            RW                      =   dilbert @devteam
            R                       =   @managers
        @managers = boss            # groups of users may come late
        @teamleads = lead
        @devteam = wally
    ";
    let (sandbox, notes) = imported(&[("gitolite.conf", conf)], &[]);
    assert_eq!(notes.matches("note: ").count(), 1, "nobody has a key, and that is all: {notes}");
    hold(
        &sandbox,
        "
        yes alice foo main rewind
        yes lead bar refs/tags/v1 delete
        no dilbert foo master update
        no dilbert foo master2 create
        no wally bar refs/tags/v12 create
        yes wally bar refs/tags/x create
        no wally bar refs/tags/x rewind
        yes dilbert foo dev/x rewind
        yes dilbert foo dev/x delete
        yes dilbert foo xyz create
        yes dilbert foo xyz update
        no dilbert foo xyz rewind
        no dilbert foo xyz delete
        yes dilbert foo master read
        yes boss foo main read
        yes boss other read
        no boss foo main update
        no dilbert other read
        ",
    );
}

#[test]
fn refexes_begin_where_refs_do_and_end_where_a_dollar_says() {
    let conf = "
        repo foo
            RW  master          =   ann
            RW  next$           =   ann
            RW  refs/tags/v[0-9] =  ann
            RW  a|b             =   bob
            RW  @kept           =   eve
        @kept = x y$
    ";
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.path("gitolite.conf"), conf).expect("written");
    let (code, _, err) = packmule(&sandbox, &["import", "gitolite", "gitolite.conf"]);
    assert!(code == 1 && err.contains("there is no group '@kept' yet\n --> gitolite.conf:7:17\n"), "{err}");
    let conf = format!("@kept = x y$\n{}", conf.replace("        @kept = x y$\n", ""));
    let (sandbox, _) = imported(&[("gitolite.conf", &conf)], &[]);
    hold(
        &sandbox,
        "
        yes ann foo master update
        yes ann foo master1 update
        yes ann foo master/full update
        no ann foo my-master update
        yes ann foo next update
        no ann foo next1 update
        yes ann foo refs/tags/v1.2 create
        no ann foo refs/tags/w1 create
        yes bob foo a update
        yes bob foo refs/tags/b create
        no bob foo c update
        yes eve foo xx update
        yes eve foo y update
        no eve foo yy update
        yes eve foo whatever read
        ",
    );
}

#[test]
fn groups_gather_and_hold_others_as_they_were() {
    let conf = "
        @developers =   dilbert alice
        @interns    =   ashok
        @staff      =   @interns @developers
        @developers =   wally
        @secret     =   secret/..* private/..*
        repo FOSS/..*
            R   =   @all
        repo @secret
            RW  =   @staff
        repo foo
            R   =   @developers
    ";
    let (sandbox, _) = imported(&[("gitolite.conf", conf)], &[]);
    hold(
        &sandbox,
        "
        yes ashok secret/a read
        yes alice private/a/b update
        no wally secret/a read
        yes wally foo read
        no ashok foo read
        yes wally FOSS/x read
        no wally FOSS read
        no ashok secret read
        ",
    );
}

#[test]
fn a_minus_counts_for_reading_where_an_option_says_so() {
    let conf = "
        @secret = gitolite-admin secret-repo/..*
        repo @secret
            -   =   guest
            option deny-rules = 1
        repo open
            -   =   guest
        repo @all
            R   =   guest
    ";
    let (sandbox, _) = imported(&[("gitolite.conf", conf)], &[]);
    hold(&sandbox, "no guest gitolite-admin read\nno guest secret-repo/x read\nyes guest open read\nyes guest other read");

    let conf = "
        @staff              =   dilbert alice
        @projects           =   foo bar
        repo @projects baz
            RW+             =   @staff
            -       master  =   ashok
            RW              =   ashok
            R               =   wally
            option deny-rules           =   1
            config hooks.emailprefix    = '[%GL_REPO] '
    ";
    let (sandbox, notes) = imported(&[("gitolite.conf", conf)], &[]);
    assert!(notes.contains("note: gitolite.conf:10: config hooks.emailprefix    = '[%GL_REPO] ': packmule does not write"), "{notes}");
    hold(
        &sandbox,
        "
        yes alice baz master rewind
        no ashok foo read
        no ashok foo x update
        yes wally bar read
        no wally bar x update
        ",
    );
}

#[test]
fn letters_of_one_rule_take_rights_from_others() {
    let conf = "
        repo foo
            RWC     =   ann
            RW+     =   bob
        repo bar
            RW+D    =   ann
            RW+     =   bob
            RW+CD   =   eve
        repo baz
            RW+     =   bob
    ";
    let (sandbox, _) = imported(&[("gitolite.conf", conf)], &[]);
    hold(
        &sandbox,
        "
        yes ann foo x create
        yes ann foo x update
        no ann foo x rewind
        no ann foo x delete
        no bob foo x create
        yes bob foo x update
        yes bob foo x delete
        yes ann bar x delete
        no ann bar x create
        yes bob bar x rewind
        no bob bar x delete
        yes eve bar x create
        yes eve bar x delete
        yes bob baz x create
        yes bob baz x delete
        ",
    );
}

#[test]
fn parts_of_others_say_nothing_about_what_is_not_theirs() {
    let top = "
        @web = firefox lynx browsers/..*
        @devs = ann
        repo gitolite-admin
            RW+ = sitaram
        include \"more.conf\"
        subconf \"subs/*.conf\"
    ";
    let web = "
        @devs = bob
        repo firefox browsers/x
            RW = @devs
        repo gitolite-admin other
            RW+ = eve
    ";
    let files = [("gitolite.conf", top), ("more.conf", "repo more\n R = @devs\n"), ("subs/web.conf", web)];
    let (sandbox, notes) = imported(&files, &[]);
    assert!(notes.contains("the part 'web' has no say over 'gitolite-admin'"), "{notes}");
    assert!(notes.contains("a push to 'gitolite-admin' changes nothing here"), "{notes}");
    hold(
        &sandbox,
        "
        yes bob firefox x update
        yes bob browsers/x x update
        no ann firefox read
        yes ann more read
        no bob more read
        no eve other read
        no eve gitolite-admin read
        yes sitaram gitolite-admin main rewind
        ",
    );
}

#[test]
fn faults_are_drawn_all_at_once_and_nothing_is_written_over() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.path("gitolite.conf"), "repo foo\n    RW+ = ann b!b\n    RW (x = ann\n").expect("written");
    let (code, out, err) = packmule(&sandbox, &["import", "gitolite", "gitolite.conf", "--output", "config.toml"]);
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(
        err.contains("error: 'b!b' is no name of a user\n --> gitolite.conf:2:15\n  |\n2 |     RW+ = ann b!b\n  |               ^^^\n"),
        "{err}"
    );
    assert!(err.contains(" --> gitolite.conf:3:") && !sandbox.path("config.toml").exists(), "{err}");

    std::fs::write(sandbox.path("gitolite.conf"), "repo foo\n    RW+ = ann\n").expect("written");
    std::fs::write(sandbox.path("config.toml"), "mine").expect("written");
    let (code, _, err) = packmule(&sandbox, &["import", "gitolite", "gitolite.conf", "--output", "config.toml"]);
    assert!(code == 2 && err.contains("nothing was changed"), "{err}");
    assert_eq!(std::fs::read_to_string(sandbox.path("config.toml")).expect("there"), "mine");
    let (code, out, _) = packmule(&sandbox, &["import", "gitolite", "gitolite.conf"]);
    assert!(code == 0 && out.contains("# gitolite.conf:2: RW+ = ann\n[[rule]]\nusers = [\"ann\"]\n"), "{out}");
}

#[test]
fn gitosis_and_gitosis_lite_are_told_apart() {
    let sandbox = Sandbox::new();
    std::fs::write(
        sandbox.path("gitosis.conf"),
        "[gitosis]\n\n[group devs]\nmembers = ann @leads\nwritable = foo libs/*\nreadonly = bar\n[group leads]\nmembers = bob\n[repo foo]\ngitweb = yes\n",
    )
    .expect("written");
    let (code, out, err) = packmule(&sandbox, &["import", "gitosis-lite", "gitosis.conf", "--output", "config.toml"]);
    assert!(code == 0 && err.contains("note: gitosis.conf:10: gitweb = yes: this is for gitweb"), "{out}{err}");
    hold(
        &sandbox,
        "yes bob foo main rewind\nyes ann libs/x create-repository\nyes bob bar read\nno bob bar main update\nno ann other read",
    );

    std::fs::remove_file(sandbox.path("config.toml")).expect("removed");
    let lite = "@staff = me alice\n@secret = bruce\nrepo sandbox\n RW+ = @all\nrepo secret\n RW+ pu = bruce\n RW master next = bruce\n RW tmp/.* = @secret\n R = @staff\n";
    std::fs::write(sandbox.path("lite.conf"), lite).expect("written");
    let (code, out, err) = packmule(&sandbox, &["import", "gitosis-lite", "lite.conf", "--output", "config.toml"]);
    assert_eq!(code, 0, "{out}{err}");
    hold(
        &sandbox,
        "yes alice sandbox x rewind\nyes bruce secret pu rewind\nyes bruce secret next update\nno bruce secret next rewind\nno bruce secret x update\n\
         yes bruce secret tmp/a create\nyes me secret read\nno me secret tmp/a create",
    );
}

/// What `git ARGS`, run by whoever has the key, says, and whether it succeeds.
fn git(sandbox: &Sandbox, server: &Server, key: &str, folder: &Path, args: &[&str]) -> (bool, String) {
    let config = write_ssh_config(sandbox, server.port, &sandbox.path("private").join(key));
    let mut command = sandbox.git_command(folder, args);
    command.env("GIT_SSH_COMMAND", format!("ssh -F {}", config.display())).env("GIT_SSH_VARIANT", "ssh");
    let output = run(&mut command);
    (output.status.success(), report(&command, &output))
}

#[test]
fn keys_of_all_devices_let_their_users_clone_and_push_what_gitolite_let_them() {
    if !has_ssh() {
        return;
    }
    let sandbox = Sandbox::new();
    for (key, file) in [("desk", "alice.pub"), ("laptop", "alice@laptop.pub"), ("home", "home/alice.pub"), ("bob", "bob@example.com.pub")] {
        make_key(&sandbox, &sandbox.path("private").join(key), &["ed25519"]);
        let to = sandbox.path("keydir").join(file);
        std::fs::create_dir_all(to.parent().expect("a folder above")).expect("a folder");
        std::fs::copy(sandbox.path("private").join(format!("{key}.pub")), to).expect("copied");
    }
    let conf = "repo foo\n    RW+ = alice\n    -  main = bob@example.com\n    RW = bob@example.com\nrepo hidden\n    RW+ = alice\n";
    std::fs::write(sandbox.path("gitolite.conf"), conf).expect("written");
    let (code, out, err) = packmule(&sandbox, &["import", "gitolite", "gitolite.conf", "keydir", "--output", "config.toml"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.starts_with("wrote config.toml: 2 users with 4 keys, "), "{out}");
    let mut serve = sandbox.command(PACKMULE);
    serve.args(["serve", "--config", "config.toml", "--ssh", "127.0.0.1:0", "repositories"]);
    let server = Server::start_command(&sandbox, serve, sandbox.path("repositories"));
    let (seed, url) = (sandbox.work_tree("seed", "sha1"), server.url("foo"));
    let here = sandbox.path("");
    for (key, refspec) in [("desk", "main"), ("laptop", "main:refs/heads/a"), ("home", "main:refs/heads/b")] {
        let (success, said) = git(&sandbox, &server, key, &seed, &["push", &url, refspec]);
        assert!(success, "{key}: {said}");
    }
    let (success, said) = git(&sandbox, &server, "desk", &seed, &["push", &server.url("hidden"), "main"]);
    assert!(success, "{said}");
    let (success, said) = git(&sandbox, &server, "bob", &here, &["clone", "-q", &url, "bob"]);
    assert!(success, "{said}");
    let bob = sandbox.path("bob");
    sandbox.commit_file(&bob, "new", "new");
    let (success, said) = git(&sandbox, &server, "bob", &bob, &["push", "origin", "HEAD:refs/heads/topic"]);
    assert!(success, "{said}");
    for refspec in ["HEAD:refs/heads/main", "+HEAD~1:refs/heads/topic", ":refs/heads/topic"] {
        let (success, said) = git(&sandbox, &server, "bob", &bob, &["push", "origin", refspec]);
        assert!(!success && said.contains("you may not"), "{refspec}: {said}");
    }
    let (success, said) = git(&sandbox, &server, "bob", &bob, &["ls-remote", &server.url("hidden")]);
    assert!(!success && said.contains("no repository \"hidden\" here"), "{said}");
    let (success, said) = git(&sandbox, &server, "bob", &bob, &["push", &server.url("other"), "HEAD:refs/heads/main"]);
    assert!(!success, "nobody gave the right to make it: {said}");
    sandbox.git(&sandbox.path("repositories/foo.git"), ["fsck", "--strict"]);
}

#[test]
fn repositories_of_their_own_and_branches_of_their_own() {
    let conf = "
        repo foo/CREATOR/[a-z]..*
            C   =   u1 u2
            RW+ =   CREATOR
            RW  =   WRITERS
            R   =   READERS TESTERS
        repo product
            RW+ personal/USER/  =   @devs
            RW  main            =   @devs
        @devs = u1 u3
    ";
    let (sandbox, _) = imported(&[("gitolite.conf", conf)], &["--role", "TESTERS"]);
    let made = sandbox.bare("foo/u1/there.git", "sha1");
    std::fs::write(made.join("gl-creator"), "u1\n").expect("written");
    std::fs::write(made.join("gl-perms"), "WRITERS u2\nTESTERS u3\n").expect("written");
    hold(
        &sandbox,
        "
        yes u1 foo/u1/bar create-repository
        yes u1 foo/u1/bar main create
        no u1 foo/u2/bar create-repository
        no u3 foo/u3/bar create-repository
        no u1 foo/u1/9 create-repository
        yes u1 foo/u1/there main rewind
        yes u2 foo/u1/there main update
        no u2 foo/u1/there main rewind
        yes u3 foo/u1/there read
        no u3 foo/u1/there main update
        yes u3 product personal/u3/x rewind
        no u3 product personal/u1/x create
        yes u1 product main update
        no u1 product main rewind
        ",
    );
}

/// The blocks of the README's section that say of themselves that they are run, as commands with what they print; and its configuration.
fn readme() -> (Vec<Vec<(String, String)>>, String) {
    let text = include_str!("../../README.md");
    let section = text.split("## Coming from gitolite\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the section");
    let blocks = section.split("<!-- tests/access/import.rs runs this block as it stands. -->\n```console\n").skip(1).map(|block| {
        let block = block.split("```").next().expect("an end");
        block.split("$ ").skip(1).map(|step| step.split_once('\n').expect("a line")).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
    });
    let conf = section.split("That came of\n\n```\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the configuration");
    (blocks.collect(), conf.to_owned())
}

#[test]
fn the_way_from_gitolite_goes_as_the_readme_says() {
    if !has_ssh() {
        return;
    }
    let sandbox = Sandbox::new();
    let (blocks, conf) = readme();
    let [host, client] = &blocks[..] else { panic!("two blocks are run") };
    let (home, admin) = (sandbox.home(), sandbox.path("home/.gitolite"));
    std::fs::create_dir_all(admin.join("conf")).expect("made");
    std::fs::create_dir_all(admin.join("keydir")).expect("made");
    std::fs::write(admin.join("conf/gitolite.conf"), conf).expect("written");
    for user in ["ann", "bob"] {
        make_key(&sandbox, &sandbox.path("private").join(user), &["ed25519"]);
        std::fs::copy(sandbox.path(format!("private/{user}.pub")), admin.join(format!("keydir/{user}.pub"))).expect("copied");
    }
    let seed = sandbox.work_tree("seed", "sha1");
    for name in ["website", "gitolite-admin"] {
        let served = sandbox.bare(format!("home/repositories/{name}.git"), "sha1");
        sandbox.git(&seed, ["push", "-q", &served.to_string_lossy(), "main"]);
        // gitolite's own hook refuses whoever comes another way.
        write_program(&served.join("hooks/update"), "#!/bin/sh\nexit 1\n");
    }
    write_program(&home.join("bin/packmule"), &format!("#!/bin/sh\nexec {PACKMULE} \"$@\"\n"));
    let path = format!("{}:{}", home.join("bin").display(), std::env::var("PATH").unwrap_or_default());
    let shell = |words: &str, folder: &Path| {
        let mut command = sandbox.command("sh");
        command.current_dir(folder).env("PATH", &path).args(["-c", words]);
        command
    };
    let (serve, steps) = host.split_last().expect("commands");
    for (command, printed) in steps {
        let output = run(&mut shell(&format!("{{ {command}; }} 2>&1"), &home));
        assert_eq!(String::from_utf8_lossy(&output.stdout).replace(&*home.to_string_lossy(), "/home/git"), *printed, "$ {command}");
    }
    let server = Server::start_command(&sandbox, shell(&format!("exec {} --ssh 127.0.0.1:0", serve.0), &home), home.join("repositories"));
    let config = write_ssh_config(&sandbox, server.port, &sandbox.path("private/bob"));
    let here = sandbox.path("");
    for (command, printed) in client {
        let words = format!("{{ {}; }} 2>&1", command.replace("2222", &server.port.to_string()));
        let mut step = shell(&words, &here);
        let output = run(step.env("GIT_SSH_COMMAND", format!("ssh -F {}", config.display())).env("GIT_SSH_VARIANT", "ssh"));
        let said = String::from_utf8_lossy(&output.stdout).replace(&format!(":{}", server.port), ":2222");
        assert_eq!(said, *printed, "$ {command}\n{}", server.said());
    }
}

/// Juniors and seniors, and what gitolite checks of their pushes: each repository is about one check.
const CHECKS: &str = "
    @juniors = jay
    @seniors = sue
    @people  = @juniors @seniors
    repo names
        RW+                         =   @people
        -   VREF/NAME/secret/       =   @juniors
    repo docs
        RW+                         =   @people
        RW  VREF/NAME/doc/          =   @juniors
        -   VREF/NAME/              =   @juniors
    repo counts
        RW                          =   @people
        -   VREF/COUNT/2            =   @juniors
    repo newfiles
        RW                          =   @people
        -   VREF/COUNT/1/NEWFILES   =   @juniors
    repo merges
        RWM                         =   @seniors
        RW                          =   @juniors
    repo checked
        RW                          =   @people
        -   VREF/MERGE-CHECK/main   =   @juniors
";

/// What came of [`CHECKS`], served; in every repository lies `main`, with a file that is called `readme`.
struct Checked {
    sandbox: Sandbox,
    server: Server,
    work: PathBuf,
}

impl Checked {
    fn start() -> Self {
        let sandbox = Sandbox::new();
        std::fs::create_dir(sandbox.path("keydir")).expect("a folder");
        for user in ["jay", "sue"] {
            let key = make_key(&sandbox, &sandbox.path("private").join(user), &["ed25519"]);
            std::fs::copy(key.with_extension("pub"), sandbox.path(format!("keydir/{user}.pub"))).expect("copied");
        }
        std::fs::write(sandbox.path("gitolite.conf"), CHECKS).expect("written");
        let (code, out, err) = packmule(&sandbox, &["import", "gitolite", "gitolite.conf", "keydir", "--output", "config.toml"]);
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        let mut serve = sandbox.command(PACKMULE);
        serve.args(["serve", "--config", "config.toml", "--ssh", "127.0.0.1:0", "repositories"]);
        let server = Server::start_command(&sandbox, serve, sandbox.path("repositories"));
        let work = sandbox.work_tree("work", "sha1");
        let checked = Self { sandbox, server, work };
        for name in ["names", "docs", "counts", "newfiles", "merges", "checked"] {
            checked.sandbox.git(&checked.work, ["branch", "-q", "-f", "first", "main"]);
            checked.push("sue", name, "first:refs/heads/main", true);
        }
        checked
    }

    #[track_caller]
    fn push(&self, who: &str, name: &str, refspec: &str, may: bool) {
        let (success, said) = git(&self.sandbox, &self.server, who, &self.work, &["push", &self.server.url(name), refspec]);
        let config = std::fs::read_to_string(self.sandbox.path("config.toml")).expect("a configuration");
        assert!(success == may && (may || said.contains("remote rejected")), "{who} {name} {refspec}: {said}{config}");
    }

    /// Go to where `main` of the repository `name` is.
    fn go_to(&self, name: &str) {
        let served = self.sandbox.path(format!("repositories/{name}.git"));
        self.sandbox.git(&self.work, ["fetch", "-q", &served.to_string_lossy(), "main"]);
        self.sandbox.git(&self.work, ["checkout", "-q", "-B", "step", "FETCH_HEAD"]);
    }

    /// A commit for each of these files, with content that was not there before.
    fn change(&self, files: &str, content: &str) {
        for file in files.split(' ') {
            std::fs::create_dir_all(self.work.join(file).parent().expect("a folder above")).expect("a folder");
            self.sandbox.commit_file(&self.work, file, content);
        }
    }
}

#[test]
fn pushes_pass_the_checks_of_paths_that_gitolite_made() {
    if !has_ssh() {
        return;
    }
    let checked = Checked::start();
    for (at, (who, name, files, may)) in [
        ("jay", "names", "notes", true),
        ("jay", "names", "secret/a", false),
        ("jay", "names", "more secret/a", false),
        ("jay", "names", "secrets my/secret/a Secret/a", true),
        ("sue", "names", "secret/a", true),
        // The first rule whose expression matches decides for each file, and without one it passes.
        ("jay", "docs", "doc/a", true),
        ("jay", "docs", "doc/b src/b", false),
        ("jay", "docs", "docs", false),
        ("sue", "docs", "src/b", true),
        ("jay", "counts", "a b", true),
        ("jay", "counts", "c d e", false),
        ("sue", "counts", "c d e", true),
        ("jay", "counts", "c d e", false),
        ("jay", "counts", "c c c d", true),
        ("jay", "newfiles", "a", true),
        ("jay", "newfiles", "b c", false),
        ("sue", "newfiles", "b c", true),
        ("jay", "newfiles", "readme a b c d", true),
    ]
    .into_iter()
    .enumerate()
    {
        checked.go_to(name);
        // Each line of content is another one.
        files.split(' ').enumerate().for_each(|(part, file)| checked.change(file, &format!("{at} {part}\n")));
        checked.push(who, name, "HEAD:refs/heads/main", may);
    }
    // What is there already has been counted when it came; but a branch that is made changes all its files.
    checked.go_to("counts");
    checked.push("jay", "counts", "HEAD:refs/heads/made", true);
    checked.go_to("names");
    checked.push("jay", "names", "HEAD:refs/heads/made", false);
    checked.push("jay", "names", "first:refs/heads/made", true);
    // `RW` lets nobody rewind, not even files.
    checked.go_to("docs");
    checked.push("sue", "docs", "HEAD:refs/heads/spare", true);
    checked.change("doc/z", "z\n");
    checked.push("jay", "docs", "HEAD:refs/heads/spare", true);
    checked.push("jay", "docs", "+HEAD~1:refs/heads/spare", false);
    checked.push("sue", "docs", "+HEAD~1:refs/heads/spare", true);
}

#[test]
fn merges_are_taken_from_whom_gitolite_took_them() {
    if !has_ssh() {
        return;
    }
    let checked = Checked::start();
    for name in ["merges", "checked"] {
        for (who, may) in [("jay", false), ("sue", true)] {
            checked.go_to(name);
            checked.sandbox.git(&checked.work, ["branch", "-q", "-f", "side"]);
            checked.change("one", who);
            checked.push("jay", name, "HEAD:refs/heads/main", true);
            checked.sandbox.git(&checked.work, ["checkout", "-q", "side"]);
            checked.change("two", who);
            checked.sandbox.git(&checked.work, ["merge", "-q", "--no-edit", "step"]);
            checked.push(who, name, "HEAD:refs/heads/main", may);
            if who == "jay" {
                // `M` is about every ref of the repository, MERGE-CHECK about the branch that it names.
                checked.push(who, name, "HEAD:refs/heads/other", name == "checked");
            }
        }
    }
}

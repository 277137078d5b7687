//! Paths and command lines that are made to reach what is not theirs: one after the other, by a real client.

use crate::common::server::{Server, has_ssh, make_key};
use crate::common::{Sandbox, run};
use std::path::Path;
use std::process::Output;

/// A server whose one user may do everything, beside a repository that lies outside of the root.
struct House {
    sandbox: Sandbox,
    server: Server,
}

impl House {
    fn start() -> Self {
        let sandbox = Sandbox::new();
        make_key(&sandbox, &sandbox.home().join(".ssh/id_ed25519"), &["ed25519"]);
        std::fs::create_dir(sandbox.path("served")).expect("a root");
        let seed = sandbox.work_tree("seed", "sha1");
        sandbox.commit_file(&seed, "first", "1");
        for place in ["served/x.git", "served/Ae\u{301}.git", "outside.git"] {
            let bare = sandbox.bare(place, "sha1");
            sandbox.git(&seed, ["push", "-q", &bare.to_string_lossy(), "main"]);
        }
        let served = sandbox.path("served");
        std::os::unix::fs::symlink("../outside.git", served.join("link.git")).expect("a link");
        std::os::unix::fs::symlink("..", served.join("up")).expect("a link");
        std::fs::create_dir_all(served.join("plain/inner")).expect("a folder");
        std::fs::create_dir(served.join("gitfile")).expect("a folder");
        let outside = sandbox.path("outside.git");
        std::fs::write(served.join("gitfile/.git"), format!("gitdir: {}\n", outside.display())).expect("written");
        let server = Server::start(&sandbox);
        Self { sandbox, server }
    }

    fn ssh(&self, line: &str) -> Output {
        run(&mut self.server.ssh(&self.sandbox, &[line]))
    }

    /// Everything that the client is told.
    fn told(&self, line: &str) -> (Option<i32>, String) {
        let output = self.ssh(line);
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }
}

/// As git quotes.
fn quoted(path: &str) -> String {
    format!("'{}'", path.replace('\'', "'\\''").replace('!', "'\\!'"))
}

/// None of them is a repository's.
const PATHS: [&str; 42] = [
    "../outside",
    "../outside.git",
    "/../outside",
    "x/../../outside",
    "up/outside",
    "up/../outside",
    "..%2foutside",
    "%2e%2e/outside",
    "~/outside",
    "~root/outside",
    "file:///etc",
    "link",
    "link.git",
    "gitfile",
    "plain",
    "plain/inner",
    "./x",
    "/./x",
    "x//",
    "y//x",
    "x/.",
    "x.git/objects",
    "x.git/refs/../../x",
    ".packmule",
    ".packmule/new",
    "x\\..\\..\\outside",
    "X",
    "a\u{301}e",
    "\u{c1}",
    "A\u{e9}",
    "x\u{200b}",
    "\u{202e}x",
    "x\n",
    "x ",
    " x",
    "x\t",
    "x\u{0}y",
    "..",
    ".",
    "/",
    "-x",
    "--help",
];

#[test]
fn no_path_leads_out_of_the_root_or_to_what_is_no_repository() {
    if !has_ssh() {
        return;
    }
    let house = House::start();
    let outside = house.sandbox.path("outside.git").display().to_string();
    let long = format!("{}x", "a/".repeat(1_500));
    let computed = [outside.clone(), format!("/{outside}"), long];
    for path in PATHS.into_iter().chain(computed.iter().map(String::as_str)) {
        for service in ["upload-pack", "receive-pack", "upload-archive"] {
            // What cannot even be said on a command line of this machine is left to unit tests.
            if path.contains('\0') {
                continue;
            }
            if service == "receive-pack" && !["link", "gitfile", "x.git/objects", "up/outside", "../outside"].contains(&path) {
                continue; // a push may make what is not there
            }
            let (status, told) = house.told(&format!("git-{service} {}", quoted(path)));
            assert!(status.is_some_and(|status| status != 0 && status != 255), "{service} {path:?}: {status:?} {told}");
            assert!(!told.contains("refs/heads/main"), "{service} {path:?}: {told}");
            assert!(!told.contains(['\u{202e}', '\u{200b}', '\u{1b}']), "{service} {path:?}: {told:?}");
            assert!(!told.contains("/outside.git") || path.contains("/outside"), "no path of the server's is told: {told}");
        }
    }
    // What is there is found under its spellings, and under the very bytes of its name.
    for path in ["x", "/x", "//x", "x.git", "/x.git/", "x.git.git", "Ae\u{301}", "Ae\u{301}.git"] {
        let (_, told) = house.told(&format!("git-upload-pack {}", quoted(path)));
        assert!(told.contains("refs/heads/main"), "{path:?}: {told}");
    }
    let tops = |folder: &Path| std::fs::read_dir(folder).expect("a folder").count();
    assert_eq!(tops(&house.sandbox.path("served")), 7, "nothing was made");
}

#[test]
fn no_command_line_is_anything_but_a_command_of_ours() {
    if !has_ssh() {
        return;
    }
    let house = House::start();
    let touched = house.sandbox.path("touched");
    let touch = touched.display();
    for line in [
        format!("git-upload-pack 'x'; touch {touch}"),
        format!("git-upload-pack $(touch {touch})"),
        format!("git-upload-pack `touch {touch}`"),
        format!("git-upload-pack --upload-pack='touch {touch}' 'x'"),
        "git-upload-pack --help".to_owned(),
        "git-upload-pack --strict x".to_owned(),
        "git-upload-archive --exec=id x".to_owned(),
        "git-shell -c help".to_owned(),
        "GIT_DIR=/ git-upload-pack 'x'".to_owned(),
        "/usr/bin/git-upload-pack 'x'".to_owned(),
        "git-upload-pack  'x'".to_owned(),
        "git-upload-pack\t'x'".to_owned(),
        "git-upload-pack 'x' 'x'".to_owned(),
        "git-upload-pack \"x\"".to_owned(),
        "git-upload-pack 'x".to_owned(),
        "git upload-pack --timeout=1 'x'".to_owned(),
        "git -c core.pager=id upload-pack 'x'".to_owned(),
        format!("delete 'x'; touch {touch}"),
        format!("delete $(touch {touch})"),
        "create --output=/tmp/x y".to_owned(),
        "why x -- read".to_owned(),
        format!("git-upload-pack '{}'", "x".repeat(5_000)),
    ] {
        let (status, told) = house.told(&line);
        assert!(
            status.is_some_and(|status| status != 0 && status != 255) && !told.contains("refs/heads/main"),
            "{line}: {status:?} {told}"
        );
    }
    assert!(!touched.exists() && house.sandbox.path("served/x.git").exists());
}

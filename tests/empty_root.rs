//! The binary in an empty root: nothing there but itself and a folder for data, no device files, no git, no shell, no `PATH`.

mod common;

use common::remote::Remote;
use common::server::{Server, has_ssh, make_key};
use common::{Case, PACKMULE, Sandbox, check, run, skipped};
use std::process::Command;

/// A command that runs `/packmule` in `root`, where that is permitted.
fn enter(sandbox: &Sandbox) -> Option<Command> {
    let root = sandbox.path("root");
    std::fs::create_dir_all(root.join("data")).expect("a folder");
    std::fs::copy(PACKMULE, root.join("packmule")).expect("the binary");
    let attempts: [&[&str]; 2] = [&["chroot"], &["unshare", "--user", "--map-root-user", "chroot"]];
    for words in attempts {
        let command = || {
            let mut command = sandbox.command(words[0]);
            command.args(&words[1..]).arg(&root).arg("/packmule");
            command
        };
        let found = run(command().arg("--version"));
        if found.status.success() {
            return Some(command());
        }
        let said = String::from_utf8_lossy(&found.stderr).into_owned();
        assert!(!said.contains("No such file"), "the binary is not static: {said}");
    }
    skipped("neither chroot nor a user namespace is permitted here");
    None
}

#[test]
fn it_serves_clones_and_pushes_from_an_empty_root() {
    if !has_ssh() {
        return;
    }
    let sandbox = Sandbox::new();
    let Some(mut command) = enter(&sandbox) else { return };
    let key = make_key(&sandbox, &sandbox.home().join(".ssh/id_ed25519"), &["ed25519"]);
    let data = sandbox.path("root/data");
    std::fs::copy(key.with_extension("pub"), data.join("admin.pub")).expect("a key");
    command.env_clear().env("PATH", "/nowhere:/usr/sbin:/usr/bin:/sbin:/bin");
    command.args(["serve", "/data", "--ssh", "127.0.0.1:0", "--admin-key", "/data/admin.pub"]);
    let server = Server::start_command(&sandbox, command, data.clone());
    for protocol in [2, 0] {
        let remote = Remote::ssh(&sandbox, Case { hash: "sha1", protocol }, &server);
        let name = format!("first{protocol}");
        let client = sandbox.history(&format!("client{protocol}"), "sha1", 30, 60).0;
        remote.push(&client, &name, &["--mirror"]);
        let made = data.join(format!("{name}.git"));
        check::sound(&sandbox, &made);
        check::same_objects(&sandbox, &made, &client);
        let clone = remote.clone(&name, &format!("clone{protocol}"), &["--mirror"]);
        check::same_objects(&sandbox, &clone, &client);
    }
    let mut left: Vec<_> =
        std::fs::read_dir(sandbox.path("root")).expect("the root").map(|entry| entry.expect("readable").file_name()).collect();
    left.sort();
    assert_eq!(left, ["data", "packmule"], "nothing was needed, nothing was made");
    assert!(!server.said().contains("panicked"), "{}", server.said());
}

//! The README's transcripts, run as they stand: the server in the first block, its client in the second.
//!
//! The test has its own port, home and keys; `2222`, `/home/ann` and fingerprints stand for them in the text.

mod common;

use common::server::{Server, has_ssh, make_key, write_ssh_config};
use common::{PACKMULE, Sandbox, run, write_program};
use std::path::Path;

/// One command of a transcript and what it prints.
#[derive(Debug)]
struct Step {
    command: String,
    printed: String,
}

/// The blocks of README.md that say of themselves that they are run.
fn transcripts() -> Vec<Vec<Step>> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("a README");
    let blocks = text.split("<!-- A test runs this block as it stands. -->\n```console\n").skip(1);
    blocks.map(|block| steps(block.split("```").next().expect("an end"))).collect()
}

fn steps(block: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = vec![];
    for line in block.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step { command: command.to_owned(), printed: String::new() }),
            (None, Some(step)) => step.printed += &format!("{line}\n"),
            (None, None) => panic!("a block begins with a command, not with {line}"),
        }
    }
    steps
}

/// Put the README's names where this run's stand.
fn as_in_the_readme(text: &str, sandbox: &Sandbox, port: u16) -> String {
    let text = text.replace(&*sandbox.home().to_string_lossy(), "/home/ann").replace(&format!(":{port}"), ":2222");
    let mut out = String::new();
    for (n, part) in text.split("SHA256:").enumerate() {
        let fingerprint = if n == 0 { 0 } else { part.find([' ', ')', '\n']).unwrap_or(part.len()) };
        out += if n == 0 { "" } else { "SHA256:…" };
        out += &part[fingerprint..];
    }
    // git fills up lines that come from the server with spaces.
    out.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[test]
fn the_first_minutes_go_as_the_readme_says() {
    if !has_ssh() {
        return;
    }
    let sandbox = Sandbox::new();
    let [server_steps, client_steps] = &transcripts()[..] else { panic!("two blocks are run") };
    let [start] = &server_steps[..] else { panic!("the first block starts the server") };
    assert_eq!(start.command, "packmule serve ~/repos");
    let key = make_key(&sandbox, &sandbox.home().join(".ssh/id_ed25519"), &["ed25519"]);
    let mut serve = sandbox.command(PACKMULE);
    serve.args(["serve", "--ssh", "127.0.0.1:0"]).arg(sandbox.home().join("repos")).env("USER", "ann").env("LOGNAME", "ann");
    let server = Server::start_command(&sandbox, serve, sandbox.home().join("repos"));
    server.wait_for("stop: ");
    assert_eq!(as_in_the_readme(&server.said(), &sandbox, server.port), as_in_the_readme(&start.printed, &sandbox, 0));

    // `ssh` on the PATH knows the key and the port; git finds it there as well.
    let config = write_ssh_config(&sandbox, server.port, &key);
    let ssh = sandbox.home().join("bin/ssh");
    write_program(&ssh, &format!("#!/bin/sh\nPATH=${{PATH#*:}} exec ssh -F {} \"$@\"\n", config.display()));
    let work_tree = sandbox.work_tree("home/work", "sha1");
    let path = format!("{}:{}", sandbox.home().join("bin").display(), std::env::var("PATH").unwrap_or_default());
    for step in client_steps {
        let mut shell = sandbox.command("sh");
        let command = step.command.replace("2222", &server.port.to_string());
        shell.current_dir(&work_tree).env("PATH", &path).args(["-c", &format!("{command} 2>&1")]);
        let output = run(&mut shell);
        let printed = as_in_the_readme(&String::from_utf8_lossy(&output.stdout), &sandbox, server.port);
        assert_eq!(printed, as_in_the_readme(&step.printed, &sandbox, 0), "$ {}", step.command);
    }
}

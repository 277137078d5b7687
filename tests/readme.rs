//! The README's transcripts, run as they stand: the server in the first block, its client in the second.
//!
//! The test has its own port, home and keys; `2222`, `/home/ann` and fingerprints stand for them in the text.

#[path = "access/api_server.rs"]
#[allow(dead_code, reason = "a part is needed here")]
mod api_server;
mod common;

use api_server::ApiServer;
use common::server::{Server, has_ssh, make_key, write_ssh_config};
use common::{PACKMULE, Sandbox, run, skipped, write_program};
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

/// What a section of README.md shows: files, whose first line is `# NAME`, and transcripts.
struct Section {
    files: Vec<(String, String)>,
    transcripts: Vec<Vec<Step>>,
}

fn section(title: &str) -> Section {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("a README");
    let (_, from) = text.split_once(&format!("\n## {title}\n")).unwrap_or_else(|| panic!("a section {title}"));
    let text = from.split("\n## ").next().unwrap_or(from);
    let mut section = Section { files: vec![], transcripts: vec![] };
    for block in text.split("```").skip(1).step_by(2) {
        let (language, block) = block.split_once('\n').expect("a language");
        match (language, block.strip_prefix("# ").and_then(|rest| rest.split_once('\n'))) {
            ("console", _) => section.transcripts.push(steps(block)),
            (_, Some((name, _))) => section.files.push((name.to_owned(), block.to_owned())),
            (_, None) => panic!("a file's first line is its name: {block}"),
        }
    }
    section
}

/// A home with a key and, if wanted, a repository `website` in `repos`; the section's files in it.
fn furnish(section: &Section, has_website: bool) -> Sandbox {
    let sandbox = Sandbox::new();
    make_key(&sandbox, &sandbox.home().join(".ssh/id_ed25519"), &["ed25519"]);
    let work = sandbox.work_tree("home/work", "sha1");
    if has_website {
        let website = sandbox.bare("home/repos/website.git", "sha1");
        sandbox.git(&work, ["push", "-q", &website.to_string_lossy(), "main"]);
    }
    for (name, text) in &section.files {
        std::fs::write(sandbox.home().join(name), text).expect("written");
    }
    sandbox
}

/// Start the server as this step says, at home, on a port of its own.
fn serve(sandbox: &Sandbox, step: &Step) -> Server {
    let words: Vec<&str> = step.command.strip_prefix("packmule ").expect("packmule").split(' ').collect();
    let mut serve = sandbox.command(PACKMULE);
    serve.args(words).args(["--ssh", "127.0.0.1:0"]).current_dir(sandbox.home());
    let server = Server::start_command(sandbox, serve, sandbox.home().join("repos"));
    server.wait_for("stop: ");
    assert_eq!(as_in_the_readme(&server.said(), sandbox, server.port), as_in_the_readme(&step.printed, sandbox, 0));
    server
}

/// Run these steps at home, and compare what they print.
fn play(sandbox: &Sandbox, server: &Server, steps: &[Step]) {
    let config = write_ssh_config(sandbox, server.port, &sandbox.home().join(".ssh/id_ed25519"));
    let ssh = sandbox.home().join("bin/ssh");
    write_program(&ssh, &format!("#!/bin/sh\nPATH=${{PATH#*:}} exec ssh -F {} \"$@\"\n", config.display()));
    let path = format!("{}:{}", sandbox.home().join("bin").display(), std::env::var("PATH").unwrap_or_default());
    for step in steps {
        let mut shell = sandbox.command("sh");
        let command = step.command.replace("2222", &server.port.to_string());
        shell.current_dir(sandbox.home()).env("PATH", &path).args(["-c", &format!("{command} 2>&1")]);
        let printed = as_in_the_readme(&String::from_utf8_lossy(&run(&mut shell).stdout), sandbox, server.port);
        assert_eq!(printed, as_in_the_readme(&step.printed, sandbox, 0), "$ {}\n{}", step.command, server.said());
    }
}

fn ann_s_key(sandbox: &Sandbox) -> String {
    std::fs::read_to_string(sandbox.home().join(".ssh/id_ed25519.pub")).expect("a key")
}

#[test]
fn whoever_comes_from_gitserverglue_goes_on_as_the_readme_says() {
    if !has_ssh() {
        return;
    }
    let section = section("Coming from GitServerGlue");
    let [start, client] = &section.transcripts[..] else { panic!("a server and a client") };
    let sandbox = furnish(&Section { files: vec![], transcripts: vec![] }, true);
    for (name, text) in &section.files {
        std::fs::write(sandbox.home().join(name), text).expect("written");
    }
    std::fs::write(sandbox.home().join("repos/.rsakeys"), format!("ann: {}", ann_s_key(&sandbox))).expect("written");
    std::fs::write(sandbox.home().join("repos/.htpasswd"), "bob:{SHA}qvTGHdzF6KLavt4PO0gs2a6pQ00=\n").expect("written");
    let server = serve(&sandbox, &start[0]);
    play(&sandbox, &server, client);
}

#[test]
fn an_api_server_decides_as_the_readme_says() {
    if !has_ssh() {
        return;
    }
    let section = section("An API server decides");
    let [start, client] = &section.transcripts[..] else { panic!("a server and a client") };
    let sandbox = furnish(&section, true);
    let key = ann_s_key(&sandbox).split(' ').nth(1).expect("a key").to_owned();
    let _api = ApiServer::unix(&sandbox.home().join("api.sock"), move |asked| {
        let question = asked.json();
        let is_anns = question["key"]["openssh"].as_str().is_some_and(|line| line.ends_with(&key));
        let answer = match asked.target.as_str() {
            "/authenticate" if is_anns => r#"{"answer": "accepted", "user": "ann"}"#,
            "/authenticate" => r#"{"answer": "unknown"}"#,
            "/user" => r#"{"user": {}}"#,
            "/authorise" => {
                r#"{"answer": "granted", "rules": [{"refs": ["secret/*"], "deny": ["read"]}, {"allow": ["read", "write"]}], "judge": true}"#
            }
            "/locate" => r#"{"repository": "website"}"#,
            "/judge" => r#"{"verdicts": ["allow"]}"#,
            _ => return (404, String::new()),
        };
        (200, answer.to_owned())
    });
    let server = serve(&sandbox, &start[0]);
    play(&sandbox, &server, client);
}

/// Ends with the test.
struct Program(std::process::Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_four_functions_in_python_decide_as_the_readme_says() {
    if !has_ssh() {
        return;
    }
    let (settings, python) = (section("An API server decides"), section("A Python driver's author"));
    let sandbox = furnish(&settings, false);
    for (name, text) in &python.files {
        std::fs::write(sandbox.home().join(name), text).expect("written");
    }
    let key = ann_s_key(&sandbox);
    let key: Vec<&str> = key.split(' ').take(2).collect();
    std::fs::write(sandbox.home().join("people.keys"), format!("{} ann\n", key.join(" "))).expect("written");
    let mut python3 = sandbox.command("python3");
    python3.arg("api.py").current_dir(sandbox.home()).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let Ok(mut program) = python3.spawn().map(Program) else { return skipped("no python3 here") };
    while !sandbox.home().join("api.sock").exists() {
        assert!(program.0.try_wait().expect("a child").is_none(), "api.py ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let mut start = sandbox.command(PACKMULE);
    start.args(["serve", "--config", "config.toml", "--ssh", "127.0.0.1:0"]).current_dir(sandbox.home());
    let server = Server::start_command(&sandbox, start, sandbox.home().join("repos"));
    play(&sandbox, &server, &python.transcripts[0]);
}

//! A place to clone from and push to: over standard input and output, over SSH, or stock git as the measure.

use super::server::Server;
use super::{Case, PACKMULE, Sandbox, report, run};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Who serves.
#[derive(Clone, Copy)]
pub enum How<'a> {
    /// packmule, started by the client as `git-upload-pack` and `git-receive-pack` are.
    Stdio,
    /// `packmule serve`.
    Ssh(&'a Server),
    /// Stock git, started by the client: the measure.
    Stock,
}

/// Repositories on a server, and git as its client.
#[derive(Clone, Copy)]
pub struct Remote<'a> {
    /// The test's folder.
    pub sandbox: &'a Sandbox,
    /// Hash kind and protocol version.
    pub case: Case,
    /// Who serves.
    pub how: How<'a>,
}

impl<'a> Remote<'a> {
    /// packmule on standard input and output.
    pub fn stdio(sandbox: &'a Sandbox, case: Case) -> Self {
        Self { sandbox, case, how: How::Stdio }
    }

    /// packmule over SSH.
    pub fn ssh(sandbox: &'a Sandbox, case: Case, server: &'a Server) -> Self {
        Self { sandbox, case, how: How::Ssh(server) }
    }

    /// The same repositories, served by stock git on the spot.
    pub fn stock(&self) -> Self {
        Self { how: How::Stock, ..*self }
    }

    /// Where the server keeps the repository `name`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path(format!("served/{name}.git"))
    }

    /// An empty repository on the server.
    #[track_caller]
    pub fn bare(&self, name: &str) -> PathBuf {
        self.sandbox.bare(format!("served/{name}.git"), self.case.hash)
    }

    /// A repository with a random history on the server.
    #[track_caller]
    pub fn history(&self, name: &str, seed: u64, commits: usize) -> (PathBuf, super::fixture::Story) {
        self.sandbox.history(&format!("served/{name}.git"), self.case.hash, seed, commits)
    }

    /// What a client calls the repository `name`.
    pub fn url(&self, name: &str) -> String {
        match self.how {
            How::Ssh(server) => server.url(name),
            // A bare path would be cloned by copying files, with nobody asked.
            How::Stdio | How::Stock => format!("file://{}", self.path(name).display()),
        }
    }

    /// `git WORD ARGS` in `folder`, speaking to this server with this protocol version.
    pub fn command<S: Into<OsString>>(&self, folder: &Path, word: &str, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.sandbox.git_command(folder, ["-c", &format!("protocol.version={}", self.case.protocol), word]);
        if let How::Stdio = self.how {
            let (option, service) =
                if matches!(word, "push" | "send-pack") { ("--receive-pack", "receive-pack") } else { ("--upload-pack", "upload-pack") };
            command.arg(format!("{option}={PACKMULE} {service}"));
        }
        if let How::Ssh(server) = self.how {
            command.env("GIT_SSH_COMMAND", server.ssh_command()).env("GIT_SSH_VARIANT", "ssh");
        }
        command.args(args.into_iter().map(Into::into));
        command
    }

    /// Like [`Remote::command`], run; it must succeed. Returns standard output and standard error.
    #[track_caller]
    pub fn git<S: Into<OsString>>(&self, folder: &Path, word: &str, args: impl IntoIterator<Item = S>) -> (String, String) {
        let mut command = self.command(folder, word, args);
        let output = run(&mut command);
        assert!(output.status.success(), "{}", report(&command, &output));
        words(&output)
    }

    /// Like [`Remote::command`], run; it must fail. Returns standard output and standard error.
    #[track_caller]
    pub fn git_fails<S: Into<OsString>>(&self, folder: &Path, word: &str, args: impl IntoIterator<Item = S>) -> (String, String) {
        let mut command = self.command(folder, word, args);
        let output = run(&mut command);
        assert!(!output.status.success(), "should fail: {}", report(&command, &output));
        assert!(output.status.code().is_some(), "killed: {}", report(&command, &output));
        words(&output)
    }

    /// Clone the repository `name` to the folder `to`.
    #[track_caller]
    pub fn clone(&self, name: &str, to: &str, options: &[&str]) -> PathBuf {
        let path = self.sandbox.path(to);
        let mut args: Vec<OsString> = vec!["-q".into()];
        args.extend(options.iter().map(Into::into));
        args.extend([self.url(name).into(), path.clone().into()]);
        self.git(&self.sandbox.path(""), "clone", args);
        path
    }

    /// `git fetch -q ARGS` in the clone at `folder`.
    #[track_caller]
    pub fn fetch(&self, folder: &Path, args: &[&str]) {
        self.git(folder, "fetch", ["-q"].iter().chain(args));
    }

    /// Push `refspecs` from `folder` to the repository `name`. Returns standard error.
    #[track_caller]
    pub fn push(&self, folder: &Path, name: &str, refspecs: &[&str]) -> String {
        self.git(folder, "push", self.push_args(name, refspecs)).1
    }

    /// Like [`Remote::push`], but it must fail. Returns what git says on standard error.
    #[track_caller]
    pub fn push_fails(&self, folder: &Path, name: &str, refspecs: &[&str]) -> String {
        self.git_fails(folder, "push", self.push_args(name, refspecs)).1
    }

    /// Options first, then the place, then refspecs.
    fn push_args(&self, name: &str, refspecs: &[&str]) -> Vec<String> {
        let (options, refspecs): (Vec<&str>, Vec<&str>) = refspecs.iter().partition(|arg| arg.starts_with("--"));
        let url = self.url(name);
        options.into_iter().chain([url.as_str()]).chain(refspecs).map(str::to_owned).collect()
    }

    /// The refs that the server shows: `id name` lines.
    #[track_caller]
    pub fn ls_remote(&self, name: &str, options: &[&str]) -> String {
        let mut args: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        args.push(self.url(name));
        self.git(&self.sandbox.path(""), "ls-remote", args).0
    }
}

/// Standard output and standard error as text.
fn words(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

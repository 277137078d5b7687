//! The text of an `exec` request into a service and a path, an errand, or one sentence that says why not.
//!
//! Taken are exactly `git-upload-pack PATH`, `git upload-pack PATH` and the same for `receive-pack` and `upload-archive`, with one
//! space (and what `errand` knows), where PATH is in the form of git's `sq_quote` (`quote.c`: single quotes round everything, `'` as
//! `'\''` and `!` as `'\!'`) or a plain word. There is no shell; nothing else is interpreted.

use super::super::limits::COMMAND_BYTES_MAX;
use super::errand::Errand;
use crate::access::{RequestPath, printable};
use crate::serve::Service;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GitCommand {
    /// The right that it takes.
    pub(super) service: Service,
    /// `git-upload-archive`: reading, too, but an archive instead of a pack.
    pub(super) is_archive: bool,
    pub(super) path: RequestPath,
}

impl GitCommand {
    /// The service in git's word for it.
    pub(super) fn word(&self) -> &'static str {
        match self.service {
            Service::UploadPack if self.is_archive => "upload-archive",
            Service::UploadPack => "upload-pack",
            Service::ReceivePack => "receive-pack",
        }
    }
}

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A fetch, a push, an archive.
    Git(GitCommand),
    /// Anything else that is understood here.
    Errand(Errand),
}

/// Understand `line`, or say why not in a sentence for the client.
pub(super) fn parse(line: &[u8]) -> Result<Wanted, String> {
    if line.len() > COMMAND_BYTES_MAX {
        return Err(format!("a command of more than {COMMAND_BYTES_MAX} bytes is not taken"));
    }
    let Ok(line) = std::str::from_utf8(line) else {
        return Err("a command that is not UTF-8 is not taken".to_owned());
    };
    let Some((service, is_archive, argument)) = split_service(line) else {
        return match Errand::parse(line) {
            Some(errand) => errand.map(Wanted::Errand),
            None => Err(why_not(line)),
        };
    };
    let path = dequote(argument)?;
    if path.is_empty() {
        return Err("the path of a repository is missing: git clone ssh://HOST/PATH".to_owned());
    }
    Ok(Wanted::Git(GitCommand { service, is_archive, path: path_of(path)? }))
}

/// A path as drivers take it.
pub(super) fn path_of(path: String) -> Result<RequestPath, String> {
    if path.contains(['\0', '\n', '\r']) {
        return Err("a path with a line break or a NUL is not taken".to_owned());
    }
    Ok(RequestPath::new(path))
}

fn split_service(line: &str) -> Option<(Service, bool, &str)> {
    let rest = line.strip_prefix("git-").or_else(|| line.strip_prefix("git "))?;
    let (word, argument) = rest.split_once(' ')?;
    match word {
        "upload-pack" => Some((Service::UploadPack, false, argument)),
        "upload-archive" => Some((Service::UploadPack, true, argument)),
        "receive-pack" => Some((Service::ReceivePack, false, argument)),
        _ => None,
    }
}

/// One argument, quoted by git or plain.
fn dequote(argument: &str) -> Result<String, String> {
    if !argument.starts_with('\'') {
        if argument.starts_with('-') {
            return Err("options are not taken here, only the path of a repository".to_owned());
        }
        return if argument.chars().all(is_plain) { Ok(argument.to_owned()) } else { Err(not_plain(argument)) };
    }
    match unquote(argument)? {
        (path, "") => Ok(path),
        _ => Err(broken(argument)),
    }
}

/// What stands in git's quotes at the beginning of `text`, and what follows them.
fn unquote(text: &str) -> Result<(String, &str), String> {
    let mut inner = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        let (inside, after) = rest.strip_prefix('\'').and_then(|rest| rest.split_once('\'')).ok_or_else(|| broken(text))?;
        inner.push_str(inside);
        rest = match after.as_bytes() {
            [b'\\', escaped @ (b'\'' | b'!'), b'\'', ..] => {
                inner.push(char::from(*escaped));
                &after[2..]
            }
            [b'\\', ..] => return Err(broken(text)),
            _ => return Ok((inner, after)),
        };
    }
}

fn broken(argument: &str) -> String {
    format!("the quotes of this path are not git's: {}", printable(argument))
}

fn not_plain(argument: &str) -> String {
    format!("one path in single quotes is taken, not: {}", printable(argument))
}

/// Whether it stands for itself without quotes.
fn is_plain(char: char) -> bool {
    char.is_alphanumeric() || "/._~+@,:=%-".contains(char)
}

/// Words between spaces, each plain or in git's quotes.
pub(super) fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = vec![];
    let mut rest = line.trim_matches(' ');
    while !rest.is_empty() {
        let (word, after) = if rest.starts_with('\'') {
            unquote(rest)?
        } else {
            let (word, after) = rest.split_at(rest.find(' ').unwrap_or(rest.len()));
            if !word.chars().all(is_plain) {
                return Err(format!("what is no plain word is taken in single quotes only: {}", printable(word)));
            }
            (word.to_owned(), after)
        };
        if !after.is_empty() && !after.starts_with(' ') {
            return Err(broken(rest));
        }
        words.push(word);
        rest = after.trim_start_matches(' ');
    }
    Ok(words)
}

/// The sentence for everything that is no fetch and no push.
fn why_not(line: &str) -> String {
    let word = line.split_whitespace().next().unwrap_or_default();
    let name = word.rsplit('/').next().unwrap_or_default();
    let second = line.split_whitespace().nth(1).unwrap_or_default();
    match (name, second) {
        ("git-upload-pack" | "git-receive-pack" | "git-upload-archive", "")
        | ("git", "upload-pack" | "receive-pack" | "upload-archive") => {
            "the path of a repository is missing: git clone ssh://HOST/PATH".to_owned()
        }
        ("git-upload-pack" | "git-receive-pack" | "git-upload-archive", _) => format!("exactly this is taken: {name} 'PATH'"),
        ("scp" | "sftp" | "sftp-server" | "rsync", _) => "files are not copied here; use git clone and git push".to_owned(),
        ("sh" | "bash" | "zsh" | "dash" | "ash" | "fish" | "csh" | "ksh" | "login" | "su", _) => "there is no shell here".to_owned(),
        _ => format!("only git fetch and git push are served here, and what 'ssh HOST help' tells of, not '{}'", printable(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path_of(line: &str) -> Option<(Service, String)> {
        match parse(line.as_bytes()) {
            Ok(Wanted::Git(command)) => Some((command.service, command.path.as_str().to_owned())),
            _ => None,
        }
    }

    #[test]
    fn the_services_are_taken_in_both_spellings() {
        let (fetch, push) = (Service::UploadPack, Service::ReceivePack);
        for (line, service, path) in [
            ("git-upload-pack '/a/b.git'", fetch, "/a/b.git"),
            ("git upload-pack 'a b'", fetch, "a b"),
            ("git-receive-pack 'x'", push, "x"),
            ("git-upload-archive 'x'", fetch, "x"),
            ("git upload-archive x/y.git", fetch, "x/y.git"),
            ("git receive-pack x/y.git", push, "x/y.git"),
            (r"git-upload-pack 'it'\''s'", fetch, "it's"),
            (r"git-upload-pack 'wow'\!'!x'", fetch, "wow!!x"),
            (r"git-upload-pack ''\'''", fetch, "'"),
            ("git-upload-pack '$(id) `id` ; \\ \"'", fetch, "$(id) `id` ; \\ \""),
        ] {
            assert_eq!(path_of(line), Some((service, path.to_owned())), "{line}");
        }
    }

    #[test]
    fn an_archive_is_told_from_a_fetch() {
        let is_archive = |line: &[u8]| matches!(parse(line).expect("taken"), Wanted::Git(command) if command.is_archive);
        assert!(is_archive(b"git-upload-archive 'x'") && !is_archive(b"git-upload-pack 'x'") && !is_archive(b"git-receive-pack 'x'"));
    }

    #[test]
    fn everything_else_is_refused_with_a_sentence() {
        for (line, says) in [
            ("git-upload-archive --exec=id", "options"),
            ("git-upload-archive", "missing"),
            ("git upload-archive", "missing"),
            ("git-upload-archive x y", "single quotes"),
            ("scp -t /tmp", "files"),
            ("/usr/lib/openssh/sftp-server", "files"),
            ("bash -c id", "no shell"),
            ("git-upload-pack --help", "options"),
            ("git-upload-pack", "missing"),
            ("git-upload-pack ", "missing"),
            ("git-upload-pack ''", "missing"),
            ("git upload-pack", "missing"),
            ("git-upload-pack 'a' 'b'", "quotes"),
            ("git-upload-pack 'a", "quotes"),
            (r"git-upload-pack 'a'\x'b'", "quotes"),
            (r"git-upload-pack 'a'\'", "quotes"),
            ("git-upload-pack a;id", "single quotes"),
            ("git-upload-pack  'a'", "single quotes"),
            ("git-upload-pack $(id)", "single quotes"),
            ("git-upload-pack \"a\"", "single quotes"),
            ("git-upload-pack 'a\nb'", "line break"),
            ("git-upload-pack 'a\0b'", "NUL"),
            ("git --version", "only git fetch"),
            ("GIT-UPLOAD-PACK 'a'", "only git fetch"),
            (" git-upload-pack 'a'", "exactly"),
            ("", "only git fetch"),
            ("\x1b[31mred", "not '\\u{1b}[31mred'"),
        ] {
            let refused = parse(line.as_bytes()).expect_err(line);
            assert!(refused.contains(says), "{line:?}: {refused}");
            assert!(!refused.contains(['\n', '\x1b']), "{refused:?}");
        }
        assert!(parse(b"git-upload-pack '\xff'").expect_err("not text").contains("UTF-8"));
        assert!(parse(&[b'x'; COMMAND_BYTES_MAX + 1]).expect_err("too long").contains("4096"));
    }

    /// As `sq_quote_buf` of git does it.
    fn quote(path: &str) -> String {
        let mut quoted = String::from("'");
        for char in path.chars() {
            match char {
                '\'' | '!' => quoted.extend(["'\\", char.to_string().as_str(), "'"]),
                _ => quoted.push(char),
            }
        }
        quoted + "'"
    }

    proptest! {
        #[test]
        fn what_git_quotes_comes_back(path in "[^\0\r\n]{1,60}") {
            let line = format!("git-receive-pack {}", quote(&path));
            prop_assert_eq!(path_of(&line), Some((Service::ReceivePack, path)));
        }

        #[test]
        fn no_line_is_a_panic(line in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse(&line);
            let _ = parse(&[b"git-upload-pack ", &line[..]].concat());
        }
    }
}

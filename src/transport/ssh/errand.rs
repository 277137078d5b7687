//! The words of a command that is none of git's into what is asked for, or into one sentence that says what is taken.
//!
//! Words are plain or in git's quotes (see `command`); there is no shell. `-h`, `--help` and a wrong number of words are answered with
//! the form of the command.

use super::command::{path_of, words};
use crate::access::rules::ANONYMOUS;
use crate::access::{HashKind, Question, RequestPath, UserId, printable};
use std::fmt::Write;

/// Everything that may be asked for besides fetching and pushing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// What is there to be asked for?
    Help,
    /// Which repositories may I see, and what may I do there?
    Info { json: bool },
    /// May I, and why?
    Why(Question),
    /// Which repositories do I administer?
    List { json: bool },
    /// Make one.
    Create { path: RequestPath, hash: Option<HashKind> },
    /// Give one another name.
    Rename { from: RequestPath, to: RequestPath },
    /// Move one to the trash.
    Delete { path: RequestPath },
    /// What is in the trash?
    Trash { json: bool },
    /// Take one back.
    Restore { path: RequestPath },
    /// Who has which role there? Give or take one first, if so.
    Perms { path: RequestPath, change: Option<RoleChange> },
}

/// A role to give or to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RoleChange {
    pub(super) gives: bool,
    pub(super) role: String,
    /// A user, `@group` or `*`.
    pub(super) user: String,
}

/// The form of each, and what it is for.
const FORMS: [(&str, &str); 10] = [
    ("help", "what there is to be asked for"),
    ("info [--json]", "the repositories that you may see; R: you may fetch, W: push"),
    ("why [--user USER] REPOSITORY [REF] VERB", "may you, or may they, and which rule says so? VERB: read, update, ..."),
    ("perms REPOSITORY [+|- ROLE USER]", "who has which role in what you made or administer; gives or takes one"),
    ("list [--json]", "the repositories that you administer"),
    ("create REPOSITORY [--sha256]", "make an empty repository"),
    ("rename OLD NEW", "give a repository another name"),
    ("delete REPOSITORY", "move a repository to the trash"),
    ("trash [--json]", "what is in the trash, the oldest first"),
    ("restore REPOSITORY", "take back what was deleted last of this name"),
];

/// The answer to `help`.
pub(super) fn help() -> String {
    let mut text = "Besides git fetch, git push and git archive --remote:\n".to_owned();
    for (form, what) in FORMS {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {form:<41} {what}");
    }
    text + "Names with other than plain letters stand in quotes within quotes: ssh HOST \"delete 'a b'\"\n"
}

impl Errand {
    /// Understand `line`; none where its first word is no word of ours.
    pub(super) fn parse(line: &str) -> Option<Result<Self, String>> {
        let word = line.trim_matches(' ').split(' ').next()?;
        let (form, _) = FORMS.into_iter().find(|(form, _)| form.split(' ').next() == Some(word))?;
        Some(
            words(line)
                .and_then(|words| Self::from_words(word, &words[1..])?.ok_or_else(|| format!("exactly this is taken: ssh HOST {form}"))),
        )
    }

    /// None where the words are not those of the command's form.
    fn from_words(command: &str, rest: &[String]) -> Result<Option<Self>, String> {
        let (options, rest): (Vec<&str>, Vec<&str>) = rest.iter().map(String::as_str).partition(|word| word.starts_with("--"));
        let path = |word: &str| path_of(word.to_owned());
        Ok(match (command, &options[..], &rest[..]) {
            ("help", [], []) => Some(Self::Help),
            ("info", [], []) => Some(Self::Info { json: false }),
            ("info", ["--json"], []) => Some(Self::Info { json: true }),
            ("list", [], []) => Some(Self::List { json: false }),
            ("list", ["--json"], []) => Some(Self::List { json: true }),
            ("trash", [], []) => Some(Self::Trash { json: false }),
            ("trash", ["--json"], []) => Some(Self::Trash { json: true }),
            ("create", [], [name]) => Some(Self::Create { path: path(name)?, hash: None }),
            ("create", ["--sha256"], [name]) => Some(Self::Create { path: path(name)?, hash: Some(HashKind::Sha256) }),
            ("rename", [], [from, to]) => Some(Self::Rename { from: path(from)?, to: path(to)? }),
            ("delete", [], [name]) => Some(Self::Delete { path: path(name)? }),
            ("restore", [], [name]) => Some(Self::Restore { path: path(name)? }),
            ("perms", [], [name]) => Some(Self::Perms { path: path(name)?, change: None }),
            ("perms", [], [name, sign @ ("+" | "-"), role, user]) => {
                let change = RoleChange { gives: *sign == "+", role: role_name(role)?, user: role_holder(user)? };
                Some(Self::Perms { path: path(name)?, change: Some(change) })
            }
            ("why", [], [name, verb]) => Some(Self::Why(Question::new(path(name)?, *verb))),
            ("why", [], [name, of, verb]) => Some(Self::Why(Question::new(path(name)?, *verb).to_ref(of))),
            ("why", ["--user"], [user, name, verb]) => Some(Self::Why(Question::new(path(name)?, *verb).about(UserId::new(*user)))),
            ("why", ["--user"], [user, name, of, verb]) => {
                Some(Self::Why(Question::new(path(name)?, *verb).about(UserId::new(*user)).to_ref(of)))
            }
            _ => None,
        })
    }

    /// What is asked, for the log.
    pub(super) fn service(&self) -> String {
        match self {
            Self::Help => "help".to_owned(),
            Self::Info { .. } => "info".to_owned(),
            Self::List { .. } => "list".to_owned(),
            Self::Trash { .. } => "trash".to_owned(),
            Self::Create { .. } => "create".to_owned(),
            Self::Rename { to, .. } => format!("rename to {}", printable(to.as_str())),
            Self::Delete { .. } => "delete".to_owned(),
            Self::Restore { .. } => "restore".to_owned(),
            Self::Perms { change: None, .. } => "perms".to_owned(),
            Self::Perms { change: Some(RoleChange { gives, role, user }), .. } => {
                format!("perms {} {role} {user}", if *gives { '+' } else { '-' })
            }
            Self::Why(Question { about, name, verb, .. }) => {
                let about = about.as_ref().map_or_else(String::new, |user| format!("{user} "));
                let name = name.as_ref().map_or_else(String::new, |name| format!("{name} "));
                format!("why {about}{name}{verb}")
            }
        }
    }

    /// The repository that it is about.
    pub(super) fn path(&self) -> Option<&RequestPath> {
        match self {
            Self::Help | Self::Info { .. } | Self::List { .. } | Self::Trash { .. } => None,
            Self::Why(question) => Some(&question.path),
            Self::Create { path, .. } | Self::Delete { path } | Self::Restore { path } | Self::Perms { path, .. } => Some(path),
            Self::Rename { from, .. } => Some(from),
        }
    }
}

/// Bytes of the name of a role, or of who has it.
const ROLE_BYTES_MAX: usize = 255;
/// What stands in angle brackets in rules and is no role.
const NO_ROLES: [&str; 2] = ["creator", "user"];

/// The name of a role; those of gitolite are written in capital letters there.
fn role_name(word: &str) -> Result<String, String> {
    if NO_ROLES.contains(&word.to_lowercase().as_str()) {
        return Err(format!("'{}' is no role that can be given", printable(word)));
    }
    if word.is_empty() || word.len() > ROLE_BYTES_MAX || !word.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-".contains(letter))
    {
        return Err(format!("a role has a name of letters, digits, - and _, such as writers, not: {}", printable(word)));
    }
    Ok(word.to_lowercase())
}

fn role_holder(word: &str) -> Result<String, String> {
    let name = word.strip_prefix('@').unwrap_or(word);
    if word == ANONYMOUS {
        return Err("who shows nothing has no roles: only the rules open a repository to strangers".to_owned());
    }
    let is_name =
        (1..=ROLE_BYTES_MAX).contains(&name.len()) && name.chars().all(|letter| letter.is_alphanumeric() || "._-+@".contains(letter));
    if word == "*" || is_name {
        return Ok(word.to_owned());
    }
    Err(format!("a user, a @group or '*' (everybody) has roles, not: {}", printable(word)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(line: &str) -> Errand {
        Errand::parse(line).expect("a word of ours").expect(line)
    }

    fn path(text: &str) -> RequestPath {
        RequestPath::new(text)
    }

    #[test]
    fn the_words_of_each_command_are_understood() {
        assert_eq!(parse("help"), Errand::Help);
        assert_eq!(parse(" info  --json "), Errand::Info { json: true });
        assert_eq!(parse("create 'a b'"), Errand::Create { path: path("a b"), hash: None });
        assert_eq!(parse("create --sha256 x/y.git"), Errand::Create { path: path("x/y.git"), hash: Some(HashKind::Sha256) });
        assert_eq!(parse(r"rename 'it'\''s' 'wow'\!''"), Errand::Rename { from: path("it's"), to: path("wow!") });
        assert_eq!(parse("delete /--json"), Errand::Delete { path: path("/--json") });
        assert_eq!(parse("perms x"), Errand::Perms { path: path("x"), change: None });
        let change = |gives: bool, user: &str| Some(RoleChange { gives, role: "writers".to_owned(), user: user.to_owned() });
        assert_eq!(parse("perms x + WRITERS @staff"), Errand::Perms { path: path("x"), change: change(true, "@staff") });
        assert_eq!(parse("perms x - writers '*'"), Errand::Perms { path: path("x"), change: change(false, "*") });
        let why = Question::new(path("x"), "read");
        assert_eq!(parse("why x read"), Errand::Why(why.clone()));
        assert_eq!(parse("why x main read"), Errand::Why(why.clone().to_ref("refs/heads/main")));
        assert_eq!(parse("why --user bob x 'refs/tags/v1' read"), Errand::Why(why.about(UserId::new("bob")).to_ref("refs/tags/v1")));
        assert_eq!(parse("why --user bob x read").service(), "why bob read");
    }

    #[test]
    fn what_is_not_understood_gets_the_form_of_the_command() {
        for (line, says) in [
            ("create", "ssh HOST create REPOSITORY [--sha256]"),
            ("create a b", "ssh HOST create"),
            ("create --sha1 a", "ssh HOST create"),
            ("delete", "ssh HOST delete REPOSITORY"),
            ("delete --help", "ssh HOST delete REPOSITORY"),
            ("delete a;id", "single quotes only: a;id"),
            ("delete $(id)", "single quotes only"),
            ("delete 'a'b", "quotes of this path"),
            ("delete 'a", "quotes of this path"),
            ("delete 'a\nb'", "line break"),
            ("delete \u{1b}[31m", "\\u{1b}"),
            ("why x", "ssh HOST why"),
            ("why --user bob read", "ssh HOST why"),
            ("info x", "ssh HOST info"),
            ("perms x + writers", "ssh HOST perms REPOSITORY [+|- ROLE USER]"),
            ("perms x + 'wri ters' bob", "a role has a name"),
            ("perms x + writers 'b\u{1b}'", "has roles, not: b\\u{1b}"),
            ("perms x = writers bob", "ssh HOST perms"),
            ("perms x + Creator bob", "is no role"),
            ("perms x + readers anonymous", "has no roles"),
            (&format!("perms x + readers {}", "b".repeat(256)), "has roles, not: bbb"),
            (&format!("perms x + {} bob", "b".repeat(256)), "a role has a name"),
            ("help me", "ssh HOST help"),
        ] {
            let refused = Errand::parse(line).expect("a word of ours").expect_err(line);
            assert!(refused.contains(says) && !refused.contains(['\n', '\u{1b}']), "{line:?}: {refused}");
        }
        for line in ["", " ", "helpme", "DELETE x", "'delete' x", "git delete x", "delete\tx"] {
            assert!(Errand::parse(line).is_none(), "{line:?}");
        }
    }

    #[test]
    fn help_names_every_form() {
        let text = help();
        assert!(FORMS.iter().all(|(form, what)| text.contains(form) && text.contains(what)), "{text}");
    }

    proptest! {
        #[test]
        fn no_line_is_a_panic(rest in ".{0,60}") {
            for (form, _) in FORMS {
                let word = form.split(' ').next().unwrap_or_default();
                let _ = Errand::parse(&format!("{word} {rest}"));
            }
        }
    }
}

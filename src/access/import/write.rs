//! Drafts into the text of a `config.toml`, each rule beneath the line that it comes from.

use super::keys::Keys;
use super::{Draft, Drafts};
use std::fmt::Write as _;

/// Letters of a list that still stands on one line.
const LINE_CHARS_MAX: usize = 120;

/// The whole text.
pub(super) fn toml(title: &str, drafts: &Drafts, keys: &Keys) -> String {
    let mut text = format!(
        "# {title}\n# What is not said here keeps its default (`packmule init` writes all settings); `packmule check` tells mistakes.\n\n\
         [ssh]\nown_keys = false # only the users below come in\n"
    );
    for user in &drafts.users {
        let lines: Vec<String> = keys.get(user).into_iter().flatten().map(|key| key.to_openssh()).collect();
        let _ = write!(text, "\n[users.{}]\n", key(user));
        if !lines.is_empty() {
            let _ = writeln!(text, "keys = {}", list(&lines));
        }
    }
    if !drafts.groups.is_empty() {
        text += "\n[groups]\n";
        for (name, members) in &drafts.groups {
            let _ = writeln!(text, "{} = {}", key(name), list(members));
        }
    }
    let mut origin = "";
    for draft in &drafts.rules {
        let _ = write!(text, "\n{}[[rule]]\n", comment(&mut origin, &draft.origin));
        rule(&mut text, draft);
    }
    for limit in &drafts.limits {
        let _ = write!(text, "\n{}[[limit]]\n", comment(&mut origin, &limit.origin));
        whom(&mut text, &limit.users, &limit.repositories, &limit.refs);
        let _ = writeln!(text, "{}", limit.limit);
        when(&mut text, limit.when.as_deref());
    }
    text
}

/// The origin as a comment, where it is not that of the rule above.
fn comment<'a>(before: &mut &'a str, origin: &'a str) -> String {
    if std::mem::replace(before, origin) == origin { String::new() } else { format!("# {origin}\n") }
}

fn rule(text: &mut String, draft: &Draft) {
    whom(text, &draft.users, &draft.repositories, &draft.refs);
    if !draft.paths.is_empty() {
        let _ = writeln!(text, "paths = {}", list(&draft.paths));
    }
    when(text, draft.when.as_deref());
    let verbs: Vec<String> = draft.verbs.iter().map(|verb| (*verb).to_owned()).collect();
    let _ = writeln!(text, "{} = {}", if draft.allows { "allow" } else { "deny" }, list(&verbs));
}

fn whom(text: &mut String, users: &[String], repositories: &[String], refs: &[String]) {
    let _ = writeln!(text, "users = {}\nrepositories = {}", list(users), list(repositories));
    if !refs.is_empty() {
        let _ = writeln!(text, "refs = {}", list(refs));
    }
}

fn when(text: &mut String, condition: Option<&str>) {
    if let Some(condition) = condition {
        let _ = writeln!(text, "when = {}", quoted(condition));
    }
}

/// Without quotes where it needs none.
fn key(name: &str) -> String {
    let is_bare = name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter));
    if is_bare && !name.is_empty() { name.to_owned() } else { quoted(name) }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    let line = format!("[{}]", words.join(", "));
    if line.chars().count() <= LINE_CHARS_MAX {
        line
    } else {
        format!("[\n{}]", words.iter().map(|word| format!("    {word},\n")).collect::<String>())
    }
}

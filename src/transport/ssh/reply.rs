//! Sentences into what a client shows: an `ERR` packet, a greeting, a hint.

use super::super::limits::NAMES_SHOWN_MAX;
use crate::access::{Description, RequestPath, UserId, printable};
use bytes::Bytes;

/// Longest sentence in an `ERR` packet, in bytes: any client's buffer holds it.
const SENTENCE_BYTES_MAX: usize = 4_000;

/// `sentence` as a pkt-line that git shows as `fatal: remote error: <sentence>` (gitprotocol-pack: "error-line").
pub(super) fn err_packet(sentence: &str) -> Bytes {
    let sentence = shown(sentence);
    let mut end = sentence.len().min(SENTENCE_BYTES_MAX);
    while !sentence.is_char_boundary(end) {
        end -= 1;
    }
    let payload = format!("ERR {}", &sentence[..end]);
    Bytes::from(format!("{:04x}{payload}", payload.len() + 4))
}

/// `sentence` with all control characters but line feeds written as escapes.
fn shown(sentence: &str) -> String {
    let mut shown = String::with_capacity(sentence.len());
    for char in sentence.chars() {
        if char.is_control() && char != '\n' {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    shown
}

/// What somebody hears who asks for a repository that is not there, or not for them: the two sound alike.
pub(super) fn no_repository(path: &RequestPath, user: &UserId, description: Option<&Description>) -> String {
    let name = path.name().map_or_else(|_| path.to_string(), |name| printable(name.as_str()));
    let mut text = format!("no repository \"{name}\" here, or {user} may not see it");
    if let Some(description) = description {
        text.push_str("\nhint: you may see");
        match names(&description.repositories) {
            Some(names) => text.extend([": ", &names]),
            None => text.push_str(" no repository here"),
        }
    }
    text
}

/// What `ssh host` without a command says.
pub(super) fn greeting(user: &UserId, fingerprint: &str, description: Option<&Description>) -> String {
    let mut text = format!("hello {user} ({fingerprint}).");
    let Some(description) = description else { return text + "\n" };
    if !description.rights.is_empty() {
        text.push(' ');
        text.push_str(&printable(&description.rights));
    }
    text.push('\n');
    match (names(&description.repositories), description.repositories.len()) {
        (None, _) => text.push_str("There is no repository yet that you may see.\n"),
        (Some(names), 1) => text.push_str(&format!("1 repository: {names}\n")),
        (Some(names), count) => text.push_str(&format!("{count} repositories: {names}\n")),
    }
    text
}

fn names(all: &[String]) -> Option<String> {
    let shown: Vec<String> = all.iter().take(NAMES_SHOWN_MAX).map(|name| printable(name)).collect();
    let more = all.len() - shown.len();
    let shown = shown.join(", ");
    match (all.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(shown),
        (false, more) => Some(format!("{shown} and {more} more")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_err_packet_counts_its_own_header() {
        assert_eq!(err_packet("no"), &b"000aERR no"[..]);
        assert_eq!(err_packet("a\n\x1bb"), &b"0011ERR a\n\\u{1b}b"[..]);
        assert_eq!(err_packet(&"ä".repeat(4_000)).len(), 4 + 4 + SENTENCE_BYTES_MAX);
    }

    #[test]
    fn without_an_answer_nothing_is_claimed() {
        let (bob, path) = (UserId::new("bob"), RequestPath::new("x"));
        assert_eq!(greeting(&bob, "SHA256:x", None), "hello bob (SHA256:x).\n");
        assert_eq!(no_repository(&path, &bob, None), "no repository \"x\" here, or bob may not see it");
    }

    #[test]
    fn the_greeting_names_rights_and_repositories() {
        let description = |repositories: &[&str]| Description {
            rights: "You may read and write everything here.".to_owned(),
            repositories: repositories.iter().map(|&name| name.to_owned()).collect(),
        };
        let bob = UserId::new("bob");
        assert_eq!(
            greeting(&bob, "SHA256:x", Some(&description(&["notes", "website"]))),
            "hello bob (SHA256:x). You may read and write everything here.\n2 repositories: notes, website\n"
        );
        assert_eq!(
            greeting(&bob, "SHA256:x", Some(&Description::default())),
            "hello bob (SHA256:x).\nThere is no repository yet that you may see.\n"
        );
        let many: Vec<String> = (0..25).map(|at| format!("r{at}")).collect();
        let text = greeting(&bob, "SHA256:x", Some(&description(&many.iter().map(String::as_str).collect::<Vec<_>>())));
        assert!(text.contains("25 repositories: r0, ") && text.ends_with("r19 and 5 more\n"), "{text}");
    }
}

//! The bytes of a commit or a tag into what git's fsck says of it.
//!
//! Source: `fsck.c` (`verify_headers`, `fsck_ident`, `fsck_commit`, `fsck_tag_standalone`). A commit is looked at up to its
//! first error, a tag beyond a bad tagger. What git cannot read as a commit or tag at all ([`Unreadable`]) is refused
//! whatever severity its message has been given, as in git (`parse_commit_buffer`, `parse_tag_buffer`).

use super::message::Message;
use super::{Report, quoted};
use memchr::memchr;

/// git could not make anything of the object, so no setting lets it pass.
pub(super) struct Unreadable;

/// A longer name of a tag is not copied to be looked at.
const COPIED_NAME_BYTES_MAX: usize = 4096;

/// Hexadecimal digits of either case.
fn starts_with_id(bytes: &[u8], digits: usize) -> bool {
    bytes.get(..digits).is_some_and(|id| id.iter().all(u8::is_ascii_hexdigit)) && bytes.get(digits) == Some(&b'\n')
}

/// Whether the headers come to an end; where not, nothing else is looked at.
fn check_end_of_headers(bytes: &[u8], report: &mut Report<'_>) -> bool {
    for at in memchr::memchr2_iter(0, b'\n', bytes) {
        if bytes[at] == 0 {
            report.say(Message::NulInHeader, format_args!("unterminated header: NUL at offset {at}"));
            return false;
        }
        if bytes.get(at + 1) == Some(&b'\n') {
            return true;
        }
    }
    // Not having a body is no crime, but the last header line must end.
    if bytes.last() == Some(&b'\n') {
        return true;
    }
    report.say(Message::UnterminatedHeader, "unterminated header");
    false
}

/// The line at the start of `rest`, its newline included, and what follows it.
fn line(rest: &[u8]) -> (&[u8], &[u8]) {
    rest.split_at(memchr(b'\n', rest).map_or(rest.len(), |at| at + 1))
}

/// Report what is wrong with the commit `bytes`.
pub(super) fn check_commit(bytes: &[u8], report: &mut Report<'_>) -> Result<(), Unreadable> {
    if !check_end_of_headers(bytes, report) {
        return Ok(());
    }
    let digits = report.id_len() * 2;
    let Some(rest) = bytes.strip_prefix(b"tree ") else {
        report.say(Message::MissingTree, "invalid format - expected 'tree' line");
        return Err(Unreadable);
    };
    if !starts_with_id(rest, digits) {
        report.say(Message::BadTreeSha1, "invalid 'tree' line format - bad sha1");
        return Err(Unreadable);
    }
    let mut rest = &rest[digits + 1..];
    while let Some(parent) = rest.strip_prefix(b"parent ") {
        if !starts_with_id(parent, digits) {
            report.say(Message::BadParentSha1, "invalid 'parent' line format - bad sha1");
            return Err(Unreadable);
        }
        rest = &parent[digits + 1..];
    }
    let mut authors = 0;
    while let Some(author) = rest.strip_prefix(b"author ") {
        authors += 1;
        let (ident, after) = line(author);
        rest = after;
        check_ident(ident, report);
        if report.has_errors() {
            return Ok(());
        }
    }
    match authors {
        0 => report.say(Message::MissingAuthor, "invalid format - expected 'author' line"),
        1 => {}
        _ => report.say(Message::MultipleAuthors, "invalid format - multiple 'author' lines"),
    }
    if report.has_errors() {
        return Ok(());
    }
    let Some(committer) = rest.strip_prefix(b"committer ") else {
        report.say(Message::MissingCommitter, "invalid format - expected 'committer' line");
        return Ok(());
    };
    check_ident(line(committer).0, report);
    if !report.has_errors() && memchr(0, bytes).is_some() {
        report.say(Message::NulInCommit, "NUL byte in the commit object body");
    }
    Ok(())
}

/// Report what is wrong with the tag `bytes`.
pub(super) fn check_tag(bytes: &[u8], report: &mut Report<'_>) -> Result<(), Unreadable> {
    if !check_end_of_headers(bytes, report) {
        return Ok(());
    }
    let digits = report.id_len() * 2;
    let Some(rest) = bytes.strip_prefix(b"object ") else {
        report.say(Message::MissingObject, "invalid format - expected 'object' line");
        return Err(Unreadable);
    };
    if !starts_with_id(rest, digits) {
        report.say(Message::BadObjectSha1, "invalid 'object' line format - bad sha1");
        return Err(Unreadable);
    }
    let Some(rest) = rest[digits + 1..].strip_prefix(b"type ") else {
        report.say(Message::MissingTypeEntry, "invalid format - expected 'type' line");
        return Err(Unreadable);
    };
    let Some(end) = memchr(b'\n', rest) else {
        report.say(Message::MissingType, "invalid format - unexpected end after 'type' line");
        return Err(Unreadable);
    };
    if !matches!(&rest[..end], b"commit" | b"tree" | b"blob" | b"tag") {
        report.say(Message::BadType, "invalid 'type' value");
        return Err(Unreadable);
    }
    let Some(rest) = rest[end + 1..].strip_prefix(b"tag ") else {
        report.say(Message::MissingTagEntry, "invalid format - expected 'tag' line");
        return Err(Unreadable);
    };
    let Some(end) = memchr(b'\n', rest) else {
        report.say(Message::MissingTag, "invalid format - unexpected end after 'type' line");
        return Err(Unreadable);
    };
    let (name, rest) = (&rest[..end], &rest[end + 1..]);
    if !is_tag_name(name) {
        report.say(Message::BadTagName, format_args!("invalid 'tag' name: {}", quoted(name)));
    }
    if !report.has_errors() {
        check_tagger_and_beyond(rest, report);
    }
    // git's own bound for a tag that it tries to read.
    if bytes.len() < digits + 24 { Err(Unreadable) } else { Ok(()) }
}

fn is_tag_name(name: &[u8]) -> bool {
    match name.len() {
        // The rules for parts of names are the same behind `refs/tags/`, but for `@` alone.
        COPIED_NAME_BYTES_MAX.. => gix_validate::reference::name_partial(name.into()).is_ok(),
        _ => gix_validate::reference::name([b"refs/tags/", name].concat().as_slice().into()).is_ok(),
    }
}

fn check_tagger_and_beyond(rest: &[u8], report: &mut Report<'_>) {
    let mut rest = match rest.strip_prefix(b"tagger ") {
        // Early tags have none.
        None => {
            report.say(Message::MissingTaggerEntry, "invalid format - expected 'tagger' line");
            if report.has_errors() {
                return;
            }
            rest
        }
        Some(tagger) => {
            let (ident, after) = line(tagger);
            check_ident(ident, report);
            after
        }
    };
    if rest.starts_with(b"gpgsig ") || rest.starts_with(b"gpgsig-sha256 ") {
        let Some(end) = memchr(b'\n', rest) else {
            report.say(Message::BadGpgsig, "invalid format - unexpected end after 'gpgsig' or 'gpgsig-sha256' line");
            return;
        };
        rest = &rest[end + 1..];
        while rest.starts_with(b" ") {
            let Some(end) = memchr(b'\n', rest) else {
                let text = "invalid format - unexpected end in 'gpgsig' or 'gpgsig-sha256' continuation line";
                report.say(Message::BadHeaderContinuation, text);
                return;
            };
            rest = &rest[end + 1..];
        }
    }
    if !rest.is_empty() && !rest.starts_with(b"\n") {
        report.say(Message::ExtraHeaderEntry, "invalid format - extra header(s) after 'tagger'");
    }
}

/// Report the first thing that is wrong with `ident`, the rest of a line up to its newline.
fn check_ident(ident: &[u8], report: &mut Report<'_>) {
    if let Some((message, text)) = ident_fault(ident) {
        report.say(message, format_args!("invalid author/committer line - {text}"));
    }
}

fn ident_fault(ident: &[u8]) -> Option<(Message, &'static str)> {
    let at = |at: usize| ident.get(at).copied().unwrap_or(b'\n');
    // git words this one as the next but two.
    if at(0) == b'<' {
        return Some((Message::MissingNameBeforeEmail, "missing space before email"));
    }
    let mail = match memchr::memchr3(b'<', b'>', b'\n', ident) {
        Some(mail) if ident[mail] == b'<' => mail,
        Some(other) if ident[other] == b'>' => return Some((Message::BadName, "bad name")),
        _ => return Some((Message::MissingEmail, "missing email")),
    };
    if ident[mail - 1] != b' ' {
        return Some((Message::MissingSpaceBeforeEmail, "missing space before email"));
    }
    let end = match memchr::memchr3(b'<', b'>', b'\n', &ident[mail + 1..]) {
        Some(end) if ident[mail + 1 + end] == b'>' => mail + 1 + end,
        _ => return Some((Message::BadEmail, "bad email")),
    };
    if at(end + 1) != b' ' {
        return Some((Message::MissingSpaceBeforeDate, "missing space before date"));
    }
    let blanks = ident[end + 2..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let date = end + 2 + blanks;
    let digits = ident[date.min(ident.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return Some((Message::BadDate, "bad date"));
    }
    if at(date) == b'0' && at(date + 1) != b' ' {
        return Some((Message::ZeroPaddedDate, "zero-padded date"));
    }
    let number =
        ident[date..date + digits].iter().fold(0u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    if number > i64::MAX as u64 {
        return Some((Message::BadDateOverflow, "date causes integer overflow"));
    }
    let zone = date + digits + 1;
    if at(zone - 1) != b' ' {
        return Some((Message::BadDate, "bad date"));
    }
    let is_zone = matches!(at(zone), b'+' | b'-') && (1..=4).all(|more| at(zone + more).is_ascii_digit()) && at(zone + 5) == b'\n';
    if is_zone { None } else { Some((Message::BadTimezone, "bad time zone")) }
}

#[cfg(test)]
mod tests {
    use super::super::Rules;
    use super::*;

    const ID: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
    const WHO: &str = "A U Thor <author@example.com> 1112912053 -0700";

    /// The ids of the messages, and whether it could be read.
    fn said(check: fn(&[u8], &mut Report<'_>) -> Result<(), Unreadable>, text: &str) -> (Vec<String>, bool) {
        let (rules, id) = (Rules::strict(), gix_hash::Kind::Sha1.null());
        let mut report = Report::new(&rules, &id);
        let readable = check(text.as_bytes(), &mut report).is_ok();
        let lines = report.errors.iter().chain(&report.warnings);
        (lines.map(|line| line.split(": ").nth(1).expect("an id").to_owned()).collect(), readable)
    }

    fn commit(text: &str, wanted: &[&str]) {
        assert_eq!(said(check_commit, text).0, wanted, "{text:?}");
    }

    fn tag(text: &str, wanted: &[&str]) {
        assert_eq!(said(check_tag, text).0, wanted, "{text:?}");
    }

    #[test]
    fn each_fault_of_a_commit_has_its_message() {
        let good = format!("tree {ID}\nparent {ID}\nauthor {WHO}\ncommitter {WHO}\nencoding x\n\ntext");
        commit(&good, &[]);
        commit(&format!("tree {ID}\nauthor {WHO}\ncommitter {WHO}\n"), &[]);
        for (from, to, id) in [
            ("encoding", "enc\0ding", "nulInHeader"),
            ("\nencoding x\n\ntext", "", "unterminatedHeader"),
            ("tree", "tee", "missingTree"),
            (&format!("tree {ID}") as &str, "tree 4b825", "badTreeSha1"),
            (&format!("parent {ID}"), &format!("parent {ID}0") as &str, "badParentSha1"),
            ("author", "autor", "missingAuthor"),
            ("committer", "commiter", "missingCommitter"),
            ("author", &format!("author {WHO}\nauthor"), "multipleAuthors"),
            ("text", "te\0t", "nulInCommit"),
            ("A U Thor <", "<", "missingNameBeforeEmail"),
            ("A U Thor <", "A> U Thor <", "badName"),
            (WHO, "A U Thor", "missingEmail"),
            ("Thor <", "Thor<", "missingSpaceBeforeEmail"),
            ("com>", "c<om>", "badEmail"),
            ("com> ", "com>", "missingSpaceBeforeDate"),
            ("1112912053", "x", "badDate"),
            ("1112912053 ", "1112912053x", "badDate"),
            ("1112912053", "01112912053", "zeroPaddedDate"),
            ("1112912053", "9223372036854775808", "badDateOverflow"),
            ("1112912053", "99999999999999999999999999", "badDateOverflow"),
            ("-0700", "-700", "badTimezone"),
            ("-0700", "-0700 ", "badTimezone"),
        ] {
            commit(&good.replacen(from, to, 1), &[id]);
        }
        commit(&good.replace("1112912053", "  \t0"), &[]);
        commit(&good.replace("1112912053", "9223372036854775807"), &[]);
        assert!(!said(check_commit, &good.replace("tree ", "tree x")).1 && said(check_commit, &good.replace("author", "x")).1);
    }

    #[test]
    fn each_fault_of_a_tag_has_its_message() {
        let good = format!("object {ID}\ntype tree\ntag v1.0\ntagger {WHO}\n\ntext");
        tag(&good, &[]);
        tag(&good.replace("\n\ntext", "\ngpgsig x\n y\n\ntext"), &[]);
        for (from, to, id) in [
            ("object", "objet", "missingObject"),
            ("object 4", "object ", "badObjectSha1"),
            ("type tree", "kind tree", "missingTypeEntry"),
            ("tree", "tee", "badType"),
            ("tag v", "teg v", "missingTagEntry"),
            ("v1.0", "v1..0", "badTagName"),
            ("tagger", "tager", "missingTaggerEntry"),
            ("com>", "com", "badEmail"),
            ("text", "te\0t", ""),
        ] {
            let wanted: &[&str] = if id.is_empty() { &[] } else { &[id] };
            tag(&good.replacen(from, to, 1), wanted);
        }
        tag(&format!("object {ID}\ntype tree\ntag @\n"), &["missingTaggerEntry"]);
        tag(&format!("object {ID}\ntype tree\ntag {}\n", "a/".repeat(3000)), &["badTagName", "missingTaggerEntry"]);
        assert!(!said(check_tag, &format!("object {ID}\ntype tag\ntag \n")).1, "too short for git");
        assert!(!said(check_tag, &good.replace("type tree", "type treee")).1);
        tag(&format!("object {ID}\ntype tree"), &["unterminatedHeader"]);
        let told = |text: String| {
            let mut rules = Rules::usual();
            rules.set("extraHeaderEntry", "warn").expect("known");
            let id = gix_hash::Kind::Sha1.null();
            let mut report = Report::new(&rules, &id);
            let _ = check_tag(text.as_bytes(), &mut report);
            (report.errors.len(), report.warnings.concat())
        };
        assert!(
            told(good.replace("\n\n", "\nmore x\n\n")).1.ends_with("extraHeaderEntry: invalid format - extra header(s) after 'tagger'")
        );
    }
}

//! `receive.fsck.*` and its like into what is refused, told and passed over.
//!
//! Source: git-config, `fsck.<msg-id>` and `fsck.skipList`; `fsck.c` (`fsck_set_msg_type`, `object_on_skiplist`),
//! `oidset.c` (`oidset_parse_file`).

use super::message::{COUNT, Message, Severity};
use bstr::ByteSlice;
use gix_hash::{ObjectId, oid};

/// Whether and how objects are checked where a repository's configuration does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CheckMode {
    /// Not at all: git's default.
    #[default]
    Off,
    /// By [`Rules::usual`].
    Usual,
    /// By [`Rules::strict`].
    Strict,
}

/// How severe each message is, and which objects are let pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    severities: [Severity; COUNT],
    is_strict: bool,
    /// Sorted.
    skipped: Vec<ObjectId>,
}

/// A setting that git would end over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// No message has this id; receive-pack warns and goes on.
    #[error("skipping unknown msg id '{0}'")]
    UnknownMessage(String),
    /// Not `error`, `warn` or `ignore`.
    #[error("Unknown fsck message type: '{0}'")]
    UnknownSeverity(String),
    /// What no setting can make less of: message and severity.
    #[error("Cannot demote {0} to {1}")]
    Fatal(String, String),
    /// A line of a list of objects that is no id.
    #[error("invalid object name: {0}")]
    BadId(String),
}

impl Rules {
    /// As `git fsck`: warnings are told.
    pub fn usual() -> Self {
        let mut severities = [Severity::Ignore; COUNT];
        Message::all().for_each(|message| severities[message as usize] = message.severity());
        Self { severities, is_strict: false, skipped: vec![] }
    }

    /// As `git index-pack --strict`: warnings are errors.
    pub fn strict() -> Self {
        let mut rules = Self { is_strict: true, ..Self::usual() };
        rules.severities.iter_mut().filter(|severity| **severity == Severity::Warn).for_each(|severity| *severity = Severity::Error);
        rules
    }

    /// Check a setting such as `missingEmail = warn`, and take it.
    ///
    /// # Errors
    /// All but [`RuleError::BadId`].
    pub fn set(&mut self, message: &str, severity: &str) -> Result<(), RuleError> {
        let (found, severity) = Self::parse(message, severity)?;
        if found.severity() == Severity::Fatal && severity != Severity::Error {
            let word = if severity == Severity::Warn { "warn" } else { "ignore" };
            return Err(RuleError::Fatal(message.to_ascii_lowercase(), word.to_owned()));
        }
        self.severities[found as usize] = severity;
        Ok(())
    }

    /// Check a setting as git does when it reads its configuration, long before it is used.
    ///
    /// # Errors
    /// [`RuleError::UnknownMessage`], [`RuleError::UnknownSeverity`].
    pub fn check(message: &str, severity: &str) -> Result<(), RuleError> {
        Self::parse(message, severity).map(|_| ())
    }

    fn parse(message: &str, severity: &str) -> Result<(Message, Severity), RuleError> {
        let found = Message::find(message).ok_or_else(|| RuleError::UnknownMessage(message.to_ascii_lowercase()))?;
        let severity = match severity {
            "error" => Severity::Error,
            "warn" => Severity::Warn,
            "ignore" => Severity::Ignore,
            other => return Err(RuleError::UnknownSeverity(other.to_owned())),
        };
        Ok((found, severity))
    }

    /// Take a list of objects that are let pass: one id to a line, `#` begins a comment.
    ///
    /// # Errors
    /// [`RuleError::BadId`].
    pub fn skip(&mut self, list: &[u8], hash: gix_hash::Kind) -> Result<(), RuleError> {
        for line in list.lines() {
            let text = line.split(|byte| *byte == b'#').next().unwrap_or_default().trim();
            if text.is_empty() {
                continue;
            }
            let id = ObjectId::from_hex(text).ok().filter(|id| id.kind() == hash);
            self.skipped.push(id.ok_or_else(|| RuleError::BadId(text.to_str_lossy().into_owned()))?);
        }
        self.skipped.sort_unstable();
        self.skipped.dedup();
        Ok(())
    }

    /// Whether warnings are errors, and whatever an object links to must be there: [`Rules::strict`].
    pub fn is_strict(&self) -> bool {
        self.is_strict
    }

    pub(super) fn severity(&self, message: Message) -> Severity {
        self.severities[message as usize]
    }

    pub(super) fn skips(&self, id: &oid) -> bool {
        self.skipped.binary_search_by(|skipped| (**skipped).cmp(id)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gix_hash::Kind::Sha1;

    #[test]
    fn a_setting_makes_more_or_less_of_a_message_but_never_less_of_a_fatal_one() {
        let mut rules = Rules::strict();
        assert_eq!(rules.severity(Message::HasDotgit), Severity::Error);
        assert_eq!(Rules::usual().severity(Message::HasDotgit), Severity::Warn);
        assert_eq!(rules.severity(Message::BadFilemode), Severity::Info, "strict leaves what is only told");
        rules.set("HASDOTGIT", "warn").expect("known");
        rules.set("extraHeaderEntry", "error").expect("known");
        rules.set("nulInHeader", "error").expect("it is one");
        assert_eq!(rules.severity(Message::HasDotgit), Severity::Warn);
        assert_eq!(rules.severity(Message::ExtraHeaderEntry), Severity::Error);
        let said = |message, severity| Rules::usual().set(message, severity).expect_err("refused").to_string();
        assert_eq!(said("unterminatedHeader", "warn"), "Cannot demote unterminatedheader to warn");
        assert_eq!(said("whatEver", "error"), "skipping unknown msg id 'whatever'");
        assert_eq!(said("badDate", "warn:1"), "Unknown fsck message type: 'warn:1'");
        assert!(Rules::check("nulInHeader", "ignore").is_ok(), "that is said when it is used");
    }

    #[test]
    fn a_list_of_objects_holds_ids_blanks_and_comments_and_nothing_else() {
        let id = "0123456789012345678901234567890123456789";
        let mut rules = Rules::usual();
        rules.skip(format!("# a comment\n\n \n  {id} # bad\r\n").as_bytes(), Sha1).expect("a list");
        rules.skip(Sha1.empty_tree().to_string().as_bytes(), Sha1).expect("a list");
        assert!(rules.skips(&ObjectId::from_hex(id.as_bytes()).expect("an id")) && rules.skips(&Sha1.empty_tree()));
        assert!(!rules.skips(&Sha1.empty_blob()));
        for bad in ["x", &id[1..], &format!("{id}{id}")] {
            assert_eq!(rules.skip(bad.as_bytes(), Sha1), Err(RuleError::BadId(bad.to_owned())));
        }
    }
}

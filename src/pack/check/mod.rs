//! Objects into what git's fsck says of them: on bytes, while a pack comes in.
//!
//! Source: git-fsck, "FSCK MESSAGES"; git-config, `fsck.<msg-id>` and `receive.fsckObjects`; `fsck.c`. Ids, severities and
//! words are git's.
//!
//! | file | turns what into what |
//! |---|---|
//! | `message` | a message's id into its severity |
//! | `rules` | settings into what is refused, told and passed over |
//! | `names` | a name into "some file system takes this for `.git`" |
//! | `tree` | a tree into messages, and the blobs that git gives a meaning to |
//! | `headers` | a commit or a tag into messages |
//! | `gitmodules`, `submodule_url` | a `.gitmodules` file into messages |
//!
//! A [`Checks`] is one push: what is to be refused, what was told, and which blobs are to be looked at once the pack is
//! whole ([`settle`](super::index::settle)). Threads share it. Bounds: messages per object, warnings per push, blobs with a meaning.
//! Other than git: blobs with a meaning are looked at last, so the first error may be another one; a `.gitmodules` file
//! above [`GITMODULES_BYTES_MAX`] is too large, where git's bound is `core.bigFileThreshold`.

mod gitmodules;
mod headers;
mod message;
mod names;
mod rules;
mod submodule_url;
mod tree;

pub use rules::{CheckMode, RuleError, Rules};

use super::{Error, Kind};
use crate::base::limits::{FSCK_MEANINGS_MAX, FSCK_MESSAGES_MAX, FSCK_WARNINGS_MAX};
use gix_hash::{ObjectId, oid};
use message::{Message, Severity};
use std::collections::HashSet;
use std::fmt::{Display, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tree::{Candidates, Meaning};

/// Longest `.gitmodules` file that is looked at, in bytes.
pub const GITMODULES_BYTES_MAX: u64 = 16 << 20;
/// Longest `.gitattributes` file that git takes, in bytes (`attr.h`).
pub const GITATTRIBUTES_BYTES_MAX: u64 = 100 << 20;
/// Names, URLs and the like are shown up to here.
const QUOTED_BYTES_MAX: usize = 1000;
/// Lines of a `.gitattributes` file are shorter than this many bytes (`attr.h`).
const ATTRIBUTES_LINE_BYTES: usize = 2048;

/// The checks of one push.
pub struct Checks {
    /// `None`: nothing is checked.
    rules: Option<Rules>,
    warnings: Mutex<Warnings>,
    meanings: Mutex<Meanings>,
}

#[derive(Default)]
struct Warnings {
    said: Vec<String>,
    left_out: u64,
}

/// Blobs that trees call `.gitmodules` and `.gitattributes`. Their ids are a peer's words: the keyed hasher.
#[derive(Default)]
struct Meanings {
    modules: HashSet<ObjectId>,
    attributes: HashSet<ObjectId>,
}

impl Checks {
    /// Nothing is checked.
    pub fn off() -> Self {
        Self { rules: None, warnings: Mutex::default(), meanings: Mutex::default() }
    }

    /// Checks by these rules.
    pub fn by(rules: Rules) -> Self {
        Self { rules: Some(rules), ..Self::off() }
    }

    /// Whether anything is checked.
    pub fn are_on(&self) -> bool {
        self.rules.is_some()
    }

    /// Tell the pusher this, whatever the objects say.
    pub fn warn(&self, text: String) {
        self.lock_warnings().said.push(text);
    }

    /// What the pusher is to be told though nothing was refused for it, and how much more there was.
    pub fn take_warnings(&self) -> (Vec<String>, u64) {
        let warnings = std::mem::take(&mut *self.lock_warnings());
        (warnings.said, warnings.left_out)
    }

    /// Those blobs that trees gave a meaning to, each with whether it is a `.gitmodules` and a `.gitattributes` file; once.
    pub fn take_meanings(&self) -> Vec<(ObjectId, bool, bool)> {
        let Meanings { modules, attributes } = std::mem::take(&mut *self.lock_meanings());
        let both = |id: &ObjectId| (*id, modules.contains(id), attributes.contains(id));
        let mut all: Vec<_> = modules.union(&attributes).map(both).collect();
        all.sort_unstable();
        all
    }

    /// Look at one object that is no blob.
    ///
    /// # Errors
    /// [`Error::BadObject`] where it is to be refused, [`Error::BadPack`] where nothing can be made of it, [`Error::Limit`].
    pub fn object(&self, kind: Kind, id: &oid, bytes: &[u8]) -> Result<(), Error> {
        Checker::new(self).object(kind, id, bytes)
    }

    /// Look at what lies where trees see a file with a meaning.
    ///
    /// # Errors
    /// [`Error::BadObject`].
    pub fn blob(&self, id: &oid, is_modules: bool, is_attributes: bool, what: Meant<'_>) -> Result<(), Error> {
        let Some(rules) = &self.rules else { return Ok(()) };
        let mut report = Report::new(rules, id);
        for (meaning, said) in [(Meaning::Modules, is_modules), (Meaning::Attributes, is_attributes)] {
            if said {
                look_at_meaning(meaning, &what, &mut report);
            }
        }
        self.settle(report, "fsck error in pack objects")
    }

    fn settle(&self, report: Report<'_>, why: &str) -> Result<(), Error> {
        if !report.warnings.is_empty() {
            let mut all = self.lock_warnings();
            for warning in report.warnings {
                if all.said.len() < FSCK_WARNINGS_MAX {
                    all.said.push(warning);
                } else {
                    all.left_out += 1;
                }
            }
        }
        if report.errors.is_empty() { Ok(()) } else { Err(Error::BadObject { why: why.to_owned(), reports: report.errors }) }
    }

    fn means(&self, meaning: Meaning, id: &oid) -> Result<(), Error> {
        let mut meanings = self.lock_meanings();
        let set = match meaning {
            Meaning::Modules => &mut meanings.modules,
            Meaning::Attributes => &mut meanings.attributes,
        };
        set.insert(id.to_owned());
        if set.len() > FSCK_MEANINGS_MAX {
            return Err(Error::Limit {
                what: "number of different .gitmodules or .gitattributes files in one push",
                limit: FSCK_MEANINGS_MAX as u64,
            });
        }
        Ok(())
    }

    fn lock_warnings(&self) -> MutexGuard<'_, Warnings> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_meanings(&self) -> MutexGuard<'_, Meanings> {
        self.meanings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What lies where trees see a file with a meaning.
pub enum Meant<'a> {
    /// A blob with these bytes.
    Bytes(&'a [u8]),
    /// A blob above the bounds of this file.
    TooLarge,
    /// Something else.
    NoBlob,
    /// Nothing.
    Missing,
}

fn look_at_meaning(meaning: Meaning, what: &Meant<'_>, report: &mut Report<'_>) {
    let is_modules = meaning == Meaning::Modules;
    let name = if is_modules { ".gitmodules" } else { ".gitattributes" };
    match (what, is_modules) {
        (Meant::Bytes(bytes), true) if bytes.len() as u64 <= GITMODULES_BYTES_MAX => gitmodules::check_gitmodules(bytes, report),
        (Meant::Bytes(bytes), false) if bytes.len() as u64 <= GITATTRIBUTES_BYTES_MAX => check_gitattributes(bytes, report),
        (Meant::Bytes(_) | Meant::TooLarge, true) => report.say(Message::GitmodulesLarge, ".gitmodules too large to parse"),
        (Meant::Bytes(_) | Meant::TooLarge, false) => report.say(Message::GitattributesLarge, ".gitattributes too large to parse"),
        (Meant::NoBlob, _) => {
            let message = if is_modules { Message::GitmodulesBlob } else { Message::GitattributesBlob };
            report.say(message, format_args!("non-blob found at {name}"));
        }
        (Meant::Missing, _) => {
            let message = if is_modules { Message::GitmodulesMissing } else { Message::GitattributesMissing };
            report.say(message, format_args!("unable to read {name} blob"));
        }
    }
}

/// As much of what a peer said as is shown.
fn quoted(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(&bytes[..bytes.len().min(QUOTED_BYTES_MAX)])
}

/// Strings end at a NUL, as in C.
fn check_gitattributes(bytes: &[u8], report: &mut Report<'_>) {
    let text = &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())];
    if text.split(|byte| *byte == b'\n').any(|line| line.len() >= ATTRIBUTES_LINE_BYTES) {
        report.say(Message::GitattributesLineLength, ".gitattributes has too long lines to parse");
    }
}

/// One thread's part of [`Checks`].
pub(super) struct Checker<'a> {
    checks: &'a Checks,
    candidates: Candidates,
    /// What was found last: neighbours mostly mean the same blob.
    last: [Option<ObjectId>; 2],
}

impl<'a> Checker<'a> {
    pub(super) fn new(checks: &'a Checks) -> Self {
        Self { checks, candidates: Candidates::default(), last: [None; 2] }
    }

    /// Whether the bytes of objects of this kind are to be shown to [`Checker::object`].
    pub(super) fn wants(&self, kind: Kind) -> bool {
        kind != Kind::Blob && self.checks.are_on()
    }

    /// As [`Checks::object`].
    pub(super) fn object(&mut self, kind: Kind, id: &oid, bytes: &[u8]) -> Result<(), Error> {
        let Some(rules) = &self.checks.rules else { return Ok(()) };
        let mut report = Report::new(rules, id);
        let readable = match kind {
            Kind::Tree => return self.tree(bytes, report),
            Kind::Commit => headers::check_commit(bytes, &mut report),
            Kind::Tag => headers::check_tag(bytes, &mut report),
            Kind::Blob => return Ok(()),
        };
        let may_pass = !report.has_errors();
        self.checks.settle(report, "fsck error in packed object")?;
        match readable {
            Err(headers::Unreadable) if may_pass => Err(Error::BadPack(format!("invalid {kind} {id}"))),
            _ => Ok(()),
        }
    }

    fn tree(&mut self, bytes: &[u8], mut report: Report<'_>) -> Result<(), Error> {
        let (checks, last) = (self.checks, &mut self.last);
        let mut outcome = Ok(());
        let mut found = |meaning: Meaning, id: &oid| {
            let last = &mut last[usize::from(meaning == Meaning::Attributes)];
            if outcome.is_ok() && last.as_deref() != Some(id) {
                *last = Some(id.to_owned());
                outcome = checks.means(meaning, id);
            }
        };
        tree::check_tree(bytes, &mut self.candidates, &mut report, &mut found);
        outcome?;
        checks.settle(report, "fsck error in packed object")
    }
}

/// What is said of one object.
pub(super) struct Report<'a> {
    rules: &'a Rules,
    id: &'a oid,
    errors: Vec<String>,
    warnings: Vec<String>,
}

impl<'a> Report<'a> {
    fn new(rules: &'a Rules, id: &'a oid) -> Self {
        Self { rules, id, errors: vec![], warnings: vec![] }
    }

    fn id_len(&self) -> usize {
        self.id.as_bytes().len()
    }

    fn is_strict(&self) -> bool {
        self.rules.is_strict()
    }

    fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Say it as loudly as the rules want it.
    fn say(&mut self, message: Message, text: impl Display) {
        let said = match self.rules.severity(message) {
            Severity::Ignore => return,
            _ if self.rules.skips(self.id) => return,
            Severity::Fatal | Severity::Error => &mut self.errors,
            Severity::Warn | Severity::Info => &mut self.warnings,
        };
        if said.len() < FSCK_MESSAGES_MAX {
            let mut line = format!("object {}: {}: ", self.id, message.id());
            // Writing to a string cannot fail.
            let _ = write!(line, "{text}");
            // It may quote the peer, control characters and all; git's are masked likewise.
            said.push(line.replace(char::is_control, "?"));
        }
    }
}

//! `receive.fsck.*` into the rules by which the objects of a push are checked.
//!
//! Source: git-config, `receive.fsckObjects`, `receive.fsck.<msg-id>`, `receive.fsck.skipList`; `builtin/receive-pack.c`
//! (`receive_pack_config`). `fsck.*` does not count here, as in git. A relative path of a list counts from the git directory,
//! where git's receive-pack stands; `~/` is known where configuration counts as git's own programs read it.

use super::keys::Keys;
use super::{ConfigScope, Error, Repository};
use crate::base::limits::FSCK_SKIP_LIST_BYTES_MAX;
use crate::pack::check::{CheckMode, RuleError, Rules};
use bstr::{BString, ByteSlice};
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

/// What the configuration says of checks, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FsckSettings {
    /// Message ids in lower case, and severities.
    pub severities: Vec<(String, String)>,
    /// Files of objects that are let pass, as they were named.
    pub skip_lists: Vec<BString>,
}

impl FsckSettings {
    pub(super) fn read(keys: &Keys<'_>) -> Result<Self, Error> {
        let mut settings = Self::default();
        let is_ours = |subsection: &BString| *subsection == "fsck";
        for entry in keys.all().filter(|entry| entry.section == "receive" && entry.subsection.as_ref().is_some_and(is_ours)) {
            let text = entry.value.text.clone().ok_or_else(|| entry.value.unreadable(&format!("receive.fsck.{}", entry.name)))?;
            if entry.name == "skiplist" {
                settings.skip_lists.push(text);
            } else {
                let severity = text.to_str_lossy().into_owned();
                if let Err(err @ RuleError::UnknownSeverity(_)) = Rules::check(&entry.name, &severity) {
                    return Err(Error::Config(err.to_string()));
                }
                settings.severities.push((entry.name, severity));
            }
        }
        Ok(settings)
    }
}

impl Repository {
    /// The rules for checking what is pushed, `None` where nothing is checked, and what the pusher is to be told of
    /// settings that mean nothing. `unless_set` counts where the configuration is silent.
    ///
    /// # Errors
    /// [`Error::Rules`], [`Error::Io`].
    pub fn receive_rules(&self, unless_set: CheckMode) -> Result<(Option<Rules>, Vec<String>), Error> {
        let mut rules = match (self.settings.fsck_objects, unless_set) {
            (Some(false), _) | (None, CheckMode::Off) => return Ok((None, vec![])),
            (None, CheckMode::Usual) => Rules::usual(),
            (Some(true), _) | (None, CheckMode::Strict) => Rules::strict(),
        };
        let mut notes = vec![];
        for (message, severity) in &self.settings.fsck.severities {
            match rules.set(message, severity) {
                Err(err @ RuleError::UnknownMessage(_)) => notes.push(err.to_string()),
                outcome => outcome.map_err(|err| Error::Rules(err.to_string()))?,
            }
        }
        for name in self.settings.fsck.skip_lists.iter().filter(|name| !name.is_empty()) {
            let list = self.read_skip_list(name)?;
            rules.skip(&list, self.hash).map_err(|err| self.about_list(name, err.to_string()))?;
        }
        Ok((Some(rules), notes))
    }

    fn read_skip_list(&self, name: &BString) -> Result<Vec<u8>, Error> {
        let home = || std::env::var_os("HOME").filter(|_| self.scope == ConfigScope::Git).map(PathBuf::from);
        let path = match (name.strip_prefix(b"~/"), home()) {
            (Some(rest), Some(home)) => home.join(rest.to_path_lossy()),
            _ => self.git_dir.join(name.to_path_lossy()),
        };
        let unread = |_| self.about_list(name, format!("could not open object name list: {name}"));
        let mut list = vec![];
        File::open(path).and_then(|file| file.take(FSCK_SKIP_LIST_BYTES_MAX + 1).read_to_end(&mut list)).map_err(unread)?;
        if list.len() as u64 > FSCK_SKIP_LIST_BYTES_MAX {
            return Err(Error::Rules(format!("receive.fsck.skipList exceeds the limit of {FSCK_SKIP_LIST_BYTES_MAX} bytes")));
        }
        Ok(list)
    }

    /// What a pusher may be told of a list: where the server alone knows its files, no line of them.
    fn about_list(&self, name: &BString, what: String) -> Error {
        match self.scope {
            ConfigScope::Git => Error::Rules(what),
            ConfigScope::RepositoryOnly => Error::Config(format!("receive.fsck.skipList = {name}: {what}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{git, init};
    use super::*;

    #[test]
    fn settings_of_receive_count_and_those_of_fsck_do_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("r.git");
        init(&path, &["--bare"]);
        let open = || Repository::open(&path, ConfigScope::RepositoryOnly).expect("a repository");
        assert_eq!(open().receive_rules(CheckMode::Off).expect("rules"), (None, vec![]));
        git(&path, &["config", "fsck.missingEmail", "ignore"]);
        assert_eq!(open().receive_rules(CheckMode::Usual).expect("rules").0, Some(Rules::usual()));
        git(&path, &["config", "transfer.fsckObjects", "true"]);
        assert_eq!(open().receive_rules(CheckMode::Usual).expect("rules").0, Some(Rules::strict()));
        git(&path, &["config", "receive.fsck.missingEmail", "warn"]);
        git(&path, &["config", "receive.fsck.whatEver", "error"]);
        git(&path, &["config", "receive.fsck.skipList", "SKIP"]);
        let told = |err: Error| err.to_string();
        assert!(told(open().receive_rules(CheckMode::Off).expect_err("no list")).contains("could not open object name list: SKIP"));
        std::fs::write(path.join("SKIP"), format!("{}\n", gix_hash::Kind::Sha1.empty_tree())).expect("written");
        let (rules, notes) = open().receive_rules(CheckMode::Off).expect("rules");
        let mut wanted = Rules::strict();
        wanted.set("missingEmail", "warn").expect("known");
        wanted.skip(gix_hash::Kind::Sha1.empty_tree().to_string().as_bytes(), gix_hash::Kind::Sha1).expect("a list");
        assert_eq!((rules, notes), (Some(wanted), vec!["skipping unknown msg id 'whatever'".to_owned()]));
        git(&path, &["config", "receive.fsck.unterminatedHeader", "warn"]);
        assert_eq!(told(open().receive_rules(CheckMode::Off).expect_err("fatal")), "Cannot demote unterminatedheader to warn");
        git(&path, &["config", "receive.fsck.badDate", "perhaps"]);
        let err = Repository::open(&path, ConfigScope::RepositoryOnly).expect_err("no severity");
        assert!(told(err).contains("Unknown fsck message type: 'perhaps'"));
    }
}

//! Users, groups and rules as they are written in `config.toml`, with the place of each word.
//!
//! ```toml
//! key_folder = "keys"                     # every NAME.pub in it holds keys of the user NAME
//! [users.ann]
//! keys = ["ssh-ed25519 AAAA... laptop"]
//! key_files = ["ann.pub"]
//! password = "$argon2id$..."              # its hash
//! principals = ["ann@example.com"]        # in certificates; left out: the name of the user
//! [[certificate_authority]]
//! keys = ["ssh-ed25519 AAAA... ca"]       # or key_files
//! users = ["@staff"]                      # for whom it may speak; left out: everybody
//! revoked = "revoked"                     # file of serial numbers, ids and keys that count no more
//! [groups]
//! staff = ["ann", "bob"]
//! [[rule]]
//! users = ["@staff"]
//! repositories = ["libs/*"]               # "home/<user>/*": who asks; "home/<creator>/*": who made it
//! refs = ["main", "refs/tags/*"]          # left out: all
//! allow = ["read", "write"]               # or deny
//! [[rule]]                                # with paths: about what a push changes, not about the ref as such
//! users = ["*"]
//! repositories = ["*"]
//! paths = ["secret/*"]
//! when = "!source_in('10.0.0.0/8')"       # the rule counts only then
//! deny = ["write"]
//! [[limit]]                               # users, repositories, refs and when as in a rule
//! users = ["*"]
//! repositories = ["*"]
//! file_bytes_max = 1048576
//! ```

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// People by name.
pub type WrittenUsers = BTreeMap<Spanned<String>, WrittenUser>;
/// Names for several of them; `@name` stands for a group, in a group too.
pub type WrittenGroups = BTreeMap<Spanned<String>, Vec<Spanned<String>>>;

/// Everything about who may do what.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// Folder whose files `NAME.pub` hold keys of the user `NAME`; empty: none.
    pub key_folder: &'a Path,
    /// People.
    pub users: &'a WrittenUsers,
    /// Groups of them.
    pub groups: &'a WrittenGroups,
    /// Whose certificates count.
    pub authorities: &'a [Spanned<WrittenAuthority>],
    /// Rules in order: the first that matches decides.
    pub rules: &'a [Spanned<WrittenRule>],
    /// Bounds of what a push brings: all that are about it hold.
    pub limits: &'a [Spanned<WrittenLimit>],
}

/// One person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WrittenUser {
    /// Public keys, as in a `.pub` file.
    pub keys: Vec<Spanned<String>>,
    /// Files of such.
    pub key_files: Vec<Spanned<PathBuf>>,
    /// The hash of a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Spanned<String>>,
    /// By what names certificates mean them; none: by their own.
    pub principals: Vec<Spanned<String>>,
}

/// Somebody who signs certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WrittenAuthority {
    /// The public keys that it signs with.
    pub keys: Vec<Spanned<String>>,
    /// Files of such.
    pub key_files: Vec<Spanned<PathBuf>>,
    /// Users and `@groups` for whom it may speak; none: everybody.
    pub users: Vec<Spanned<String>>,
    /// File of what it took back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Spanned<PathBuf>>,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WrittenRule {
    /// Users, `@groups`, `*` for everybody who has logged in, `anonymous` for who has not, `<creator>` for who made the repository,
    /// or another `<role>` for whom they gave it.
    pub users: Vec<Spanned<String>>,
    /// Names and patterns of repositories.
    pub repositories: Vec<Spanned<String>>,
    /// Names and patterns of refs; none: all.
    pub refs: Vec<Spanned<String>>,
    /// Paths that a push changes; none: the rule is about the refs as such.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<Spanned<String>>,
    /// An expression: the rule counts only where it is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<Spanned<String>>,
    /// What they may do.
    pub allow: Vec<Spanned<String>>,
    /// What they may not.
    pub deny: Vec<Spanned<String>>,
}

/// Bounds of what a push brings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WrittenLimit {
    /// As in a rule.
    pub users: Vec<Spanned<String>>,
    /// As in a rule.
    pub repositories: Vec<Spanned<String>>,
    /// As in a rule.
    pub refs: Vec<Spanned<String>>,
    /// As in a rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<Spanned<String>>,
    /// Paths that the new commits of one edit may change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paths_max: Option<u64>,
    /// Paths that they may add.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_paths_max: Option<u64>,
    /// Bytes of any file that is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_bytes_max: Option<u64>,
    /// Bytes of a binary file at a path that was not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_binary_bytes_max: Option<u64>,
    /// Whether new commits may be merges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merges: Option<bool>,
    /// Addresses that authors of new commits may have; none: any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub author_emails: Vec<Spanned<String>>,
}

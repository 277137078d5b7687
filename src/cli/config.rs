//! `config.toml` into values: every setting has a default, and a mistake is shown with its place and a caret.
//!
//! The file at the top of the source tree shows every setting with its default; a test holds the two together.

use super::assertions::WrittenTest;
use super::drivers::{Drivers, FilesConfig};
use super::failure::Failure;
use crate::access::HashKind;
use crate::access::http::HttpSettings;
use crate::access::rules::{Written, WrittenAuthority, WrittenGroups, WrittenLimit, WrittenRule, WrittenUsers};
use crate::base::limits::{SHARED_BYTES_MAX, TREE_FILTER_DEPTH_MAX};
use crate::pack::check::CheckMode;
use crate::pack::index::IngestLimits;
use crate::serve::{Certificates, HookFolder, HookOptions, plain_environment};
use crate::transport::{PenaltySettings, SshLimits};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use toml::Spanned;

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder of the repositories.
    pub root: PathBuf,
    /// Hash of the repositories that a push makes.
    pub hash: Hash,
    /// Who decides who somebody is and what they may do: drivers in a row.
    pub driver: Drivers,
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`.
    pub log: String,
    /// A line per login, refusal and command.
    pub audit: AuditConfig,
    /// The driver `files`.
    pub files: FilesConfig,
    /// The driver `http`.
    pub http: HttpSettings,
    /// The SSH front end.
    pub ssh: SshConfig,
    /// What a fetch may ask for.
    pub fetch: FetchConfig,
    /// What fetches share.
    pub shared: SharedConfig,
    /// Checks and bounds of one push.
    pub push: PushConfig,
    /// Programs that are run around a push.
    pub hooks: HooksConfig,
    /// What was deleted.
    pub trash: TrashConfig,
    /// Folder whose files `NAME.pub` hold keys of the user `NAME`; empty: none.
    pub key_folder: PathBuf,
    /// People by name.
    #[serde(skip_serializing_if = "WrittenUsers::is_empty")]
    pub users: WrittenUsers,
    /// Groups of them.
    #[serde(skip_serializing_if = "WrittenGroups::is_empty")]
    pub groups: WrittenGroups,
    /// Whose certificates count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificate_authority: Vec<Spanned<WrittenAuthority>>,
    /// Who may do what: the first rule that matches decides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rule: Vec<Spanned<WrittenRule>>,
    /// Bounds of what a push brings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limit: Vec<Spanned<WrittenLimit>>,
    /// What `packmule rules test` holds against them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<Spanned<WrittenTest>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            root: ".".into(),
            hash: Hash::Sha1,
            driver: Drivers::default(),
            log: "info".to_owned(),
            audit: AuditConfig::default(),
            files: FilesConfig::default(),
            http: HttpSettings::default(),
            ssh: SshConfig::default(),
            fetch: FetchConfig::default(),
            shared: SharedConfig::default(),
            push: PushConfig::default(),
            hooks: HooksConfig::default(),
            trash: TrashConfig::default(),
            key_folder: PathBuf::new(),
            users: WrittenUsers::new(),
            groups: WrittenGroups::new(),
            certificate_authority: vec![],
            rule: vec![],
            limit: vec![],
            test: vec![],
        }
    }
}

/// The audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditConfig {
    /// Its file; empty: standard error.
    pub file: PathBuf,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a line of a log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Words and `name=value`.
    #[default]
    Text,
    /// One object.
    Json,
}

/// The hash of a repository's objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hash {
    /// git's default.
    Sha1,
    /// The newer one; few hosting services take it yet.
    Sha256,
}

impl From<Hash> for HashKind {
    fn from(hash: Hash) -> Self {
        match hash {
            Hash::Sha1 => Self::Sha1,
            Hash::Sha256 => Self::Sha256,
        }
    }
}

/// The SSH front end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SshConfig {
    /// Address and port.
    pub listen: String,
    /// File of the host key; empty: `.packmule/host_key` beneath the root.
    pub host_key: PathBuf,
    /// Whether `~/.ssh/*.pub` of the person who starts the server may read and write.
    pub own_keys: bool,
    /// Files with further public keys that may read and write.
    pub admin_keys: Vec<PathBuf>,
    /// Whether security keys let in although nobody can tell whether they were touched.
    pub keys_without_touch: bool,
    /// Bounds.
    pub limits: SshLimits,
    /// What failed logins cost.
    pub penalties: PenaltySettings,
}

impl Default for SshConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:2222".to_owned(),
            host_key: PathBuf::new(),
            own_keys: true,
            admin_keys: Vec::new(),
            keys_without_touch: false,
            limits: SshLimits::default(),
            penalties: PenaltySettings::default(),
        }
    }
}

/// What a fetch may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FetchConfig {
    /// The deepest `tree:<depth>` filter, unless the repository says otherwise.
    pub tree_depth_max: u64,
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self { tree_depth_max: TREE_FILTER_DEPTH_MAX }
    }
}

/// What fetches share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SharedConfig {
    /// Bytes kept when no request needs them.
    pub bytes_max: usize,
}

impl Default for SharedConfig {
    fn default() -> Self {
        Self { bytes_max: SHARED_BYTES_MAX }
    }
}

/// How the objects of a push are checked, unless the repository's `receive.fsckObjects` says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckObjects {
    /// Not at all.
    Off,
    /// Errors refuse the push, warnings are told.
    Usual,
    /// Warnings refuse it, too.
    Strict,
}

impl From<CheckObjects> for CheckMode {
    fn from(mode: CheckObjects) -> Self {
        match mode {
            CheckObjects::Off => Self::Off,
            CheckObjects::Usual => Self::Usual,
            CheckObjects::Strict => Self::Strict,
        }
    }
}

/// Checks and bounds of one push.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PushConfig {
    /// How its objects are checked.
    pub check_objects: CheckObjects,
    /// Pack bytes; 0: no limit.
    pub pack_bytes_max: u64,
    /// Objects.
    pub objects_max: u32,
    /// Bytes of one object, inflated.
    pub object_bytes_max: u64,
    /// Bytes of one object that is held in memory as a whole: a delta, its base, what it makes.
    pub held_object_bytes_max: u64,
    /// Bytes of all objects inflated, deltas included; 0: in proportion to the pack.
    pub inflated_bytes_max: u64,
    /// Threads that resolve deltas; 0: one per core.
    pub threads: usize,
    /// What nonces of signed pushes are made of; empty: signed pushes are not taken.
    pub cert_nonce_seed: String,
    /// File of the SSH keys that may sign pushes; empty: none is known.
    pub allowed_signers: PathBuf,
}

impl Default for PushConfig {
    fn default() -> Self {
        Self {
            check_objects: CheckObjects::Usual,
            pack_bytes_max: 16 << 30,
            objects_max: 50_000_000,
            object_bytes_max: 4 << 30,
            // git's `core.bigFileThreshold`: its clients make no deltas of anything larger.
            held_object_bytes_max: 512 << 20,
            inflated_bytes_max: 0,
            threads: 0,
            cert_nonce_seed: String::new(),
            allowed_signers: PathBuf::new(),
        }
    }
}

impl PushConfig {
    /// What signed pushes need.
    pub(super) fn certificates(&self) -> Certificates {
        let given = |bytes: &[u8]| if bytes.is_empty() { None } else { Some(bytes.into()) };
        // Whoever reads it stands elsewhere.
        let signers = std::path::absolute(&self.allowed_signers).unwrap_or_default();
        Certificates {
            nonce_seed: given(self.cert_nonce_seed.as_bytes()),
            nonce_slop_s: 0,
            allowed_signers: given(signers.as_os_str().as_encoded_bytes()),
        }
    }
}

/// Programs that are run around a push.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HooksConfig {
    /// Whether any is.
    pub enabled: bool,
    /// Folder of hooks for every repository; empty: each repository's own `hooks`.
    pub path: PathBuf,
    /// Seconds that one may take; 0: no limit.
    pub timeout_s: u64,
}

impl Default for HooksConfig {
    fn default() -> Self {
        Self { enabled: false, path: PathBuf::new(), timeout_s: 60 }
    }
}

impl HooksConfig {
    /// As the engine takes it; `None` where no program is to be started.
    pub(super) fn options(&self) -> Option<HookOptions> {
        let folder = if self.path.as_os_str().is_empty() { HookFolder::OfRepository } else { HookFolder::At(absolute(&self.path)) };
        self.enabled.then(|| HookOptions {
            folder,
            environment: Some(plain_environment()),
            timeout_ms: self.timeout_s.saturating_mul(1_000),
            own_stderr: false,
        })
    }
}

/// Repositories that were deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrashConfig {
    /// Seconds for which one is kept.
    pub keep_s: u64,
}

impl Default for TrashConfig {
    fn default() -> Self {
        Self { keep_s: 30 * 86_400 }
    }
}

/// Hooks are started from the folder of their repository.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

impl From<&PushConfig> for IngestLimits {
    fn from(config: &PushConfig) -> Self {
        Self {
            pack_bytes_max: config.pack_bytes_max,
            objects_max: config.objects_max,
            object_bytes_max: config.object_bytes_max,
            held_object_bytes_max: config.held_object_bytes_max,
            inflated_bytes_max: config.inflated_bytes_max,
            threads: config.threads,
        }
    }
}

impl Config {
    /// The text of a file.
    pub(super) fn text(path: &Path) -> Result<String, Failure> {
        std::fs::read_to_string(path).map_err(|error| Failure::configuration(format!("{}: {error}", path.display())))
    }

    /// What the file says if this is its text. Relative paths in it count from the folder in which it lies.
    pub(super) fn of_text(path: &Path, text: &str) -> Result<Self, Failure> {
        let mut config = parse(text).map_err(|mistake| Failure::configuration(mistake.draw(&path.display().to_string(), text)))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let from_here = |path: &mut PathBuf| {
            if !path.as_os_str().is_empty() {
                *path = folder.join(&*path);
            }
        };
        from_here(&mut config.root);
        from_here(&mut config.files.folder);
        from_here(&mut config.http.token_file);
        from_here(&mut config.http.ca_file);
        if let Some(socket) = config.http.url.strip_prefix("unix:") {
            config.http.url = format!("unix:{}", folder.join(socket).display());
        }
        from_here(&mut config.audit.file);
        from_here(&mut config.ssh.host_key);
        from_here(&mut config.hooks.path);
        from_here(&mut config.push.allowed_signers);
        from_here(&mut config.key_folder);
        config.ssh.admin_keys.iter_mut().for_each(from_here);
        config.users.values_mut().flat_map(|user| &mut user.key_files).for_each(|file| from_here(file.get_mut()));
        config.certificate_authority.iter_mut().for_each(|authority| {
            let authority = authority.get_mut();
            authority.key_files.iter_mut().chain(&mut authority.revoked).for_each(|file| from_here(file.get_mut()));
        });
        Ok(config)
    }

    /// Whether it says who somebody is or what somebody may do. Otherwise every key that is let in may do everything.
    pub(super) fn has_rules(&self) -> bool {
        let has_people = !self.users.is_empty() || !self.groups.is_empty() || !self.key_folder.as_os_str().is_empty();
        has_people || !self.rule.is_empty() || !self.limit.is_empty() || !self.certificate_authority.is_empty()
    }

    /// Where the three files of the driver `files` lie.
    pub(super) fn files_folder(&self) -> &Path {
        if self.files.folder.as_os_str().is_empty() { &self.root } else { &self.files.folder }
    }

    /// That, as it is written.
    pub(super) fn written(&self) -> Written<'_> {
        Written {
            key_folder: &self.key_folder,
            users: &self.users,
            groups: &self.groups,
            authorities: &self.certificate_authority,
            rules: &self.rule,
            limits: &self.limit,
        }
    }
}

/// A mistake and where it stands.
#[derive(Debug)]
pub(super) struct Mistake {
    pub(super) message: String,
    pub(super) span: Option<std::ops::Range<usize>>,
}

/// The settings in `text`; relative paths as they stand there.
pub(super) fn parse(text: &str) -> Result<Config, Mistake> {
    toml::from_str(text).map_err(|error: toml::de::Error| Mistake { message: nearest(&unquoted(error.message())), span: error.span() })
}

impl Mistake {
    /// `message`, then ` --> file:line:column`, the line itself and a caret beneath.
    pub(super) fn draw(&self, file: &str, text: &str) -> String {
        let Some(span) = &self.span else { return format!("{}\n --> {file}", self.message) };
        let start = span.start.min(text.len());
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_number = text[..line_start].matches('\n').count() + 1;
        let line = text[line_start..].lines().next().unwrap_or_default();
        let column = text[line_start..start].chars().count();
        let line_end = line_start + line.len();
        let width = text.get(start..span.end.min(line_end)).map_or(1, |part| part.chars().count()).max(1);
        let margin = " ".repeat(line_number.to_string().len());
        let (gap, carets) = (" ".repeat(column), "^".repeat(width));
        format!(
            "{}\n --> {file}:{line_number}:{}\n{margin} |\n{line_number} | {}\n{margin} | {gap}{carets}",
            self.message,
            column + 1,
            shown(line, &self.message)
        )
    }
}

/// serde says back the text that it cannot take; it may be a secret, and the line is shown anyway.
fn unquoted(message: &str) -> String {
    match (message.split_once(" string \""), message.rsplit_once("\", expected ")) {
        (Some((before, _)), Some((_, after))) => format!("{before} string, expected {after}"),
        _ => message.to_owned(),
    }
}

/// A line as it may be shown: without what stands in quotes where that is a secret, or may be one.
fn shown(line: &str, message: &str) -> String {
    let is_secret = line.contains("password") || line.contains("seed") || message.contains("type: string");
    let hide = |(at, part): (usize, &str)| if at % 2 == 1 { "\u{2026}".repeat(part.chars().count()) } else { part.to_owned() };
    // An odd number of quotes is a mistake too; what follows the last one counts as within.
    if is_secret { line.split(['"', '\'']).enumerate().map(hide).collect::<Vec<_>>().join("\"") } else { line.to_owned() }
}

/// serde lists every field it knows; the one that was probably meant says more.
fn nearest(message: &str) -> String {
    let Some((unknown, known)) = message.split_once(", expected one of ") else { return message.to_owned() };
    let Some(word) = unknown.split('`').nth(1) else { return message.to_owned() };
    let best = known.split('`').skip(1).step_by(2).map(|name| (distance(word, name), name)).min();
    match best {
        Some((distance, name)) if distance <= 3 => format!("{unknown}, expected `{name}`"),
        _ => message.to_owned(),
    }
}

/// How many letters must be put in, taken out or exchanged to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let exchanged = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = exchanged.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = include_str!("../../config.toml");

    fn keys(prefix: &str, table: &toml::Table, into: &mut Vec<String>) {
        for (key, value) in table {
            let path = format!("{prefix}{key}");
            match value {
                toml::Value::Table(inner) => keys(&format!("{path}."), inner, into),
                _ => into.push(path),
            }
        }
    }

    #[test]
    fn no_mistake_shows_a_secret() {
        for text in [
            "password = \"hunter2\"",
            "[users]\nann = \"hunter2\"",
            "users.ann = 'hunter2'",
            "[push]\ncert_nonce_seed = [\"hunter2\"]",
            "[push]\ncert_nonce_seed = \"hunter2",
            "[users.ann]\npasswords = \"hunter2\"",
            "[users.ann]\npassword = \"hunter2\" x",
        ] {
            let drawn = parse(text).expect_err("a mistake").draw("config.toml", text);
            assert!(!drawn.contains("hunter2") && drawn.contains("config.toml:"), "{drawn}");
        }
    }

    #[test]
    fn the_file_at_the_top_shows_every_setting_with_its_default() {
        let shown: toml::Table = toml::from_str(SHOWN).expect("the file is TOML");
        let defaults = toml::Table::try_from(Config::default()).expect("the defaults are TOML");
        let (mut in_file, mut in_code) = (Vec::new(), Vec::new());
        keys("", &shown, &mut in_file);
        keys("", &defaults, &mut in_code);
        in_file.sort();
        in_code.sort();
        assert_eq!(in_file, in_code, "config.toml and cli/config.rs show different settings");
        assert_eq!(parse(SHOWN).expect("the file is a configuration"), Config::default());
    }

    #[test]
    fn every_setting_has_a_comment_on_its_line_or_above() {
        let mut before = "";
        for line in SHOWN.lines() {
            if line.contains('=') && !line.starts_with('#') {
                assert!(line.contains('#') || before.starts_with('#'), "no comment for: {line}");
            }
            before = line;
        }
    }

    #[test]
    fn nothing_set_is_the_default() {
        assert_eq!(parse("").expect("empty"), Config::default());
    }

    #[test]
    fn a_mistake_is_drawn_with_its_place() {
        let text = "root = \"/srv\"\n\n[push]\npack_byte_max = 3\n";
        let drawn = parse(text).expect_err("a mistake").draw("config.toml", text);
        assert_eq!(
            drawn,
            "unknown field `pack_byte_max`, expected `pack_bytes_max`\n --> config.toml:4:1\n  |\n4 | pack_byte_max = 3\n  | ^^^^^^^^^^^^^"
        );
        let text = "[ssh.limits]\nidle_s = \"long\"\n";
        let drawn = parse(text).expect_err("a mistake").draw("c", text);
        assert!(drawn.contains(" --> c:2:10\n") && drawn.ends_with("^^^^^^"), "{drawn}");
        let text = "[ssh.limits]\nconnections_max = 0\n";
        let drawn = parse(text).expect_err("a mistake").draw("c", text);
        assert!(drawn.contains("at least 1") && drawn.contains(" --> c:2:"), "{drawn}");
    }

    #[test]
    fn a_word_that_resembles_nothing_lists_what_there_is() {
        let text = "colour = 1\n";
        let mistake = parse(text).expect_err("a mistake");
        assert!(mistake.message.contains("expected one of") && mistake.message.contains("`push`"), "{}", mistake.message);
    }

    #[test]
    fn relative_paths_count_from_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.toml");
        let config = Config::of_text(&path, "root = \"repos\"\n[ssh]\nadmin_keys = [\"/etc/a.pub\", \"b.pub\"]\n").expect("read");
        assert_eq!(config.root, folder.path().join("repos"));
        assert_eq!(config.ssh.admin_keys, [PathBuf::from("/etc/a.pub"), folder.path().join("b.pub")]);
        assert_eq!(config.ssh.host_key, PathBuf::new());
    }
}

//! `driver = ...` of `config.toml` into the drivers that decide, in a row, each following its files.

use super::admin_keys::{self, AdminKey};
use super::config::Config;
use super::failure::Failure;
use super::rules::{ConfigText, Source};
use super::watch::{self, Seen, Watched};
use crate::access::files::{FileBook, Files, FilesError};
use crate::access::http::{self, Api, ApiKind, Gitmouth, HttpSettings, SettingsError};
use crate::access::rules::{RuleBook, Rules};
use crate::access::{Chain, HashKind, Keys};
use crate::store::Repositories;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch::Receiver;

/// A driver, by its name in `config.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriverName {
    /// Users, groups and rules of `config.toml`; without any, keys that may do everything.
    Rules,
    /// GitServerGlue's three files.
    Files,
    /// An API server.
    Http,
}

impl DriverName {
    fn as_str(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Files => "files",
            Self::Http => "http",
        }
    }
}

/// One or several of them: the first that knows somebody decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drivers(Vec<DriverName>);

impl Default for Drivers {
    fn default() -> Self {
        Self(vec![DriverName::Rules])
    }
}

impl Drivers {
    /// That one alone.
    pub(super) fn only(name: DriverName) -> Self {
        Self(vec![name])
    }

    /// Whether it is one of them.
    pub(super) fn has(&self, name: DriverName) -> bool {
        self.0.contains(&name)
    }
}

impl Serialize for Drivers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            several => several.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Drivers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Drivers;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the name of a driver, or several in [ ]")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Drivers, E> {
                DriverName::deserialize(de::value::StrDeserializer::new(name)).map(Drivers::only)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Drivers, A::Error> {
                let mut drivers = Drivers(vec![]);
                while let Some(name) = names.next_element()? {
                    if drivers.has(name) {
                        return Err(de::Error::custom("a driver stands here twice"));
                    }
                    drivers.0.push(name);
                }
                if drivers.0.is_empty() { Err(de::Error::custom("without a driver nobody may do anything")) } else { Ok(drivers) }
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

/// The driver `files`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilesConfig {
    /// Folder of the three files; empty: the root.
    pub folder: PathBuf,
}

/// Who decides, read and ready to begin.
pub(super) struct Access(Vec<Part>);

enum Part {
    Keys(Vec<AdminKey>),
    Rules { book: Box<RuleBook>, admins: Vec<AdminKey>, source: Source, seen: Seen },
    Files { book: Box<FileBook>, folder: PathBuf, seen: Seen },
    Http { settings: Box<HttpSettings>, server: String },
}

/// Whoever starts the server, and what the command line says.
pub(super) struct Starter {
    pub(super) config: Option<ConfigText>,
    pub(super) admin_keys: Vec<PathBuf>,
    pub(super) home: Option<PathBuf>,
    pub(super) person: Option<String>,
}

impl Access {
    /// Read what `config` names.
    ///
    /// # Errors
    /// Something in it is wrong, or would be left out.
    pub(super) fn read(config: &Config, starter: &Starter) -> Result<Self, Failure> {
        check_leftovers(config)?;
        let part = |name: &DriverName| match name {
            DriverName::Rules => rules(config, starter),
            DriverName::Files => {
                let folder = config.files_folder().to_owned();
                let (book, seen) = read_files(&folder, None)?;
                Ok(Part::Files { book: Box::new(book), folder, seen })
            }
            DriverName::Http => {
                let server = check_http(&config.http)?;
                Ok(Part::Http { settings: Box::new(config.http.clone()), server })
            }
        };
        config.driver.0.iter().map(part).collect::<Result<_, _>>().map(Self)
    }

    /// What whoever starts the server is told of it, line by line.
    pub(super) fn told(&self) -> Vec<String> {
        let is_alone = self.0.len() == 1;
        self.0.iter().flat_map(|part| part.told(is_alone)).collect()
    }

    /// Whether an address needs a user name.
    pub(super) fn wants_user_name(&self) -> bool {
        matches!(self.0.first(), Some(Part::Files { .. }))
    }

    /// Begin; drivers read their files again when these change, and when it is `asked` for.
    ///
    /// # Errors
    /// What was right when it was read is not any more.
    pub(super) fn begin(self, repositories: &Arc<Repositories>, hash: HashKind, asked: &Receiver<()>) -> Result<Chain, Failure> {
        self.0.into_iter().try_fold(Chain::new(), |chain, part| {
            part.begin(chain, repositories, hash, asked).map_err(|error| Failure::configuration(error.to_string()))
        })
    }
}

impl Part {
    fn begin(self, chain: Chain, repositories: &Arc<Repositories>, hash: HashKind, asked: &Receiver<()>) -> Result<Chain, SettingsError> {
        Ok(match self {
            Self::Keys(keys) => {
                let driver = Keys::new(repositories.clone()).hash_new_with(hash);
                chain.then(keys.into_iter().fold(driver, |driver, key| driver.allow(key.key, key.user)))
            }
            Self::Rules { book, source, seen, .. } => {
                let rules = Rules::new(*book, repositories.clone(), hash);
                tokio::spawn(source.follow(rules.clone(), seen, asked.clone()));
                chain.then(rules)
            }
            Self::Files { book, folder, seen } => {
                let files = Files::new(*book, repositories.clone());
                let read = {
                    let files = files.clone();
                    move || {
                        let (book, seen) = read_files(&folder, Some(&files.book()))?;
                        let (users, named) = book.counts();
                        files.replace(book);
                        tracing::info!(folder = %folder.display(), users, repositories = named, "files read again: they count from the next command on");
                        Ok(seen)
                    }
                };
                tokio::spawn(watch::follow(seen, asked.clone(), "files", read));
                chain.then(files)
            }
            Self::Http { settings, .. } => match settings.api {
                ApiKind::Packmule => chain.then(Api::new(&settings, repositories.clone(), hash)?),
                ApiKind::Gitmouth => chain.then(Gitmouth::new(&settings, repositories.clone())?),
            },
        })
    }

    fn told(&self, is_alone: bool) -> Vec<String> {
        let nobody_else = if is_alone { "; nobody else" } else { "" };
        match self {
            Self::Keys(keys) => match keys.as_slice() {
                [key] => {
                    let whose = if key.own { "your key" } else { "key" };
                    vec![format!("{whose} {} ({}) may read and write{nobody_else}", key.key.fingerprint(), key.file)]
                }
                keys => {
                    let each = keys.iter().map(|key| format!("{} {} ({})", key.key.fingerprint(), key.user, key.file));
                    [format!("these keys may read and write{nobody_else}")].into_iter().chain(each).collect()
                }
            },
            Self::Rules { book, admins, source, .. } => {
                let (_, users, rules) = book.counts();
                let mut lines = vec![format!("{users} users, {rules} rules in {}", source.file.display())];
                if !admins.is_empty() {
                    let names: Vec<_> = admins.iter().map(|key| format!("{} ({})", key.user, key.file)).collect();
                    lines.push(format!("may do everything: {}", names.join(", ")));
                }
                lines
            }
            Self::Files { book, folder, .. } => {
                let (users, repositories) = book.counts();
                let file = folder.join(".repoperms");
                vec![format!(
                    "{}, {} in {}",
                    count(users, "user", "users"),
                    count(repositories, "repository", "repositories"),
                    file.display()
                )]
            }
            Self::Http { server, .. } => vec![format!("the API server at {server} decides")],
        }
    }
}

fn count(number: usize, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

/// Where the API server is asked, if it can be as `settings` say.
fn check_http(settings: &HttpSettings) -> Result<String, Failure> {
    http::check(settings).map_err(|error| Failure::configuration(error.to_string()))
}

/// Rules or keys that no driver looks at would seem to count.
pub(super) fn check_leftovers(config: &Config) -> Result<(), Failure> {
    if config.driver.has(DriverName::Rules) {
        return Ok(());
    }
    let what = match (config.has_rules(), config.ssh.admin_keys.is_empty()) {
        (true, _) => "there are users, groups or rules, and the driver that reads them is not named",
        (false, false) => "there are admin keys, and the driver that lets them in is not named",
        (false, true) => return Ok(()),
    };
    let named: Vec<String> = config.driver.0.iter().map(|name| format!("\"{}\", ", name.as_str())).collect();
    Err(Failure::configuration(what).hint(format!("driver = [{}\"rules\"] asks one after the other", named.concat())))
}

/// The rules if there are some, else the keys that may do everything.
fn rules(config: &Config, starter: &Starter) -> Result<Part, Failure> {
    let Starter { config: text, admin_keys, home, person } = starter;
    if let Some(text) = text.as_ref().filter(|_| config.has_rules()) {
        let source = Source { file: text.file.clone(), home: home.clone(), person: person.clone(), admin_keys: admin_keys.clone() };
        let (book, admins, seen) = source.read_from(text)?.split();
        return Ok(Part::Rules { book: Box::new(book), admins, source, seen });
    }
    let own = home.as_deref().filter(|_| config.ssh.own_keys);
    let keys = admin_keys::collect(own, person.as_deref(), &config.ssh.admin_keys)?;
    if keys.is_empty() {
        return Err(Failure::configuration("no public key found, so nobody could log in")
            .hint("ssh-keygen -t ed25519 makes a key in ~/.ssh; or name one: packmule serve --admin-key FILE.pub"));
    }
    Ok(Part::Keys(keys))
}

/// The three files in `folder`, and how they looked before.
fn read_files(folder: &Path, before: Option<&FileBook>) -> Result<(FileBook, Seen), Failure> {
    let seen = Watched { files: FileBook::files(folder), folders: vec![] }.see();
    let book = FileBook::read(folder, before).map_err(|error| {
        let failure = Failure::configuration(error.to_string());
        match error {
            FilesError::Unreadable { .. } | FilesError::Nobody(_) => {
                failure.hint("the driver files wants .repoperms, and .rsakeys or .htpasswd, in one folder: [files] folder = \"...\"")
            }
            _ => failure,
        }
    })?;
    book.notes().iter().for_each(|note| tracing::warn!("{note}"));
    Ok((book, seen))
}

/// What `packmule check` says of drivers other than the rules.
pub(super) fn check(config: &Config) -> Result<String, Failure> {
    check_leftovers(config)?;
    let mut said = String::new();
    if config.driver.has(DriverName::Http) {
        said = format!("the API server at {} decides; it was not asked\n", check_http(&config.http)?);
    }
    if !config.driver.has(DriverName::Files) {
        return Ok(said);
    }
    let folder = config.files_folder();
    let (book, _) = read_files(folder, None)?;
    let ((users, repositories), notes) = (book.counts(), book.notes());
    let (users, repositories) = (count(users, "user", "users"), count(repositories, "repository", "repositories"));
    let head = format!("{said}{}: {users}, {repositories}\n", folder.join(".repoperms").display());
    Ok(notes.iter().fold(head, |text, note| format!("{text}note: {note}\n")))
}

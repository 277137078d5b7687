//! Users, groups and rules of `config.toml` into a [`RuleBook`]: every fault drawn with its place; read again when they change.

use super::admin_keys::{self, AdminKey};
use super::args::WhyArgs;
use super::config::{Config, Mistake};
use super::drivers::{self, DriverName};
use super::edit::{option, quoted};
use super::failure::Failure;
use super::watch::{self, Seen, Watched};
use crate::access::rules::{Fault, Roles, RuleBook, Rules, Verb};
use crate::access::{RequestPath, printable};
use std::path::{Path, PathBuf};
use tokio::sync::watch::Receiver;

/// The file that commands look for when none is named.
pub(super) const DEFAULT_FILE: &str = "config.toml";

/// Where the rules come from, to read them again.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// The file.
    pub(super) file: PathBuf,
    /// Whose own keys may do everything, and who that is.
    pub(super) home: Option<PathBuf>,
    pub(super) person: Option<String>,
    /// Files of keys that the command line adds.
    pub(super) admin_keys: Vec<PathBuf>,
}

/// What was read.
pub(super) struct Reading {
    pub(super) config: Config,
    pub(super) book: RuleBook,
    /// Keys that may do everything.
    pub(super) keys: Vec<AdminKey>,
    seen: Seen,
}

/// The text of a configuration, and how the file looked before it was read: settings and rules are those of one moment.
#[derive(Clone, Debug)]
pub(super) struct ConfigText {
    pub(super) file: PathBuf,
    pub(super) text: String,
    seen: Seen,
}

impl ConfigText {
    pub(super) fn take(file: &Path) -> Result<Self, Failure> {
        let seen = Watched { files: vec![file.to_owned()], folders: vec![] }.see();
        Ok(Self { file: file.to_owned(), text: Config::text(file)?, seen })
    }
}

impl Source {
    /// Read all of it.
    ///
    /// # Errors
    /// Every fault at once.
    pub(super) fn read(&self) -> Result<Reading, Failure> {
        self.read_from(&ConfigText::take(&self.file)?)
    }

    /// The same of a file whose text was read before.
    pub(super) fn read_from(&self, text: &ConfigText) -> Result<Reading, Failure> {
        let reading = self.read_text(&text.text)?;
        Ok(Reading { seen: reading.seen.with(text.seen.clone()), ..reading })
    }

    /// The same, if this were the file's text.
    pub(super) fn read_text(&self, text: &str) -> Result<Reading, Failure> {
        let config = Config::of_text(&self.file, text)?;
        let own = self.home.as_deref().filter(|_| config.ssh.own_keys);
        let admin_keys = [&config.ssh.admin_keys[..], &self.admin_keys].concat();
        let of_users = config.users.values().flat_map(|user| user.key_files.iter().map(|file| file.get_ref().clone()));
        let authorities = config.certificate_authority.iter().map(|authority| authority.get_ref());
        let of_authorities = authorities.flat_map(|of| of.key_files.iter().chain(&of.revoked).map(|file| file.get_ref().clone()));
        let watched = Watched {
            files: of_users.chain(of_authorities).chain(admin_keys.iter().cloned()).chain([self.file.clone()]).collect(),
            folders: own.map(|home| home.join(".ssh")).into_iter().chain([config.key_folder.clone()]).collect(),
        };
        let seen = watched.see();
        let shown = self.file.display().to_string();
        let name = self.file.file_name().map_or_else(|| shown.clone(), |name| name.to_string_lossy().into_owned());
        let mut book = RuleBook::compile(&config.written(), &name, text).map_err(|faults| drawn(&faults, &shown, text))?;
        let keys = admin_keys::collect(own, self.person.as_deref(), &admin_keys)?;
        keys.iter().for_each(|key| book.add_admin(&key.key, key.user.as_str()));
        Ok(Reading { config, book, keys, seen })
    }

    /// Let `rules` follow every change of the files after `since`.
    pub(super) async fn follow(self, rules: Rules, since: Seen, asked: Receiver<()>) {
        let read = move || {
            let reading = self.read_rules()?;
            let (keys, users, count) = reading.book.counts();
            rules.replace(reading.book);
            tracing::info!(file = %self.file.display(), keys, users, rules = count, "rules read again: they count from the next command on");
            Ok(reading.seen)
        };
        watch::follow(since, asked, "rules", read).await;
    }

    /// Read it again, and it must still have rules: a file that is empty for a moment must not open anything.
    fn read_rules(&self) -> Result<Reading, Failure> {
        let reading = self.read()?;
        if !reading.config.has_rules() {
            let none = format!("{} has no users and no rules any more", self.file.display());
            return Err(Failure::configuration(none).hint("to serve without rules, start the server anew"));
        }
        Ok(reading)
    }
}

impl Reading {
    /// The book, the keys that may do everything, and what follows the files from here on.
    pub(super) fn split(self) -> (RuleBook, Vec<AdminKey>, Seen) {
        (self.book, self.keys, self.seen)
    }
}

/// Every fault with its line, a caret beneath it and what to do.
pub(super) fn drawn(faults: &[Fault], file: &str, text: &str) -> Failure {
    let draw = |fault: &Fault| {
        let drawn = Mistake { message: fault.message.clone(), span: fault.span.clone() }.draw(file, text);
        fault.hint.as_ref().map_or(drawn.clone(), |hint| format!("{drawn}\nhint: {hint}"))
    };
    Failure::configuration(faults.iter().map(draw).collect::<Vec<_>>().join("\nerror: "))
}

/// `packmule check`: is the file right?
pub(super) fn check(file: &Path) -> Result<String, Failure> {
    let source = Source { file: file.to_owned(), home: None, person: None, admin_keys: vec![] };
    let Reading { config, book, .. } = source.read()?;
    let (keys, users, rules) = book.counts();
    let more = drivers::check(&config)?;
    let said = if !config.driver.has(DriverName::Rules) {
        format!("{} is right\n", file.display())
    } else if config.has_rules() {
        format!("{} is right: {users} users with {keys} keys, {rules} rules\n", file.display())
    } else {
        format!("{} is right; it has no users and no rules, so every key that is let in may do everything\n", file.display())
    };
    Ok(said + &more)
}

/// `packmule why`: the answer with the rule that decides, and what would change a no.
pub(super) fn why(args: &WhyArgs) -> Result<(String, bool), Failure> {
    let (home, person) = admin_keys::whoever_starts();
    let source = Source { file: args.config.clone(), home, person, admin_keys: vec![] };
    // Without a file the defaults count, as for `serve`.
    let has_no_file = args.config == Path::new(DEFAULT_FILE) && !args.config.exists();
    let reading = if has_no_file { source.read_text("") } else { source.read() }?;
    let (config, book, user) = (&reading.config, &reading.book, args.user.as_str());
    let (name, word) = match args.words.as_slice() {
        [name, word] => (Some(whole_name(name)), word),
        [word, ..] => (None, word),
        [] => return Err(Failure::configuration("a verb is missing")),
    };
    let Some(verbs) = Verb::meant_by(word) else {
        let known = Verb::ALL.map(Verb::as_str).join(", ");
        return Err(Failure::configuration(format!("'{word}' is nothing that one may do"))
            .hint(format!("these are: {known}, and write for create and update")));
    };
    if let Some(verb) = verbs.iter().find(|verb| name.is_some() && !verb.is_about_refs()) {
        return Err(Failure::configuration(format!("{verb} is not about a ref")).hint("leave the ref out"));
    }
    if !book.knows(user) {
        let nobody = Failure::configuration(format!("{} has no user '{}'", args.config.display(), printable(user)));
        let admins: Vec<&str> = reading.keys.iter().filter_map(|key| book.owner(&key.key)).collect();
        return Err(if admins.is_empty() {
            nobody
        } else {
            nobody.hint(format!("by their keys may do everything: {}", admins.join(", ")))
        }
        .hint("[users.NAME] makes one"));
    }
    let repository = RequestPath::new(&args.repository).name().map_err(|error| Failure::configuration(error.to_string()))?;
    let roles = Roles::find(&config.root, &repository).map_err(|error| Failure::configuration(error.to_string()))?;
    let roles = roles.unwrap_or_else(|| book.roles_of_new(user, repository.as_str()));
    let ask = |verb| book.ask_of(user, repository.as_str(), &roles, name.as_deref().map(Into::into), verb);
    // Of several the first that is denied, if one is.
    let judged: Vec<_> = verbs.iter().map(|verb| ask(*verb)).collect();
    let Some(judged) = judged.iter().find(|judged| !judged.is_allowed).or(judged.first()) else {
        return Err(Failure::configuration("a verb is missing"));
    };
    let answer = if judged.is_allowed { "yes" } else { "no" };
    let own = reading.keys.iter().find(|key| book.owner(&key.key) == Some(user));
    let because = match (&judged.rule, own) {
        (Some(rule), _) => rule.clone(),
        (None, Some(key)) => format!("the key {} ({}) may do everything", key.key.fingerprint(), key.file),
        (None, None) => "no rule is about it".to_owned(),
    };
    let mut text = format!("{answer}: {because}\n");
    let other = format!("{user} (admin)");
    for key in reading.keys.iter().filter(|key| book.owner(&key.key) == Some(&other)) {
        text += &format!("with the key {} ({}) they are '{other}', who may do everything\n", key.key.fingerprint(), key.file);
    }
    if !judged.is_allowed {
        let place = if judged.rule.is_some() { "before that rule" } else { "anywhere" };
        let refs = name.as_deref().map_or_else(String::new, |name| format!("refs = [\"{name}\"]\n"));
        let may_read = ask(Verb::Read).is_allowed;
        let words = if may_read || verbs == [Verb::Read] { vec![word.as_str()] } else { vec!["read", word] };
        let listed = words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        text += &format!(
            "this would allow it, {place} in {}:\n\n[[rule]]\nusers = [\"{user}\"]\nrepositories = [\"{}\"]\n{refs}allow = [{listed}]\n",
            args.config.display(),
            repository.as_str()
        );
        let on = name.as_deref().map_or_else(String::new, |name| format!(" --ref {}", quoted(name)));
        let (option, words) = (option(&args.config), words.join(" "));
        text += &format!("\nor: packmule grant{option} {} {} {words}{on}\n", quoted(user), quoted(repository.as_str()));
    }
    Ok((text, judged.is_allowed))
}

/// `main` is a branch, as in a rule.
pub(super) fn whole_name(name: &str) -> String {
    if name.starts_with("refs/") { name.to_owned() } else { format!("refs/heads/{name}") }
}

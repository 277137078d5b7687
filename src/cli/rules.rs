//! Users, groups and rules of `config.toml` into a [`RuleBook`]: every fault drawn with its place; read again when they change.

use super::admin_keys::{self, AdminKey};
use super::args::WhyArgs;
use super::config::{Config, Mistake};
use super::failure::Failure;
use crate::access::RequestPath;
use crate::access::rules::{Fault, RuleBook, Rules, Verb};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How often files are looked at for changes, in milliseconds.
const LOOK_MS: u64 = 1_000;

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

impl Source {
    /// Read all of it.
    ///
    /// # Errors
    /// Every fault at once.
    pub(super) fn read(&self) -> Result<(Config, RuleBook, Vec<AdminKey>), Failure> {
        let (config, text) = Config::read_with_text(&self.file)?;
        let shown = self.file.display().to_string();
        let name = self.file.file_name().map_or_else(|| shown.clone(), |name| name.to_string_lossy().into_owned());
        let mut book = RuleBook::compile(&config.written(), &name, &text).map_err(|faults| drawn(&faults, &shown, &text))?;
        let own = self.home.as_deref().filter(|_| config.ssh.own_keys);
        let files = [&config.ssh.admin_keys[..], &self.admin_keys].concat();
        let keys = admin_keys::collect(own, self.person.as_deref(), &files)?;
        for key in &keys {
            book.add_admin(&key.key, key.user.as_str()).map_err(|fault| drawn(&[fault], &shown, &text))?;
        }
        Ok((config, book, keys))
    }

    /// Follow every change of the files: what is right takes the place of what was, what is not leaves it.
    pub(super) async fn follow(self, rules: Rules, mut asked: tokio::sync::mpsc::Receiver<()>) {
        let mut seen = self.look().await;
        loop {
            let was_asked = tokio::select! {
                asked = asked.recv() => asked.is_some(),
                () = tokio::time::sleep(Duration::from_millis(LOOK_MS)) => false,
            };
            let now = self.look().await;
            if was_asked || now != seen {
                seen = now;
                let source = self.clone();
                match tokio::task::spawn_blocking(move || source.read()).await {
                    Ok(Ok((_, book, _))) => {
                        let (keys, users, count) = book.counts();
                        rules.replace(book);
                        tracing::info!(file = %self.file.display(), keys, users, rules = count, "rules read again: they count from the next command on");
                    }
                    Ok(Err(failure)) => tracing::error!("the rules that were read before stay in force: {failure}"),
                    Err(panic) => tracing::error!(%panic, "the rules that were read before stay in force"),
                }
            }
        }
    }

    /// How the files look from outside. Those that cannot be seen look like nothing.
    async fn look(&self) -> Arc<Vec<(PathBuf, SystemTime, u64)>> {
        let source = self.clone();
        let look = move || {
            let mut paths = vec![source.file.clone()];
            if let Ok((config, _)) = Config::read_with_text(&source.file) {
                paths.extend(config.users.values().flat_map(|user| user.key_files.iter().map(|file| file.get_ref().clone())));
                paths.extend(std::fs::read_dir(&config.key_folder).into_iter().flatten().flatten().map(|entry| entry.path()));
                paths.extend(config.ssh.admin_keys);
            }
            paths.sort();
            let seen =
                |path: PathBuf| path.metadata().and_then(|data| Ok((data.modified()?, data.len()))).ok().map(|(at, size)| (path, at, size));
            paths.into_iter().filter_map(seen).collect()
        };
        Arc::new(tokio::task::spawn_blocking(look).await.unwrap_or_default())
    }
}

/// Every fault with its line, a caret beneath it and what to do.
fn drawn(faults: &[Fault], file: &str, text: &str) -> Failure {
    let draw = |fault: &Fault| {
        let drawn = Mistake { message: fault.message.clone(), span: fault.span.clone() }.draw(file, text);
        fault.hint.as_ref().map_or(drawn.clone(), |hint| format!("{drawn}\nhint: {hint}"))
    };
    Failure::configuration(faults.iter().map(draw).collect::<Vec<_>>().join("\nerror: "))
}

/// `packmule check`: is the file right?
pub(super) fn check(file: &Path) -> Result<String, Failure> {
    let source = Source { file: file.to_owned(), home: None, person: None, admin_keys: vec![] };
    let (config, book, _) = source.read()?;
    let (keys, users, rules) = book.counts();
    Ok(if config.has_rules() {
        format!("{} is right: {users} users with {keys} keys, {rules} rules\n", file.display())
    } else {
        format!("{} is right; it has no users and no rules, so every key that is let in may do everything\n", file.display())
    })
}

/// `packmule why`: the answer with the rule that decides, and what would change a no.
pub(super) fn why(args: &WhyArgs) -> Result<(String, bool), Failure> {
    let source = Source { file: args.config.clone(), home: None, person: None, admin_keys: vec![] };
    let (_, book, _) = source.read()?;
    let (name, word) = match args.words.as_slice() {
        [name, word] => (Some(whole_name(name)), word),
        [word, ..] => (None, word),
        [] => return Err(Failure::configuration("a verb is missing")),
    };
    let Some(verb) = Verb::ALL.into_iter().find(|verb| verb.as_str() == word) else {
        let known = Verb::ALL.map(Verb::as_str).join(", ");
        return Err(Failure::configuration(format!("'{word}' is nothing that one may do")).hint(format!("these are: {known}")));
    };
    if !book.knows(&args.user) {
        return Err(Failure::configuration(format!("{} has no user '{}'", args.config.display(), args.user)).hint("[users.NAME] makes one"));
    }
    let repository = RequestPath::new(&args.repository).name().map_err(|error| Failure::configuration(error.to_string()))?;
    let judged = book.ask(&args.user, repository.as_str(), name.as_deref().map(Into::into), verb);
    let answer = if judged.is_allowed { "yes" } else { "no" };
    let mut text = format!("{answer}: {}\n", judged.rule.as_deref().unwrap_or("no rule is about it"));
    if !judged.is_allowed {
        let place = if judged.rule.is_some() { "before that rule" } else { "anywhere" };
        let refs = name.map_or_else(String::new, |name| format!("refs = [\"{name}\"]\n"));
        text += &format!(
            "this would allow it, {place} in {}:\n\n[[rule]]\nusers = [\"{}\"]\nrepositories = [\"{}\"]\n{refs}allow = [\"{verb}\"]\n",
            args.config.display(),
            args.user,
            repository.as_str()
        );
    }
    Ok((text, judged.is_allowed))
}

/// `main` is a branch, as in a rule.
fn whole_name(name: &str) -> String {
    if name.starts_with("refs/") { name.to_owned() } else { format!("refs/heads/{name}") }
}

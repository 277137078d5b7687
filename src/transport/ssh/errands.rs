//! What is asked for besides git's commands into its answer: lines on standard output, or a sentence on standard error.
//!
//! Each takes a place among the commands, like a fetch, is one line in the audit log, and asks the driver before it shows or does anything.
//! Lists show no name but those that the driver says yes to: each is asked about, up to [`NAMES_ASKED_MAX`] names and for
//! [`LIST_MS`]; what is left out then is said on standard error, and the exit status tells it, too.

use super::super::audit::{Outcome, json_string};
use super::super::limits::OUTPUT_CHUNK_BYTES;
use super::conversation::{Conversation, Denied, FINE, REFUSED, STDERR, ms_since};
use super::errand::{self, Errand, RoleChange};
use crate::access::rules::Roles;
use crate::access::{Caller, Command, Explanation, HashKind, Question, RequestPath, printable};
use crate::base::Moment;
use crate::store::{Error, Repositories, RepositoryName, Trashed};
use bytes::Bytes;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Names of one list that the driver is asked about.
const NAMES_ASKED_MAX: usize = 10_000;
/// Time that a list may take, in milliseconds.
const LIST_MS: u64 = 10_000;

/// Roles that may be given in one repository.
const ROLES_MAX: usize = 1_000;

/// What somebody hears.
struct Answer {
    text: String,
    status: u32,
    /// On standard error.
    note: Option<String>,
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Self { text, status: FINE, note: None }
    }
}

/// One entry of a list.
struct Row {
    /// In plain text.
    line: String,
    /// Members of an object in JSON.
    json: String,
}

impl Conversation {
    pub(super) async fn run_errand(&self, errand: Errand) {
        let began = Instant::now();
        self.inbox.discard();
        let outcome = |verdict, why| Outcome { verdict, why, duration_ms: ms_since(began), ..Outcome::default() };
        let place = match self.turn().await {
            Ok(Some(place)) => Ok(place),
            Ok(None) => return self.audit(&errand.service(), errand.path(), outcome("gone", None)),
            Err(sentence) => Err(Denied::refused(sentence)),
        };
        let answered = match place {
            Ok(_place) => self.answer(&errand).await,
            Err(denied) => Err(denied),
        };
        match answered {
            Ok(answer) => {
                self.audit(&errand.service(), errand.path(), outcome("done", answer.note.clone()));
                self.say(answer).await;
            }
            Err(Denied { sentence, status, verdict, why }) => {
                self.audit(&errand.service(), errand.path(), outcome(verdict, why));
                self.tell(Some(STDERR), Bytes::from(format!("packmule: {sentence}\n")), status).await;
            }
        }
    }

    async fn answer(&self, errand: &Errand) -> Result<Answer, Denied> {
        let caller = self.caller().await?;
        match errand {
            Errand::Help => Ok(errand::help().into()),
            Errand::Info { json } => self.info(&caller, *json).await,
            Errand::Why(question) => self.why(&caller, question).await,
            Errand::List { json } => self.list(&caller, *json).await,
            Errand::Trash { json } => self.trash(&caller, *json).await,
            Errand::Create { path, hash } => self.create(&caller, path, *hash).await,
            Errand::Rename { from, to } => self.rename(&caller, from, to).await,
            Errand::Delete { path } => self.delete(&caller, path).await,
            Errand::Restore { path } => self.restore(&caller, path).await,
            Errand::Perms { path, change } => self.perms(&caller, path, change.clone()).await,
        }
    }

    async fn say(&self, Answer { text, status, note }: Answer) {
        let mut text = Bytes::from(text);
        while !text.is_empty() {
            let piece = text.split_to(text.len().min(OUTPUT_CHUNK_BYTES));
            if !self.in_time(self.writer.data_bytes(piece)).await {
                return;
            }
        }
        self.finish(note.map(|note| (Some(STDERR), Bytes::from(format!("packmule: {note}\n")))), status).await;
    }

    async fn info(&self, caller: &Caller, json: bool) -> Result<Answer, Denied> {
        let mut list = List::begin(self, caller, json);
        for name in self.names(caller).await? {
            let path = RequestPath::new(&name);
            let Some(true) = list.may(Command::UploadPack, &path).await else { continue };
            let Some(writes) = list.may(Command::ReceivePack, &path).await else { continue };
            let line = format!("R {}  {}", if writes { "W" } else { " " }, printable(&name));
            list.add(Row { line, json: format!("\"name\":{},\"read\":true,\"write\":{writes}", json_string(&name)) });
        }
        Ok(list.end())
    }

    async fn list(&self, caller: &Caller, json: bool) -> Result<Answer, Denied> {
        let mut list = List::begin(self, caller, json);
        for name in self.names(caller).await? {
            if list.may(Command::List, &RequestPath::new(&name)).await == Some(true) {
                list.add(Row { line: printable(&name), json: format!("\"name\":{}", json_string(&name)) });
            }
        }
        Ok(list.end())
    }

    async fn trash(&self, caller: &Caller, json: bool) -> Result<Answer, Denied> {
        let mut list = List::begin(self, caller, json);
        // Each name once, however often it was deleted.
        let mut asked = HashMap::new();
        for root in self.roots(caller).await? {
            for trashed in self.on_disk(move || root.trash()).await? {
                let Trashed { name, by, deleted_s, .. } = &trashed;
                let may = match asked.get(name.as_str()) {
                    Some(may) => *may,
                    None => {
                        let may = list.may(Command::Restore, &RequestPath::new(name.as_str())).await;
                        *asked.entry(name.as_str().to_owned()).or_insert(may)
                    }
                };
                if may == Some(true) {
                    let (name, when) = (name.as_str(), Moment::at(*deleted_s));
                    let line = format!("{when}  {}  (deleted by {})", printable(name), printable(by));
                    let json = format!("\"name\":{},\"deleted\":\"{when}\",\"by\":{}", json_string(name), json_string(by));
                    list.add(Row { line, json });
                }
            }
        }
        Ok(list.end())
    }

    async fn roots(&self, caller: &Caller) -> Result<Vec<Arc<Repositories>>, Denied> {
        caller.roots().await.map_err(|error| self.no_answer(&error))
    }

    /// All names that there may be something to say of; nobody has been asked about them yet.
    async fn names(&self, caller: &Caller) -> Result<Vec<String>, Denied> {
        let roots = self.roots(caller).await?;
        if roots.is_empty() {
            return Ok(caller.describe().await.map_err(|error| self.no_answer(&error))?.repositories);
        }
        let mut names = vec![];
        for root in roots {
            let of_root = self.on_disk(move || root.names()).await?;
            names.extend(of_root.iter().map(|name: &RepositoryName| name.as_str().to_owned()));
        }
        Ok(names)
    }

    async fn why(&self, caller: &Caller, question: &Question) -> Result<Answer, Denied> {
        let answer = |is_allowed: bool, because: &str| {
            let text = format!("{}: {}\n", if is_allowed { "yes" } else { "no" }, printable(because));
            Answer { text, status: if is_allowed { FINE } else { REFUSED }, note: None }
        };
        match caller.why(question.clone()).await.map_err(|error| self.no_answer(&error))? {
            Some(Explanation::Yes(because)) => Ok(answer(true, &because)),
            Some(Explanation::No(because)) => Ok(answer(false, &because)),
            Some(Explanation::Refused(refusal)) => Err(match refusal.for_peer() {
                Some(sentence) => Denied::refused(&sentence),
                None => Denied { verdict: "refused", why: Some(refusal.to_string()), ..self.not_found(caller, &question.path).await },
            }),
            None => Err(Denied::refused("what decides here does not tell why; 'ssh HOST info' tells what you may do")),
        }
    }

    async fn create(&self, caller: &Caller, path: &RequestPath, hash: Option<HashKind>) -> Result<Answer, Denied> {
        let granted = self.admit(caller, Command::Create, path).await?;
        self.on_disk(move || granted.create(hash)).await?;
        Ok(format!("created {}\n", shown(path)).into())
    }

    async fn rename(&self, caller: &Caller, from: &RequestPath, to: &RequestPath) -> Result<Answer, Denied> {
        let granted = self.admit(caller, Command::Rename, from).await?;
        let target = self.admit(caller, Command::Create, to).await?;
        let state = self.shared.state.clone();
        let renamed = self.on_disk(move || granted.rename(&target, |git_dir| state.forget(git_dir))).await?;
        if renamed { Ok(format!("renamed {} to {}\n", shown(from), shown(to)).into()) } else { Err(self.not_found(caller, from).await) }
    }

    async fn delete(&self, caller: &Caller, path: &RequestPath) -> Result<Answer, Denied> {
        let granted = self.admit(caller, Command::Delete, path).await?;
        let (state, user) = (self.shared.state.clone(), self.login.user.clone());
        match self.on_disk(move || granted.delete(&user, |git_dir| state.forget(git_dir))).await? {
            Some(_) => Ok(format!("deleted {}; for a while, restore takes it back\n", shown(path)).into()),
            None => Err(self.not_found(caller, path).await),
        }
    }

    async fn perms(&self, caller: &Caller, path: &RequestPath, change: Option<RoleChange>) -> Result<Answer, Denied> {
        let granted = self.admit(caller, Command::Roles, path).await?;
        let roles = self.on_disk(move || match change {
            Some(change) => granted.change_roles(|roles| change_roles(roles, change)),
            None => granted.roles(),
        });
        match roles.await? {
            Some(roles) => Ok(roles_text(&roles).into()),
            None => Err(self.not_found(caller, path).await),
        }
    }

    async fn restore(&self, caller: &Caller, path: &RequestPath) -> Result<Answer, Denied> {
        let granted = self.admit(caller, Command::Restore, path).await?;
        match self.on_disk(move || granted.restore()).await? {
            Some(trashed) => Ok(format!("restored {}, deleted {}\n", shown(path), Moment::at(trashed.deleted_s)).into()),
            None => Err(Denied::refused(&format!("there is no {} in the trash", shown(path)))),
        }
    }
}

/// Lines of who made it, and of each role with who has it.
fn roles_text(roles: &Roles) -> String {
    let creator = roles.creator.iter().map(|creator| format!("creator {}\n", printable(creator)));
    let given = roles.roles.iter().filter(|(_, users)| !users.is_empty()).map(|(role, users)| {
        let users: Vec<_> = users.iter().map(|user| printable(user)).collect();
        format!("{} {}\n", printable(role), users.join(" "))
    });
    creator.chain(given).collect()
}

/// Give or take a role.
fn change_roles(roles: &mut Roles, RoleChange { gives, role, user }: RoleChange) -> Result<(), Error> {
    let users = roles.roles.entry(role.clone()).or_default();
    match (gives, users.contains(&user)) {
        (true, true) => return Err(Error::InTheWay(format!("{user} has the role {role} already"))),
        (false, false) => return Err(Error::InTheWay(format!("{user} does not have the role {role}"))),
        (true, false) => users.push(user),
        (false, true) => users.retain(|other| *other != user),
    }
    roles.roles.retain(|_, users| !users.is_empty());
    if roles.roles.values().map(Vec::len).sum::<usize>() > ROLES_MAX {
        return Err(Error::InTheWay(format!("more than {ROLES_MAX} roles are not given in one repository; give them to groups")));
    }
    Ok(())
}

fn shown(path: &RequestPath) -> String {
    path.name().map_or_else(|_| path.to_string(), |name| printable(name.as_str()))
}

/// A list in the making, of what the driver says yes to.
struct List<'a> {
    conversation: &'a Conversation,
    caller: &'a Caller,
    json: bool,
    text: String,
    until: Instant,
    asked: usize,
    left_out: u64,
}

impl<'a> List<'a> {
    fn begin(conversation: &'a Conversation, caller: &'a Caller, json: bool) -> Self {
        let text = if json { "[".to_owned() } else { String::new() };
        Self { conversation, caller, json, text, until: Instant::now() + Duration::from_millis(LIST_MS), asked: 0, left_out: 0 }
    }

    /// Whether they may; none where it is too late to ask, or there is no answer.
    async fn may(&mut self, command: Command, path: &RequestPath) -> Option<bool> {
        if self.asked >= 2 * NAMES_ASKED_MAX || Instant::now() > self.until || self.conversation.hangup.is_set() {
            self.left_out += 1;
            return None;
        }
        self.asked += 1;
        match self.caller.may(command, path).await {
            Ok(may) => Some(may),
            Err(error) => {
                // One that cannot be judged is none that all the others wait for.
                tracing::error!(request = %self.conversation.request, %path, error = printable(&error.to_string()), "left out of a list");
                self.left_out += 1;
                None
            }
        }
    }

    fn add(&mut self, row: Row) {
        let comma = if self.text.len() > 1 { ",\n" } else { "" };
        // Writing to a string cannot fail.
        let _ = if self.json { write!(self.text, "{comma}{{{}}}", row.json) } else { writeln!(self.text, "{}", row.line) };
    }

    fn end(mut self) -> Answer {
        if self.json {
            self.text.push_str("]\n");
        }
        let note = (self.left_out > 0).then(|| "some further names were not looked at, for want of time or of an answer".to_owned());
        Answer { text: self.text, status: if note.is_some() { REFUSED } else { FINE }, note }
    }
}

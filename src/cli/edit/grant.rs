//! `packmule grant` and `revoke`: what somebody shall be able to do into the rule that says so, and nothing else.
//!
//! The book decides where a rule goes: one is put at the end, and before the first rule that decides otherwise for just this
//! question. So it changes no other answer; that is asked before anything is written. To grant, rules that deny parts of it
//! stay (they are told); to revoke, every part must be denied, so the rule goes before the first that allows any.

use super::super::failure::Failure;
use super::super::rules::Reading;
use super::args::GrantArgs;
use super::keys::{unknown_user, unusual};
use super::question::{Names, Question};
use super::users::groups_of;
use super::{Edit, layout, line_of, option};
use crate::access::printable;
use crate::access::rules::{ANONYMOUS, Judgement, Verb};
use std::fmt::Write as _;
use std::path::Path;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table};

/// Parts that are told one by one.
const TOLD_MAX: usize = 10;

/// Let somebody do something, or put a rule that denies it.
pub(in crate::cli) fn grant(args: &GrantArgs) -> Result<String, Failure> {
    let (mut change, question) = Change::begin(args)?;
    change.settle(question, !args.deny, args.deny)?;
    let back = if args.deny { " --deny" } else { "" };
    let back = format!("packmule revoke{}{back} {}", option(&args.config), change.question.as_words());
    change.finish(!args.deny, &back)
}

/// Take back what somebody may do, or a rule that denies it.
pub(in crate::cli) fn revoke(args: &GrantArgs) -> Result<String, Failure> {
    let (mut change, question) = Change::begin(args)?;
    let option = option(&args.config);
    if args.deny {
        if !take_away(&mut change.edit.document, &question, false) {
            return Err(Failure::configuration("no rule denies just this"));
        }
        let is_allowed = change.judged(&question, &[])?.iter().all(|(_, judged)| judged.is_allowed);
        let back = format!("packmule grant{option} --deny {}", question.as_words());
        return change.finish(is_allowed, &back);
    }
    let back = format!("packmule grant{option} {}", question.as_words());
    change.settle(question, false, false)?;
    change.finish(false, &back)
}

/// A change of rules under way.
struct Change {
    edit: Edit,
    question: Question,
    names: Names,
    told: Vec<String>,
}

/// The number of the rule that decided, from 0.
fn number(judged: &Judgement) -> Option<usize> {
    judged.rule.as_deref()?.strip_prefix("rule ")?.split(' ').next()?.parse::<usize>().ok()?.checked_sub(1)
}

fn rules_mut(document: &mut DocumentMut) -> Option<&mut ArrayOfTables> {
    document.get_mut("rule").and_then(Item::as_array_of_tables_mut)
}

/// Take the verbs out of rules that are about just this and allow (or deny) them; whether there were some.
fn take_away(document: &mut DocumentMut, question: &Question, allows: bool) -> bool {
    let (verbs, key) = (question.verbs(), if allows { "allow" } else { "deny" });
    let mut has_taken = false;
    for at in (0..layout::rules(document).map_or(0, ArrayOfTables::len)).rev() {
        let Some(rule) = rules_mut(document).and_then(|rules| rules.get_mut(at)).filter(|rule| question.is_all_of(rule, allows)) else {
            continue;
        };
        let Some(words) = rule.get_mut(key).and_then(Item::as_array_mut) else { continue };
        for word in (0..words.len()).rev() {
            let meant = words.get(word).and_then(|word| word.as_str()).and_then(Verb::meant_by).unwrap_or_default();
            let left: Vec<Verb> = meant.iter().copied().filter(|verb| !verbs.contains(verb)).collect();
            if left.len() < meant.len() {
                has_taken = true;
                left.iter().for_each(|verb| layout::push(words, verb.as_str()));
                layout::remove(words, word);
            }
        }
        if words.is_empty() {
            layout::remove_table(document, "rule", at);
        }
    }
    has_taken
}

/// Put the words that it lacks into the rule.
fn widen(rule: &mut Table, allows: bool, words: &[String]) {
    let Some(there) = rule.get_mut(if allows { "allow" } else { "deny" }).and_then(Item::as_array_mut) else { return };
    for word in words {
        let has = |verb: &Verb| there.iter().filter_map(|word| Verb::meant_by(word.as_str()?)).flatten().any(|known| known == *verb);
        if !Verb::meant_by(word).is_some_and(|meant| meant.iter().all(has)) {
            layout::push(there, word);
        }
    }
}

impl Change {
    fn begin(args: &GrantArgs) -> Result<(Self, Question), Failure> {
        let question = Question::of(args)?;
        let edit = Edit::open(&args.config)?;
        let (book, config, subject) = (&edit.before.book, &edit.before.config, question.subject.as_str());
        let is_known = match subject.strip_prefix('@') {
            Some(group) => config.groups.keys().any(|name| name.get_ref() == group),
            None => ["*", ANONYMOUS].contains(&subject) || book.knows(subject),
        };
        if !is_known {
            let is_group = config.groups.keys().any(|name| name.get_ref() == subject);
            return Err(match subject.strip_prefix('@') {
                Some(group) => Failure::configuration(format!("there is no group '{}'", printable(group))).hint("[groups] names them"),
                None if is_group => unknown_user(&args.config, subject).hint(format!("a group is written @{subject}")),
                None => unknown_user(&args.config, subject),
            });
        }
        if book.is_admin(subject) {
            return Err(Failure::configuration(format!(
                "'{}' may do everything by a key of [ssh] admin_keys: no rule changes that",
                printable(subject)
            )));
        }
        if !config.rule.is_empty() && layout::rules(&edit.document).is_none() {
            return Err(unusual(&args.config));
        }
        let names = question.names().ok_or_else(|| {
            Failure::configuration("there is no name that this pattern is about, as far as can be seen here")
                .hint("a rule with it is written by hand")
        })?;
        Ok((Self { edit, question: question.clone(), names, told: vec![] }, question))
    }

    /// The answers to the question, under the rules as they are now, and to `more` verbs.
    fn judged(&self, question: &Question, more: &[Verb]) -> Result<Vec<(Verb, Judgement)>, Failure> {
        let (document, user) = question.probe(&self.edit.document, &self.edit.before.book);
        let book = self.edit.judged_as(&document)?.book;
        let verbs = [&question.verbs()[..], more].concat();
        Ok(self.names.ask(&book, &user, &verbs).map(|(_, _, verb, judged)| (verb, judged)).collect())
    }

    /// Change rules until the answer is `wanted`, in a rule that says so if it `must_be_said`.
    fn settle(&mut self, mut question: Question, wanted: bool, must_be_said: bool) -> Result<(), Failure> {
        take_away(&mut self.edit.document, &question, !wanted);
        if wanted {
            let may_read =
                self.judged(&Question { words: vec![], ..question.clone() }, &[Verb::Read])?.iter().all(|(_, judged)| judged.is_allowed);
            if !may_read && !question.verbs().contains(&Verb::Read) {
                question.words.insert(0, Verb::Read.as_str().to_owned());
                self.told.push("read is in it, too: what cannot be read cannot be changed".to_owned());
            }
        } else if let Some(names) = question.all_names(&self.edit.before.config) {
            self.names = names;
        }
        let mut own = None;
        for _ in 0..=layout::rules(&self.edit.document).map_or(0, ArrayOfTables::len) + 2 {
            let mut wrong: Vec<(Verb, Option<usize>)> = self
                .judged(&question, &[])?
                .iter()
                .filter(|(_, judged)| judged.is_allowed != wanted)
                .map(|(verb, judged)| (*verb, number(judged)))
                .collect();
            wrong.extend(self.hidden(&question, wanted, own));
            let is_said = !must_be_said || own.is_some() || self.says(&question, wanted);
            if wrong.is_empty() && is_said {
                self.question = question;
                return Ok(());
            }
            let before = wrong.iter().filter_map(|(_, rule)| *rule).min();
            let is_wrong = |word: &&String| {
                wanted
                    || must_be_said
                    || Verb::meant_by(word).unwrap_or_default().iter().any(|verb| wrong.iter().any(|(other, _)| other == verb))
            };
            let words: Vec<String> = question.words.iter().filter(is_wrong).cloned().collect();
            own = Some(match own {
                None => self.put(&question, wanted, &words, before)?,
                Some(at) if before.is_some_and(|before| before < at) => {
                    layout::remove_table(&mut self.edit.document, "rule", at);
                    self.insert(&question, wanted, &words, before)?
                }
                Some(_) => break,
            });
        }
        Err(Failure::configuration("the rules decide otherwise in a way that no rule before them changes")
            .hint("nothing was changed; packmule why tells which"))
    }

    /// Rules that may allow what no answer shows, before our own one.
    fn hidden(&self, question: &Question, wanted: bool, own: Option<usize>) -> Vec<(Verb, Option<usize>)> {
        let rules = layout::rules(&self.edit.document).filter(|_| !wanted).into_iter().flat_map(ArrayOfTables::iter).enumerate();
        let hidden = rules.take(own.unwrap_or(usize::MAX)).filter(|(_, rule)| question.is_hidden_in(rule));
        hidden.flat_map(|(at, _)| question.verbs().into_iter().map(move |verb| (verb, Some(at)))).collect()
    }

    /// Whether a rule about just this allows or denies all of it.
    fn says(&self, question: &Question, allows: bool) -> bool {
        let verbs = |rule: &Table| -> Vec<Verb> {
            let words = rule.get(if allows { "allow" } else { "deny" }).and_then(Item::as_array).into_iter().flatten();
            words.filter_map(|word| Verb::meant_by(word.as_str()?)).flatten().collect()
        };
        let mut rules = layout::rules(&self.edit.document).into_iter().flat_map(ArrayOfTables::iter);
        rules.any(|rule| question.is_all_of(rule, allows) && question.verbs().iter().all(|verb| verbs(rule).contains(verb)))
    }

    /// Say so in a rule that is about just this, or else in a new one, before the rule `before`.
    fn put(&mut self, question: &Question, allows: bool, words: &[String], before: Option<usize>) -> Result<usize, Failure> {
        let all = layout::rules(&self.edit.document).into_iter().flat_map(ArrayOfTables::iter);
        let at = all.take(before.unwrap_or(usize::MAX)).position(|rule| question.is_all_of(rule, allows));
        let Some(at) = at else {
            return self.insert(question, allows, words, before);
        };
        if let Some(rule) = rules_mut(&mut self.edit.document).and_then(|rules| rules.get_mut(at)) {
            widen(rule, allows, words);
        }
        Ok(at)
    }

    fn insert(&mut self, question: &Question, allows: bool, words: &[String], before: Option<usize>) -> Result<usize, Failure> {
        let at = before.unwrap_or_else(|| layout::rules(&self.edit.document).map_or(0, ArrayOfTables::len));
        let is_there = layout::insert_rule(&mut self.edit.document, at, question.rule(allows, words));
        if is_there { Ok(at) } else { Err(unusual(&self.edit.source.file)) }
    }

    /// What else has changed: nothing for anybody else, or it is not written.
    fn look_around(&mut self, after: &Reading) -> Result<(), Failure> {
        let (before, subject) = (&self.edit.before, self.question.subject.as_str());
        let asked = self.question.verbs();
        let others: Vec<&str> =
            before.config.users.keys().map(|name| name.get_ref().as_str()).filter(|name| !is_meant(before, subject, name)).collect();
        for user in others {
            let answers = |reading: &Reading| -> Vec<bool> {
                self.names.ask(&reading.book, user, &Verb::ALL).map(|(_, _, _, judged)| judged.is_allowed).collect()
            };
            if answers(before) != answers(after) {
                return Err(Failure::configuration(format!("this would change what '{}' may do; nothing was changed", printable(user))));
            }
        }
        let user = if subject.starts_with('@') || subject == "*" { return Ok(()) } else { subject };
        let rest: Vec<Verb> = Verb::ALL.into_iter().filter(|verb| !asked.contains(verb)).collect();
        let answers = |reading: &Reading| -> Vec<(Verb, bool)> {
            self.names.ask(&reading.book, user, &rest).map(|(_, _, verb, judged)| (verb, judged.is_allowed)).collect()
        };
        for verb in rest.iter().filter(|verb| **verb != Verb::Read) {
            let of =
                |answers: &[(Verb, bool)]| -> Vec<bool> { answers.iter().filter(|(other, _)| other == verb).map(|(_, is)| *is).collect() };
            let (was, is) = (of(&answers(before)), of(&answers(after)));
            if was != is {
                let may = if is.contains(&true) && !was.contains(&true) { "may" } else { "may no longer" };
                self.told.push(format!("with reading: {user} {may} {verb} as other rules say"));
            }
        }
        Ok(())
    }

    /// Parts of what was granted that other rules deny.
    fn exceptions(&mut self, after: &Reading) {
        let Some(names) = self.question.all_names(&after.config) else { return };
        let members =
            after.config.users.keys().map(|name| name.get_ref().as_str()).filter(|name| is_meant(after, &self.question.subject, name));
        let mut told = vec![];
        for user in members {
            for (repository, name, verb, judged) in names.ask(&after.book, user, &self.question.verbs()) {
                let Some(rule) = judged.rule.filter(|_| !judged.is_allowed && name.is_some()) else { continue };
                let what = format!("{} says no to {user} on {}", rule, shown(repository, name, verb));
                if !told.iter().any(|known: &String| known.starts_with(&format!("{rule} says no to {user}"))) {
                    told.push(what);
                }
            }
        }
        let more = told.len().saturating_sub(TOLD_MAX);
        self.told.extend(told.into_iter().take(TOLD_MAX).map(|what| format!("still, {what}")));
        if more > 0 {
            self.told.push(format!("and {more} more"));
        }
    }

    fn finish(mut self, is_yes: bool, back: &str) -> Result<String, Failure> {
        let after = self.edit.judged()?;
        self.look_around(&after)?;
        if is_yes {
            self.exceptions(&after);
        }
        let judged = self.judged(&self.question, &[])?;
        let is_changed = self.edit.document.to_string() != self.edit.text;
        let (question, file, note) = (self.question.clone(), self.edit.source.file.clone(), self.edit.note());
        let rules: Vec<String> =
            layout::rules(&self.edit.document).into_iter().flat_map(ArrayOfTables::iter).map(Table::to_string).collect();
        let (reading, text) = self.edit.write()?;
        let mut deciding: Vec<usize> = judged.iter().filter_map(|(_, judged)| number(judged)).collect();
        deciding.sort_unstable();
        deciding.dedup();
        let places: Vec<String> = deciding.iter().map(|at| place(&reading, &text, &file, *at)).collect();
        let may = if is_yes { "may" } else { "may not" };
        let on = question.name.as_ref().map_or_else(String::new, |name| format!(" on {name}"));
        let why = if places.is_empty() { "no rule is about it".to_owned() } else { places.join(", ") };
        let before = if is_changed { "" } else { "it is so already: " };
        let mut said = format!("{before}{} {may} {} {}{on}: {why}\n", question.subject, question.words.join(", "), question.repository);
        self.told.iter().for_each(|what| {
            let _ = writeln!(said, "  {what}");
        });
        if is_changed {
            for at in deciding {
                let _ = write!(said, "\n[[rule]]\n{}", rules.get(at).map_or("", String::as_str));
            }
            let _ = writeln!(said, "\nto take it back: {back}");
        }
        Ok(said + note)
    }
}

/// Whether the subject of a rule is about this user.
fn is_meant(reading: &Reading, subject: &str, user: &str) -> bool {
    match subject.strip_prefix('@') {
        Some(group) => groups_of(&reading.config.groups, user).contains(group),
        None => subject == "*" || subject == user,
    }
}

fn shown(repository: &str, name: Option<&str>, verb: Verb) -> String {
    // What was put in for a star is shown as one.
    let star = |text: &str| text.replace(".any", "*");
    format!("{verb}, {} of {}", star(name.unwrap_or("some ref")), star(repository))
}

/// `rule 2 (config.toml:29)`
fn place(reading: &Reading, text: &str, file: &Path, at: usize) -> String {
    let line = reading.config.rule.get(at).map_or(0, |rule| line_of(text, rule.span().start));
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    format!("rule {} ({name}:{line})", at + 1)
}

#[cfg(test)]
mod tests;

//! gitolite's virtual refs, and the `M` of its rules, into rules about paths and into limits.
//!
//! | gitolite's | becomes |
//! |---|---|
//! | `VREF/NAME/REFEX` | a rule with `paths` |
//! | `- VREF/COUNT/n`, `- VREF/COUNT/n/NEWFILES` | a limit with `paths_max`, `new_paths_max` |
//! | `- VREF/MAX_NEWBIN_SIZE/n` | a limit with `new_binary_bytes_max` |
//! | `- VREF/MERGE-CHECK`, `- VREF/MERGE-CHECK/branch`, rules without `M` beside rules with it | a limit with `merges = false` |
//!
//! Others are programs, which are told and left out. Where an earlier rule lets somebody past a check, the limit is not about them.

use super::gitolite::{Translator, WRITING, patterns};
use super::names::{Overlap, Repositories};
use super::options::Holds;
use super::{Draft, DraftLimit, refex};
use crate::access::printable;

/// What the rule `at` says of virtual refs.
pub(super) fn of_rule(translator: &mut Translator<'_>, at: usize, users: &[String]) {
    for virtual_ref in std::mem::take(&mut translator.parts[at].virtual_refs) {
        match virtual_ref.strip_prefix("VREF/NAME/") {
            Some(path) => of_paths(translator, at, users, path),
            None => of_program(translator, at, users, &virtual_ref),
        }
        translator.parts[at].virtual_refs.push(virtual_ref);
    }
}

fn of_paths(translator: &mut Translator<'_>, at: usize, users: &[String], path: &str) {
    let rule = &translator.conf.rules[at];
    let paths = match refex::of_paths(path) {
        Ok(pattern) => vec![pattern.unwrap_or_else(|| "*".to_owned())],
        Err(why) => {
            let fault = rule.remark(path, format!("'{}' cannot be said here: {why}", printable(path)));
            return translator.remarks.fault(fault);
        }
    };
    let these = translator.repositories(rule);
    let outcomes = if rule.permission.denies {
        vec![(WRITING.to_vec(), None, these.to_vec())]
    } else {
        translator.outcomes(&rule.permission, &these, false)
    };
    for (verbs, when, some) in outcomes.into_iter().filter(|(verbs, _, _)| !verbs.is_empty()) {
        let (origin, repositories) = (rule.line.origin(), patterns(&some));
        let allows = !rule.permission.denies;
        let draft = Draft { origin, users: users.to_vec(), repositories, refs: vec![], paths: paths.clone(), verbs, allows, when };
        translator.drafts.rules.push(draft);
    }
}

fn of_program(translator: &mut Translator<'_>, at: usize, users: &[String], virtual_ref: &str) {
    let rule = &translator.conf.rules[at];
    let words: Vec<&str> = virtual_ref.split('/').skip(1).collect();
    let (limit, refs) = match words.as_slice() {
        ["COUNT", number] if is_number(number) => (format!("paths_max = {number}"), vec![]),
        ["COUNT", number, "NEWFILES"] if is_number(number) => (format!("new_paths_max = {number}"), vec![]),
        ["MAX_NEWBIN_SIZE", number] if is_number(number) => (format!("new_binary_bytes_max = {number}"), vec![]),
        ["MERGE-CHECK" | "MERGE_CHECK"] => ("merges = false".to_owned(), vec![]),
        ["MERGE-CHECK" | "MERGE_CHECK", branch @ ..] => match refex::of_refs(&format!("refs/heads/{}", branch.join("/"))) {
            Ok(pattern) => ("merges = false".to_owned(), pattern.into_iter().collect()),
            Err(why) => return translator.remarks.fault(rule.remark(virtual_ref, format!("it cannot be said here: {why}"))),
        },
        _ => return untranslated(translator, at, virtual_ref, words.first().copied().unwrap_or_default()),
    };
    if !rule.permission.denies {
        return; // It lets somebody past the check; `exceptions` heeds it.
    }
    let these = translator.repositories(rule);
    let Some(when) = exceptions(translator, at, virtual_ref, &these) else { return };
    let (origin, repositories) = (rule.line.origin(), patterns(&these));
    translator.drafts.limits.push(DraftLimit { origin, users: users.to_vec(), repositories, refs, limit, when });
}

fn is_number(word: &str) -> bool {
    word.len() < 19 && word.parse::<u64>().is_ok()
}

/// When a limit counts that earlier rules let some past; `None`: never.
fn exceptions(translator: &mut Translator<'_>, at: usize, virtual_ref: &str, these: &[Repositories]) -> Option<Option<String>> {
    let mut exempt: Vec<String> = vec![];
    for other in 0..at {
        let rule = &translator.conf.rules[other];
        let matches = || {
            translator.parts[other]
                .virtual_refs
                .iter()
                .any(|refex| refex::compile(&format!("^{refex}")).is_ok_and(|refex| refex.is_match(virtual_ref.as_bytes())))
        };
        if !rule.permission.writes || !matches() {
            continue;
        }
        let others = translator.repositories(rule);
        let covers = these.iter().all(|word| others.iter().any(|it| word.within(it) == Overlap::All));
        if !covers || !rule.permission.plus {
            let note = rule.remark(virtual_ref, "it lets past the check in some cases only: the limit counts in all");
            translator.remarks.note(note.hinted("make two [[limit]] of it by hand"));
            continue;
        }
        if rule.users.iter().any(|user| user == "@all") {
            return None;
        }
        exempt.extend(rule.users.iter().map(|user| exemption(user)));
    }
    Some(Some(exempt).filter(|exempt| !exempt.is_empty()).map(|exempt| format!("!({})", exempt.join(" || "))))
}

/// Whether somebody is this user or in this group, as an expression.
fn exemption(user: &str) -> String {
    match user.strip_prefix('@') {
        Some(group) => format!("\"{group}\" in groups"),
        None => format!("user == \"{user}\""),
    }
}

fn untranslated(translator: &mut Translator<'_>, at: usize, virtual_ref: &str, program: &str) {
    let rule = &translator.conf.rules[at];
    let hint = match program {
        "EMAIL-CHECK" => "a [[limit]] with author_emails = [\"*@example.com\"] does it",
        "partial-copy" => "rules with deny = [\"read\"] on the refs in question do it, without a second repository",
        "FILETYPE" => "a rule with paths denies files by their names",
        "refex-expr" => "a rule with refs and paths is about both at once",
        "lock" | "VOTES" => "nothing does it yet",
        _ => "a condition (when = \"...\") on time, address or push options may do; else an update hook, see [hooks]",
    };
    let message = format!("'{}' runs a program of gitolite's: left out", printable(virtual_ref));
    translator.remarks.note(rule.remark(virtual_ref, message).hinted(hint));
}

/// Where a rule has `M`, those without it take no merges.
pub(super) fn merges(translator: &mut Translator<'_>) {
    let conf = translator.conf;
    for (at, rule) in conf.rules.iter().enumerate() {
        if !rule.permission.writes || rule.permission.merges {
            continue;
        }
        let Some(refs) = translator.parts[at].refs.clone() else { continue };
        for word in translator.repositories(rule).iter() {
            let condition = match translator.class(word).merges {
                Holds::Never => continue,
                Holds::Always => None,
                Holds::Where(condition) => Some(condition),
            };
            let mut exempt = vec![];
            for (other, it) in conf.rules.iter().enumerate().filter(|(_, it)| it.permission.merges) {
                let within = translator.repositories(it).iter().any(|others| word.within(others) == Overlap::All);
                if within && (translator.parts[other].is_every_ref() || translator.parts[other].refs.as_ref() == Some(&refs)) {
                    exempt.extend(it.users.iter().map(|user| if user == "@all" { "true".to_owned() } else { exemption(user) }));
                } else if it.users.iter().any(|user| rule.users.contains(user)) {
                    let note = it
                        .remark("", "merges that this rule alone lets through may be refused: the limit is about the refs of another rule");
                    translator.remarks.note(note.hinted("name the refs of the [[limit]] with merges = false by hand"));
                }
            }
            if exempt.iter().any(|it| it == "true") {
                continue;
            }
            let but = Some(exempt).filter(|exempt| !exempt.is_empty()).map(|exempt| format!("!({})", exempt.join(" || ")));
            let when = Some(condition.into_iter().chain(but).collect::<Vec<_>>().join(" && ")).filter(|when| !when.is_empty());
            let users = rule.users.iter().map(|user| if user == "@all" { "*".to_owned() } else { user.clone() }).collect();
            let limit = DraftLimit {
                origin: rule.line.origin(),
                users,
                repositories: vec![word.as_pattern().to_owned()],
                refs: refs.clone(),
                limit: "merges = false".to_owned(),
                when,
            };
            translator.drafts.limits.push(limit);
        }
    }
}

//! A question of somebody's, "may I do this, and why?", into an answer that tells no more than they may know.
//!
//! A repository of which they may read nothing looks like one that is not there, and a ref that they may not read like one that no
//! rule is about. About others those may ask who administer the repository.

use super::super::{Explanation, Question, Refusal, printable};
use super::{Roles, RuleBook, Verb};

/// What no rule is about.
const NO_RULE: &str = "no rule is about it";

/// The answer of `book` to what `asker` asks about a repository with these `roles`, or about one that is not there.
pub(super) fn why(book: &RuleBook, asker: &str, roles: Option<&Roles>, question: &Question) -> Explanation {
    let refused = |why: String| Explanation::Refused(Refusal::told(why));
    let Ok(repository) = question.path.name() else {
        return Explanation::Refused(Refusal::hidden("this can be no repository's name"));
    };
    let ask = |who: &str, name: Option<&str>, verb| match roles {
        Some(roles) => book.ask_of(who, repository.as_str(), roles, name.map(Into::into), verb),
        None => book.ask(who, repository.as_str(), name.map(Into::into), verb),
    };
    if !ask(asker, None, Verb::Read).is_allowed {
        return Explanation::Refused(Refusal::hidden("no rule lets them read it"));
    }
    let Some(verb) = Verb::ALL.into_iter().find(|verb| verb.as_str() == question.verb) else {
        let known = Verb::ALL.map(Verb::as_str).join(", ");
        return refused(format!("'{}' is nothing that one may do; these are: {known}", printable(&question.verb)));
    };
    if question.name.is_some() && !verb.is_about_refs() {
        return refused(format!("{verb} is not about a ref: leave the ref out"));
    }
    let administers = ask(asker, None, Verb::Admin).is_allowed;
    let about = match &question.about {
        None => asker,
        Some(other) if other.as_str() == asker => asker,
        Some(_) if !administers => return refused("about others those may ask who administer the repository".to_owned()),
        Some(other) if !book.knows(other.as_str()) => return refused(format!("there is no user '{}'", printable(other.as_str()))),
        Some(other) => other.as_str(),
    };
    let name = question.name.as_deref();
    let judged = ask(about, name, verb);
    if !judged.is_allowed && !administers && name.is_some() && !ask(asker, name, Verb::Read).is_allowed {
        return Explanation::No(NO_RULE.to_owned());
    }
    let because =
        judged.rule.unwrap_or_else(|| if book.is_admin(about) { "an administrator's key may do everything" } else { NO_RULE }.to_owned());
    if judged.is_allowed { Explanation::Yes(because) } else { Explanation::No(because) }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Command, Decision, Driver, RequestPath, Transport, UserId};
    use super::super::tests::{book, rules_of};
    use super::*;

    const TEXT: &str = r#"
[users.ann]
[users.bob]
[users.eve]
[[rule]]
users = ["bob"]
repositories = ["plans"]
refs = ["secret"]
deny = ["read"]
[[rule]]
users = ["ann", "bob"]
repositories = ["plans"]
allow = ["read", "update"]
[[rule]]
users = ["ann"]
repositories = ["plans"]
allow = ["admin"]
[[rule]]
users = ["bob"]
repositories = ["bob/*"]
allow = ["read", "create-repository"]
"#;

    #[test]
    fn an_answer_tells_no_more_than_one_may_know() {
        let book = book(TEXT);
        let said = |asker: &str, words: &str| {
            let [about, path, name, verb] = words.split(' ').collect::<Vec<_>>()[..] else { panic!("{words}") };
            let mut question = Question::new(RequestPath::new(path), verb);
            question = if about == "-" { question } else { question.about(UserId::new(about)) };
            question = if name == "-" { question } else { question.to_ref(name) };
            match why(&book, asker, None, &question) {
                Explanation::Yes(because) => format!("yes: {because}"),
                Explanation::No(because) => format!("no: {because}"),
                Explanation::Refused(refusal) => refusal.for_peer().unwrap_or_else(|| "nothing there".to_owned()),
            }
        };
        for (asker, words, answer) in [
            ("bob", "- plans main update", "yes: rule 2 (config.toml:10)"),
            ("bob", "- /plans.git - read", "yes: rule 2 (config.toml:10)"),
            ("bob", "- plans main rewind", "no: no rule is about it"),
            ("bob", "bob plans main update", "yes: rule 2 (config.toml:10)"),
            // What they may not see is not there: a ref like one that no rule is about, a repository like one that is not.
            ("bob", "- plans secret read", "no: no rule is about it"),
            ("bob", "- plans secret update", "no: no rule is about it"),
            ("bob", "- other - read", "nothing there"),
            ("bob", "- other - nonsense", "nothing there"),
            ("bob", "ann other - read", "nothing there"),
            ("eve", "- plans - read", "nothing there"),
            ("eve", "ann plans - read", "nothing there"),
            ("nobody", "- plans - read", "nothing there"),
            ("bob", "- ../plans - read", "nothing there"),
            ("bob", "ann plans - read", "about others those may ask who administer the repository"),
            ("bob", "zoe plans - read", "about others those may ask who administer the repository"),
            ("ann", "bob plans secret read", "no: rule 1 (config.toml:5)"),
            ("ann", "eve plans - read", "no: no rule is about it"),
            ("ann", "zoe plans - read", "there is no user 'zoe'"),
            ("ann", "- plans main admin", "admin is not about a ref: leave the ref out"),
            ("ann", "- plans - admin", "yes: rule 3 (config.toml:14)"),
            ("bob", "- bob/new - create-repository", "yes: rule 4 (config.toml:18)"),
        ] {
            assert_eq!(said(asker, words), answer, "{asker}: {words}");
        }
        assert!(said("ann", "- plans - fly").contains("these are: read, create, update"));
    }

    #[test]
    fn who_may_administer_is_whom_a_rule_lets() {
        let (_root, rules) = rules_of(TEXT);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let may = |who: &str, command: Command, name: &str| {
            let decided = async {
                let user = Driver::user(&rules, &UserId::new(who)).await?;
                Driver::authorise(&rules, &user, command, &RequestPath::new(name), &Transport::in_memory()).await
            };
            match runtime.block_on(decided).expect("an answer") {
                Decision::Granted(grant) => grant.may_administer().to_string(),
                Decision::Refused(refusal) => refusal.for_peer().unwrap_or_else(|| "nothing there".to_owned()),
            }
        };
        for command in [Command::Create, Command::Rename, Command::Delete, Command::Restore, Command::List, Command::Roles] {
            assert_eq!(may("ann", command, "plans"), "true", "{command}");
            let told = may("bob", command, "plans");
            assert!(told.starts_with("you may read 'plans' but not "), "{command}: {told}");
            for (who, name) in [("eve", "plans"), ("ann", "other"), ("nobody", "plans"), ("anonymous", "plans")] {
                assert_eq!(may(who, command, name), "nothing there", "{who}: {command} {name}");
            }
            let is_creation = command == Command::Create;
            assert_eq!(may("bob", command, "bob/new") == "true", is_creation, "{command}");
        }
        assert_eq!(may("ann", Command::UploadPack, "plans"), "false", "what is granted is what was asked about");
    }
}

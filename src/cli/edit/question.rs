//! "May they do this here?" into names that can be asked about, and into rules that are about just this.
//!
//! A book answers for one user, one repository and one ref. A group is asked about through somebody who is in it and nowhere
//! else, a glob and "every ref" through names that they match and that no rule can name: a part that begins with a dot is in
//! no real name. Regular expressions have no such name.

use super::super::config::Config;
use super::super::failure::Failure;
use super::super::rules::whole_name;
use super::args::GrantArgs;
use super::{layout, quoted};
use crate::access::rules::{ANONYMOUS, Judgement, RuleBook, Verb};
use crate::access::{RequestPath, printable};
use std::path::Path;
use toml_edit::{DocumentMut, Item, Table};

/// What a star stands for.
const ANY: &str = ".any";
const EVERYBODY: &str = "*";

/// What is granted or taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// User, `@group`, `*` or `anonymous`.
    pub(super) subject: String,
    pub(super) repository: String,
    /// Its whole name, or a glob of such; none: every ref.
    pub(super) name: Option<String>,
    /// As they stand in rules: `write` is one.
    pub(super) words: Vec<String>,
}

/// Names to ask about.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) repositories: Vec<String>,
    /// None: is there some ref?
    pub(super) refs: Vec<Option<String>>,
}

fn is_glob(pattern: &str) -> bool {
    pattern.contains(['*', '?', '[', ']', '{', '}', '\\'])
}

fn is_expression(pattern: &str) -> bool {
    pattern.len() > 1 && pattern.starts_with('/') && pattern.ends_with('/')
}

/// A name that the pattern matches.
fn witness(pattern: &str) -> Option<String> {
    let mut name = String::new();
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '*' => {
                while letters.next_if_eq(&'*').is_some() {}
                name += ANY;
            }
            '?' => name.push('.'),
            '\\' => name.push(letters.next()?),
            '[' => {
                name.push(letters.next().filter(|first| first.is_alphanumeric())?);
                letters.find(|letter| *letter == ']')?;
            }
            '{' => {
                while let Some(one) = letters.next_if(|letter| ![',', '}'].contains(letter)) {
                    name.push(one);
                }
                letters.find(|letter| *letter == '}')?;
            }
            other => name.push(other),
        }
    }
    (!is_expression(pattern) && !pattern.contains('<')).then_some(name)
}

/// Whether patterns of a repository and of refs match these names.
struct Matcher(Option<RuleBook>);

impl Matcher {
    fn new(repository: &str, name: Option<&str>) -> Self {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        let refs = name.map_or_else(String::new, |name| format!("refs = [{}]\n", quoted(name)));
        let text =
            format!("users.u = {{}}\n[[rule]]\nusers = [\"u\"]\nrepositories = [{}]\n{refs}allow = [\"read\"]\n", quoted(repository));
        let config = Config::of_text(Path::new(""), &text).ok();
        Self(config.and_then(|config| RuleBook::compile(&config.written(), "", &text).ok()))
    }

    fn matches(&self, repository: &str, name: Option<&str>) -> bool {
        self.0.as_ref().is_some_and(|book| book.ask("u", repository, name.map(Into::into), Verb::Read).is_allowed)
    }
}

impl Question {
    /// The question of a command line.
    pub(super) fn of(args: &GrantArgs) -> Result<Self, Failure> {
        let words: Vec<&str> = args.words.iter().flat_map(|word| word.split(',')).filter(|word| !word.is_empty()).collect();
        let is_verb = |word: &&str| Verb::meant_by(word).is_some();
        // "bob website write" and "bob write website" are told apart where only one word is no verb.
        let at = match words.iter().skip(1).filter(|word| !is_verb(word)).count() {
            0 => 0,
            1 if is_verb(&words[0]) => words.iter().position(|word| !is_verb(word)).unwrap_or(0),
            _ => {
                let word = words.iter().skip(1).find(|word| !is_verb(word)).copied().unwrap_or_default();
                let known = Verb::ALL.map(Verb::as_str).join(", ");
                return Err(Failure::configuration(format!("'{}' is nothing that one may do", printable(word)))
                    .hint(format!("these are: {known}, and write for create and update")));
            }
        };
        let repository = words.get(at).copied().unwrap_or_default();
        let mut verbs: Vec<String> = vec![];
        for word in words.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, word)| (*word).to_owned()) {
            if !verbs.contains(&word) {
                verbs.push(word);
            }
        }
        let by_hand = |what: &str| {
            Failure::configuration(format!("'{}' is more than a name or a glob", printable(what)))
                .hint("a rule with it is written by hand; packmule check tells whether it is right, packmule why what it does")
        };
        if let Some(what) =
            [Some(repository), args.name.as_deref()].into_iter().flatten().find(|word| is_expression(word) || word.contains('<'))
        {
            return Err(by_hand(what));
        }
        let repository = if is_glob(repository) {
            repository.trim_start_matches('/').to_owned()
        } else {
            RequestPath::new(repository).name().map_err(|error| Failure::configuration(error.to_string()))?.as_str().to_owned()
        };
        let name = args.name.as_deref().filter(|name| name.chars().any(|letter| letter != '*')).map(whole_name);
        Ok(Self { subject: args.user.clone(), repository, name, words: verbs })
    }

    /// The verbs that its words mean.
    pub(super) fn verbs(&self) -> Vec<Verb> {
        Verb::ALL
            .into_iter()
            .filter(|verb| self.words.iter().filter_map(|word| Verb::meant_by(word)).flatten().any(|meant| meant == *verb))
            .collect()
    }

    /// Such as `bob website write --ref refs/heads/main`.
    pub(super) fn as_words(&self) -> String {
        let name = self.name.as_ref().map_or_else(String::new, |name| format!(" --ref {}", quoted(name)));
        format!("{} {} {}{name}", quoted(&self.subject), quoted(&self.repository), self.words.join(" "))
    }

    /// A rule that says just this.
    pub(super) fn rule(&self, allows: bool, words: &[String]) -> Table {
        let mut table = Table::new();
        table.insert("users", layout::list([self.subject.as_str()], false));
        table.insert("repositories", layout::list([self.repository.as_str()], false));
        if let Some(name) = &self.name {
            table.insert("refs", layout::list([name.as_str()], false));
        }
        table.insert(if allows { "allow" } else { "deny" }, layout::list(words.iter().map(String::as_str), false));
        table
    }

    /// Whether the rule is about this and nothing else, and allows or denies, as asked.
    pub(super) fn is_all_of(&self, rule: &Table, allows: bool) -> bool {
        let list = |key: &str| -> Vec<String> {
            let words = rule.get(key).and_then(Item::as_array).into_iter().flatten();
            words.map(|word| word.as_str().unwrap_or_default().to_owned()).collect()
        };
        let refs: Vec<String> =
            list("refs").iter().filter(|name| name.chars().any(|letter| letter != '*')).map(|name| whole_name(name)).collect();
        let is_every_ref = list("refs").len() > refs.len() || refs.is_empty();
        let is_same_ref = self.name.as_ref().map_or(is_every_ref, |name| !is_every_ref && refs == [name.clone()]);
        let repositories: Vec<String> =
            list("repositories").iter().map(|name| name.trim_matches('/').trim_end_matches(".git").to_owned()).collect();
        let verbs = if allows { "allow" } else { "deny" };
        let has_more = rule.iter().any(|(key, _)| !["users", "repositories", "refs", verbs].contains(&key));
        !has_more
            && rule.contains_key(verbs)
            && list("users") == [self.subject.clone()]
            && repositories == [self.repository.clone()]
            && is_same_ref
    }

    /// Whom to ask about: the user, or somebody new of whom nothing else is known, put into a copy.
    pub(super) fn probe(&self, document: &DocumentMut, book: &RuleBook) -> (DocumentMut, String) {
        let mut copy = document.clone();
        let group = self.subject.strip_prefix('@');
        if group.is_none() && self.subject != EVERYBODY {
            return (copy, self.subject.clone());
        }
        let mut name = "probe".to_owned();
        while book.knows(&name) {
            name.push('-');
        }
        layout::add_user(&mut copy, &name, Table::new());
        let groups = copy.get_mut("groups").and_then(Item::as_table_like_mut);
        if let Some(members) = group.and_then(|group| groups?.get_mut(group)?.as_array_mut()) {
            members.push(name.as_str());
        }
        (copy, name)
    }

    /// The names that stand for it.
    pub(super) fn names(&self) -> Option<Names> {
        let repository = witness(&self.repository)?;
        let refs = match &self.name {
            Some(name) => vec![Some(witness(name)?)],
            None => ["refs/heads/.any", "refs/tags/.any", "refs/.any/.any"].map(|name| Some(name.to_owned())).to_vec(),
        };
        let first = refs.first().and_then(|name| name.as_deref());
        Matcher::new(&self.repository, self.name.as_deref())
            .matches(&repository, first)
            .then(|| Names { repositories: vec![repository], refs })
    }

    /// Those, and all that rules say of parts of it.
    pub(super) fn all_names(&self, config: &Config) -> Option<Names> {
        let mut names = self.names()?;
        let matcher = Matcher::new(&self.repository, self.name.as_deref());
        let (repository, name) = (names.repositories[0].clone(), names.refs[0].clone());
        if self.name.is_none() {
            names.refs.push(None);
        }
        for rule in config.rule.iter().map(|rule| rule.get_ref()) {
            for part in rule.repositories.iter().filter_map(|word| witness(word.get_ref())) {
                if !names.repositories.contains(&part) && matcher.matches(&part, name.as_deref()) {
                    names.repositories.push(part);
                }
            }
            for part in rule.refs.iter().filter_map(|word| witness(&whole_name(word.get_ref()))).map(Some) {
                if !names.refs.contains(&part) && matcher.matches(&repository, part.as_deref()) {
                    names.refs.push(part);
                }
            }
        }
        Some(names)
    }

    /// Whether what this rule allows cannot be seen from the answers to [`Self::all_names`]: it has conditions, or regular
    /// expressions where this is about more than one name.
    pub(super) fn is_hidden_in(&self, rule: &Table) -> bool {
        let words = |key: &str| rule.get(key).and_then(Item::as_array).into_iter().flatten().filter_map(|word| word.as_str());
        let verbs = self.verbs();
        let has_verb = words("allow").filter_map(Verb::meant_by).flatten().any(|verb| verbs.contains(&verb));
        let may_mean = |word: &str| word == self.subject || word.starts_with(['@', '<']) || word == EVERYBODY && self.subject != ANONYMOUS;
        // Placeholders depend on who made a repository and on the roles that they gave.
        let has_placeholders = ["users", "repositories", "refs"].iter().any(|key| words(key).any(|word| word.contains('<')));
        let has_conditions = has_placeholders || rule.iter().any(|(key, _)| !["users", "repositories", "refs", "allow"].contains(&key));
        let is_many = is_glob(&self.repository);
        let may_be_here = words("repositories").any(|word| match (witness(word), is_many) {
            (_, false) => word.contains('<') || Matcher::new(word, None).matches(&self.repository, None),
            (Some(name), true) => is_glob(word) || Matcher::new(&self.repository, None).matches(&name, None),
            (None, true) => true,
        });
        let is_unseen = is_many && words("repositories").any(|word| witness(word).is_none())
            || self.name.as_deref().is_some_and(is_glob) && words("refs").any(|word| witness(word).is_none());
        has_verb && words("users").any(may_mean) && may_be_here && (has_conditions || is_unseen)
    }
}

impl Names {
    /// Every answer, with what was asked about.
    pub(super) fn ask<'a>(
        &'a self,
        book: &'a RuleBook,
        user: &'a str,
        verbs: &'a [Verb],
    ) -> impl Iterator<Item = (&'a str, Option<&'a str>, Verb, Judgement)> {
        let pairs =
            self.repositories.iter().flat_map(|repository| self.refs.iter().map(move |name| (repository.as_str(), name.as_deref())));
        pairs.flat_map(move |(repository, name)| {
            verbs.iter().map(move |verb| {
                let of_ref = name.filter(|_| *verb != Verb::CreateRepository);
                (repository, name, *verb, book.ask(user, repository, of_ref.map(Into::into), *verb))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn question(line: &str) -> Result<Question, Failure> {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let name = words.iter().position(|word| word == "--ref").map(|at| words.drain(at..).nth(1).expect("a ref"));
        let user = words.remove(0);
        Question::of(&GrantArgs { user, words, name, deny: false, config: "config.toml".into() })
    }

    #[test]
    fn words_come_in_either_order() {
        for line in ["bob website read write", "bob read write website", "bob website read,write", "bob /website.git read read write"] {
            let question = question(line).expect(line);
            assert_eq!((question.repository.as_str(), question.words.join(" ").as_str()), ("website", "read write"), "{line}");
        }
        assert_eq!(question("bob read write").expect("a repository of that name").repository, "read");
        let with_ref = question("@staff libs/* write --ref wip/*").expect("a question");
        assert_eq!(with_ref.as_words(), "@staff 'libs/*' write --ref 'refs/heads/wip/*'");
        assert_eq!(with_ref.verbs(), [Verb::Create, Verb::Update]);
        assert_eq!(question("bob x read --ref *").expect("a question").name, None);
        for (line, says) in [("bob website reed", "'reed' is nothing"), ("bob /x-.*/ read", "by hand"), ("bob ../x read", "x")] {
            assert!(question(line).expect_err(line).to_string().contains(says), "{line}");
        }
    }

    #[test]
    fn a_pattern_is_asked_about_by_a_name_that_it_matches_and_no_real_name_has() {
        for (pattern, name) in
            [("website", "website"), ("libs/*", "libs/.any"), ("**/x", ".any/x"), ("v[0-9]?", "v0."), ("{a,b}/x", "a/x"), (r"a\*", "a*")]
        {
            assert_eq!(witness(pattern).as_deref(), Some(name), "{pattern}");
            assert!(Matcher::new(pattern, None).matches(name, None), "{pattern}");
        }
        for pattern in ["/a.*/", "[!a]", "a\\", "home/<user>"] {
            assert_eq!(witness(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn a_rule_is_about_just_this_when_it_says_nothing_else() {
        let rule = |text: &str| text.parse::<DocumentMut>().expect("TOML").as_table().clone();
        let (whole, part) = (question("bob website write").expect("one"), question("bob website write --ref main").expect("one"));
        let head = "users = [\"bob\"]\nrepositories = [\"website.git\"]\n";
        for (more, is_whole, is_part) in [
            ("allow = [\"read\"]", true, false),
            ("refs = [\"*\"]\nallow = [\"read\"]", true, false),
            ("refs = [\"main\"]\nallow = [\"read\"]", false, true),
            ("refs = [\"refs/heads/main\"]\nallow = [\"read\"]", false, true),
            ("refs = [\"main\", \"*\"]\nallow = [\"read\"]", true, false),
            ("deny = [\"read\"]", false, false),
            ("when = \"x\"\nallow = [\"read\"]", false, false),
        ] {
            let rule = rule(&format!("{head}{more}\n"));
            assert_eq!((whole.is_all_of(&rule, true), part.is_all_of(&rule, true)), (is_whole, is_part), "{more}");
        }
        assert!(whole.is_all_of(&whole.rule(false, &["write".to_owned()]), false));
    }
}

//! `packmule rules test`: what `[[test]]` says beside the rules, held against them.
//!
//! ```toml
//! [[test]]
//! user = "bob"
//! repository = "website"
//! ref = "main"          # left out: some ref (can), any ref (cannot)
//! can = ["read"]
//! cannot = ["write"]    # neither create nor update
//! ```
//!
//! The book judges, as of a repository that is not there yet: whoever may make it is its creator. Nothing else reads tests: a server follows rules that fail them.

use super::edit::line_of;
use super::failure::Failure;
use super::rules::{Reading, Source, drawn, whole_name};
use crate::access::rules::{ANONYMOUS, Fault, Judgement, RuleBook, Verb};
use crate::access::{RequestPath, printable};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::Path;
use toml::Spanned;

/// What somebody shall be able to do, and what not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WrittenTest {
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Spanned<String>>,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<Spanned<String>>,
    /// To which ref; none: to any.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub name: Option<Spanned<String>>,
    /// What they may do.
    pub can: Vec<Spanned<String>>,
    /// What they may not.
    pub cannot: Vec<Spanned<String>>,
}

/// One word of a test, ready to be asked.
struct Assertion<'a> {
    user: &'a str,
    repository: String,
    name: Option<String>,
    word: &'a Spanned<String>,
    verbs: Vec<Verb>,
    expected: bool,
}

/// Run the command: a line for each assertion that fails, and how many there are; whether none does.
///
/// # Errors
/// The file is wrong, or a test asks about nobody or nothing.
pub(super) fn run(file: &Path) -> Result<(String, bool), Failure> {
    let source = Source { file: file.to_owned(), home: None, person: None, admin_keys: vec![] };
    let text = super::config::Config::text(file)?;
    let Reading { config, book, .. } = source.read_text(&text)?;
    let shown = file.display().to_string();
    let mut faults = vec![];
    let assertions: Vec<Assertion<'_>> = config.test.iter().flat_map(|test| assertions(test, &book, &mut faults)).collect();
    if !faults.is_empty() {
        return Err(drawn(&faults, &shown, &text));
    }
    if assertions.is_empty() {
        return Ok((format!("{shown} has no tests; [[test]] beside the rules makes one\n"), true));
    }
    let (mut said, mut failed) = (String::new(), 0);
    for assertion in &assertions {
        if let Some(judged) = assertion.failure(&book) {
            failed += 1;
            let line = line_of(&text, assertion.word.span().start);
            let _ = writeln!(said, "{shown}:{line}: {}", assertion.told(&judged));
        }
    }
    let _ = writeln!(said, "{shown}: {} assertions, {failed} fail", assertions.len());
    Ok((said, failed == 0))
}

/// The words of one test; what cannot be asked is a fault.
fn assertions<'a>(test: &'a Spanned<WrittenTest>, book: &RuleBook, faults: &mut Vec<Fault>) -> Vec<Assertion<'a>> {
    let begins = test.span().start;
    let written = test.get_ref();
    let mut fault =
        |message: String, span, hint: Option<&str>| faults.push(Fault { message, span: Some(span), hint: hint.map(str::to_owned) });
    let head = begins..begins + "[[test]]".len();
    let mut lacks = |what: &str| fault(format!("this test lacks {what}"), head.clone(), None);
    if written.user.is_none() {
        lacks("user: whom is it about?");
    }
    if written.repository.is_none() {
        lacks("repository: which?");
    }
    if written.can.is_empty() && written.cannot.is_empty() {
        lacks("can or cannot: what? [\"read\"] for example");
    }
    let (Some(user), Some(repository)) = (&written.user, &written.repository) else { return vec![] };
    if !book.knows(user.get_ref()) && user.get_ref() != ANONYMOUS {
        fault(format!("there is no user '{}'", printable(user.get_ref())), user.span(), Some("[users.NAME] makes one"));
    }
    let path = RequestPath::new(repository.get_ref()).name().map(|name| name.as_str().to_owned());
    if let Err(error) = &path {
        fault(error.to_string(), repository.span(), Some("a test is about one repository, not about a pattern"));
    }
    let mut found = vec![];
    for (word, expected) in written.can.iter().map(|word| (word, true)).chain(written.cannot.iter().map(|word| (word, false))) {
        match (Verb::meant_by(word.get_ref()), &path) {
            (Some(verbs), Ok(repository)) => {
                let name = written.name.as_ref().map(|name| whole_name(name.get_ref()));
                found.push(Assertion { user: user.get_ref(), repository: repository.clone(), name, word, verbs, expected });
            }
            (Some(_), Err(_)) => {}
            (None, _) => {
                let known = Verb::ALL.map(Verb::as_str).join(", ");
                let hint = format!("these are: {known}, and write for create and update");
                fault(format!("'{}' is nothing that one may do", printable(word.get_ref())), word.span(), Some(&hint));
            }
        }
    }
    found
}

impl Assertion<'_> {
    /// The first judgement that is not as expected.
    fn failure(&self, book: &RuleBook) -> Option<(Verb, Judgement)> {
        let judge = |verb: &Verb| {
            let name = self.name.as_deref().filter(|_| verb.is_about_refs()).map(Into::into);
            (*verb, book.ask(self.user, &self.repository, name, *verb))
        };
        self.verbs.iter().map(judge).find(|(_, judged)| judged.is_allowed != self.expected)
    }

    fn told(&self, (verb, judged): &(Verb, Judgement)) -> String {
        let (is, should) = if judged.is_allowed { ("can", "should not") } else { ("cannot", "should") };
        let name = self.name.as_ref().map_or_else(String::new, |name| format!(" {}", printable(name)));
        // A yes without a rule is that of somebody who needs none.
        let none = if judged.is_allowed { "they may do everything" } else { "no rule is about it" };
        let rule = judged.rule.as_deref().unwrap_or(none);
        format!("{} {is} {verb}{name} in {}, and {should}: {rule}", printable(self.user), printable(&self.repository))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"
[users.ann]
[users.bob]
[[rule]]
users = ["bob"]
repositories = ["website"]
refs = ["secret"]
deny = ["read"]
[[rule]]
users = ["*"]
repositories = ["website"]
allow = ["read", "create"]
"#;

    fn tested(tests: &str) -> Result<(String, bool), String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config.toml");
        std::fs::write(&file, format!("{RULES}{tests}")).expect("written");
        let bare = |text: String| text.replace(&format!("{}/", folder.path().display()), "");
        run(&file).map(|(said, is_right)| (bare(said), is_right)).map_err(|failure| bare(failure.to_string()))
    }

    #[test]
    fn what_holds_is_counted_and_what_does_not_is_told_with_its_rule() {
        let right = "[[test]]\nuser = \"bob\"\nrepository = \"website\"\ncan = [\"read\", \"create\"]\ncannot = [\"delete\"]\n\
                     [[test]]\nuser = \"anonymous\"\nrepository = \"website\"\ncannot = [\"read\"]\n";
        assert_eq!(tested(right), Ok(("config.toml: 4 assertions, 0 fail\n".to_owned(), true)));
        let wrong = "[[test]]\nuser = \"bob\"\nrepository = \"website\"\nref = \"secret\"\ncan = [\n  \"read\",\n]\n\
                     [[test]]\nuser = \"ann\"\nrepository = \"website\"\nref = \"secret\"\ncan = [\"write\"]\ncannot = [\"read\"]\n";
        let expected = "config.toml:18: bob cannot read refs/heads/secret in website, and should: rule 1 (config.toml:4)
config.toml:24: ann cannot update refs/heads/secret in website, and should: no rule is about it
config.toml:25: ann can read refs/heads/secret in website, and should not: rule 2 (config.toml:9)
config.toml: 3 assertions, 3 fail
";
        assert_eq!(tested(wrong), Ok((expected.to_owned(), false)));
        assert_eq!(tested(""), Ok(("config.toml has no tests; [[test]] beside the rules makes one\n".to_owned(), true)));
    }

    #[test]
    fn a_test_about_nobody_or_nothing_is_a_mistake() {
        let text = "[[test]]\nuser = \"eve\"\nrepository = \"../x\"\ncan = [\"reed\"]\n[[test]]\n";
        let said = tested(text).expect_err("mistakes");
        for says in [
            "there is no user 'eve'\n --> config.toml:14:8",
            "'reed' is nothing that one may do\n --> config.toml:16:8",
            "not about a pattern",
            "lacks user",
            "lacks repository",
            "lacks can",
        ] {
            assert!(said.contains(says), "{says}: {said}");
        }
        assert!(tested("[[test]]\nusers = [\"ann\"]\n").expect_err("no such field").contains("unknown field `users`"));
    }
}

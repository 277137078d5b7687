//! The text of a `when` into a yes or no: the Common Expression Language, over who asks what, from where, and when.
//!
//! | variable | is |
//! |---|---|
//! | `user`, `groups` | a name, and the names of all groups that they are in |
//! | `repository`, `ref`, `verb` | names, and one of the verbs of rules |
//! | `command` | `git-upload-pack`, `git-receive-pack`, `create`, `rename`, ... |
//! | `transport`, `source` | `ssh`, ..., and the address of the client as text, with `source_in("10.0.0.0/8")` |
//! | `options` | the push options, a list; empty but while a push is judged |
//! | `now` | a timestamp: `now.getHours("Europe/Berlin")` |
//!
//! What is no expression, names something else, or gives no yes or no for a question made up for the purpose is a fault when it is
//! read: a fault behind an `||` that was not needed then is met when it is. Limits: 1,024 bytes, brackets 24 deep, one macro (`exists`, `all`, `map`, ...).

use super::verb::Verb;
use crate::access::{Command, Transport, is_network, network_holds};
use bstr::{BStr, BString};
use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::{Context, Env, ExecutionError, Program, Value};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};

const TEXT_BYTES_MAX: usize = 1_024;
const BRACKETS_MAX: usize = 24;
const MACROS_MAX: usize = 1;
const VARIABLES: [&str; 10] = ["user", "groups", "repository", "ref", "verb", "command", "transport", "source", "options", "now"];
/// What is not known as long as no single ref is judged.
const OF_ONE_REF: [&str; 3] = ["ref", "verb", "options"];

static STANDARD: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// An expression.
#[derive(Debug)]
pub(super) struct Condition {
    program: Program,
    /// It asks nothing about one ref or one push.
    is_settled: bool,
}

/// How a question came, and when.
#[derive(Clone, Debug)]
pub(super) struct Way {
    command: &'static str,
    transport: &'static str,
    source: Option<IpAddr>,
    now: SystemTime,
}

impl Way {
    pub(super) fn of(command: Command, transport: &Transport) -> Self {
        Self { command: words_of(command), transport: transport.kind().as_str(), source: transport.peer_ip(), now: SystemTime::now() }
    }

    /// Over SSH, from nowhere, to do this.
    pub(super) fn to_do(verb: Verb) -> Self {
        let command = words_of(if verb == Verb::Read { Command::UploadPack } else { Command::ReceivePack });
        Self { command, transport: "ssh", source: None, now: SystemTime::now() }
    }
}

fn words_of(command: Command) -> &'static str {
    match command {
        Command::UploadPack => "git-upload-pack",
        Command::ReceivePack => "git-receive-pack",
        other => other.as_str(),
    }
}

/// Everything about a question but the ref.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) user: String,
    pub(super) groups: Vec<String>,
    pub(super) repository: String,
    pub(super) way: Way,
}

/// What is done to one ref.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment<'a> {
    pub(super) verb: Verb,
    pub(super) name: &'a BStr,
    pub(super) options: &'a [BString],
}

impl Condition {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("a condition has {TEXT_BYTES_MAX} bytes at most"));
        }
        let mut depth = 0_usize;
        for letter in text.chars() {
            depth = if "([{".contains(letter) { depth + 1 } else { depth.saturating_sub(usize::from(")]}".contains(letter))) };
            if depth > BRACKETS_MAX {
                return Err(format!("brackets are {BRACKETS_MAX} deep at most"));
            }
        }
        let no_expression = || "no expression".to_owned();
        let program = catch_unwind(|| Program::compile(text)).map_err(|_| no_expression())?;
        let program = program.map_err(|errors| errors.errors.first().map_or_else(no_expression, |error| error.msg.clone()))?;
        if count_macros(program.expression()) > MACROS_MAX {
            return Err(format!("{MACROS_MAX} of exists, all, map, filter and exists_one can be in a condition"));
        }
        let is_settled = !OF_ONE_REF.iter().any(|name| program.references().has_variable(name));
        let condition = Self { program, is_settled };
        let scene = Scene {
            user: "ann".to_owned(),
            groups: vec!["staff".to_owned()],
            repository: "website".to_owned(),
            way: Way { source: Some([192, 0, 2, 1].into()), ..Way::to_do(Verb::Create) },
        };
        let moment = Moment { verb: Verb::Create, name: "refs/heads/main".into(), options: &["review".into()] };
        condition.holds(&scene, Some(&moment)).map(|_| condition)
    }

    /// Whether it holds; `None` of it where that depends on one ref, and there is none.
    ///
    /// # Errors
    /// It cannot be told, and why.
    pub(super) fn holds_for(&self, scene: &Scene, moment: Option<&Moment<'_>>) -> Option<Result<bool, String>> {
        (self.is_settled || moment.is_some()).then(|| self.holds(scene, moment))
    }

    fn holds(&self, scene: &Scene, moment: Option<&Moment<'_>>) -> Result<bool, String> {
        let answered = catch_unwind(AssertUnwindSafe(|| self.program.execute(&context(scene, moment)?)));
        match answered.map_err(|_| "its evaluation panicked".to_owned())? {
            Ok(Value::Bool(is_true)) => Ok(is_true),
            Ok(_) => Err("it is neither true nor false".to_owned()),
            Err(ExecutionError::UndeclaredReference(name)) => {
                Err(format!("'{name}' means nothing here: these do: {}, source_in(\"10.0.0.0/8\")", VARIABLES.join(", ")))
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

fn context(scene: &Scene, moment: Option<&Moment<'_>>) -> Result<Context<'static, 'static>, ExecutionError> {
    let mut context = Context::with_env(STANDARD.clone());
    let texts = |words: &mut dyn Iterator<Item = String>| Value::List(Arc::new(words.map(Value::from).collect()));
    let way = &scene.way;
    let now_ms = way.now.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    let now = chrono::DateTime::from_timestamp_millis(now_ms).unwrap_or_default();
    let source = way.source;
    for (name, value) in [
        ("user", Value::from(scene.user.clone())),
        ("groups", texts(&mut scene.groups.iter().cloned())),
        ("repository", Value::from(scene.repository.clone())),
        ("verb", Value::from(moment.map_or("", |moment| moment.verb.as_str()))),
        ("ref", Value::from(moment.map_or_else(String::new, |moment| moment.name.to_string()))),
        ("options", texts(&mut moment.map_or(&[][..], |moment| moment.options).iter().map(ToString::to_string))),
        ("command", Value::from(way.command)),
        ("transport", Value::from(way.transport)),
        ("source", Value::from(source.map_or_else(String::new, |source| source.to_string()))),
        ("now", Value::Timestamp(now.fixed_offset())),
    ] {
        context.add_variable_from_value(name, value);
    }
    let source_in = move |network: Arc<String>| -> Result<Value, ExecutionError> {
        if !is_network(&network) {
            return Err(ExecutionError::function_error("source_in", format!("'{network}' is no address and no network")));
        }
        Ok(Value::Bool(source.is_some_and(|source| network_holds(&network, source) == Some(true))))
    };
    context.add_function("source_in", source_in).map_err(|error| ExecutionError::function_error("source_in", error))?;
    Ok(context)
}

fn count_macros(expression: &IdedExpr) -> usize {
    let all = |inner: &[IdedExpr]| inner.iter().map(count_macros).sum::<usize>();
    match &expression.expr {
        Expr::Call(call) => call.target.as_deref().map_or(0, count_macros) + all(&call.args),
        Expr::Comprehension(inner) => {
            let parts = [&inner.iter_range, &inner.accu_init, &inner.loop_cond, &inner.loop_step, &inner.result];
            1 + parts.into_iter().map(count_macros).sum::<usize>()
        }
        Expr::List(list) => all(&list.elements),
        Expr::Select(select) => count_macros(&select.operand),
        Expr::Map(map) => map.entries.iter().map(|entry| count_entry(&entry.expr)).sum(),
        Expr::Struct(made) => made.entries.iter().map(|entry| count_entry(&entry.expr)).sum(),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => 0,
    }
}

fn count_entry(entry: &EntryExpr) -> usize {
    match entry {
        EntryExpr::StructField(field) => count_macros(&field.value),
        EntryExpr::MapEntry(entry) => count_macros(&entry.key) + count_macros(&entry.value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn scene() -> Scene {
        // A Sunday.
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000 - 1_700_000_000 % 86_400 - 2 * 86_400 + 13 * 3600);
        let way = Way { command: "git-receive-pack", transport: "ssh", source: Some([10, 1, 2, 3].into()), now };
        Scene { user: "ann".to_owned(), groups: vec!["staff".to_owned()], repository: "libs/x".to_owned(), way }
    }

    #[test]
    fn a_condition_sees_who_asks_what_from_where_and_when() {
        let moment = Moment { verb: Verb::Update, name: "refs/heads/main".into(), options: &["review=7".into()] };
        for (text, holds) in [
            ("user == 'ann' && 'staff' in groups", true),
            ("repository.startsWith('libs/') && ref.endsWith('/main') && verb == 'update'", true),
            ("source_in('10.0.0.0/8') && !source_in('10.2.0.0/16') && source == '10.1.2.3'", true),
            ("options.exists(option, option.startsWith('review='))", true),
            ("size(options) == 0 || command == 'git-upload-pack'", false),
            ("now.getDayOfWeek() == 0 && now.getHours() == 13 && now.getHours('Asia/Tokyo') == 22", true),
            ("transport == 'http'", false),
            ("repository.matches('^libs/[a-z]$')", true),
        ] {
            let condition = Condition::read(text).expect(text);
            assert_eq!(condition.holds_for(&scene(), Some(&moment)), Some(Ok(holds)), "{text}");
        }
        let of_ref = Condition::read("ref == 'refs/heads/main'").expect("right");
        assert_eq!(of_ref.holds_for(&scene(), None), None);
        assert_eq!(Condition::read("user == 'ann'").expect("right").holds_for(&scene(), None), Some(Ok(true)));
    }

    #[test]
    fn what_is_no_yes_or_no_is_told() {
        for (text, says) in [
            ("user ==", ""),
            ("", ""),
            ("user", "neither true nor false"),
            ("usr == 'ann'", "'usr' means nothing here"),
            ("lower(user) == 'ann'", "'lower' means nothing here"),
            ("user < 3", "overload"),
            ("source_in('10.0.0.0/33')", "no network"),
            ("groups.exists(a, groups.exists(b, a == b))", "1 of exists"),
            (&"(".repeat(30), "24 deep"),
            (&"!".repeat(2000), "1024 bytes"),
        ] {
            let fault = Condition::read(text).expect_err(text);
            assert!(fault.contains(says), "{text}: {fault}");
        }
        // What only some questions meet is a fault when they do.
        let condition = Condition::read("user == 'ann' || groups[7] == 'x'").expect("right for the question made up");
        let mut eve = scene();
        eve.user = "eve".to_owned();
        assert!(matches!(condition.holds_for(&eve, None), Some(Err(_))));
    }
}

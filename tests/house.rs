//! The house rules as a test: floors look down only, no subprocess, no tokio below `access`, files and functions stay small.
//!
//! Each fault names its rule and the way out. The second half feeds every rule a made-up source that breaks it.

use std::fs;
use std::path::Path;

#[path = "house/source.rs"]
mod source;

use source::{Source, find_all, is_word, line_of, words};

/// Lowest first: a floor may use itself and the floors before it.
const FLOORS: [&str; 10] = ["base", "wire", "pack", "store", "walk", "tend", "serve", "access", "transport", "cli"];
/// The one place where a program may be started.
const HOOK_RUNNER: &str = "src/serve/hooks/run.rs";
/// The one place where unsafe code may stand.
const UNSAFE_FILE: &str = "src/store/map.rs";
/// Lines of code in one file, tests and comments not counted.
const FILE_LINES_MAX: usize = 500;
/// Lines of code in one file of tests.
const TEST_FILE_LINES_MAX: usize = 800;
/// Lines of one function, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Lines of `src/main.rs`.
const MAIN_LINES_MAX: usize = 60;
/// Everything that a visitor sees at the top.
const TOP_LEVEL: [&str; 11] =
    ["Cargo.lock", "Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT", "README.md", "benches", "config.toml", "fuzz", "src", "target", "tests"];
/// Crates that inflate or deflate.
const ZLIB_CRATES: [&str; 6] = ["flate2", "gix_zlib", "libz_sys", "libz_rs_sys", "miniz_oxide", "zlib_rs"];
/// Where the corpora's variable may be named.
const CORPUS_VARIABLE: (&str, [&str; 3]) = (concat!("PACKMULE_", "TEST_TOOLS"), ["tests/", "benches/", ".ci/"]);
/// Words that have no business in the project; spelled in halves so that this file does not hold them.
const FOREIGN_WORDS: [(&str, &str); 6] = [
    (concat!("/wo", "rk/"), "a path of somebody's machine: make paths relative, or take them from the environment"),
    (concat!("/ro", "ot/"), "a path of somebody's machine: make paths relative, or take them from the environment"),
    (concat!("crates", ".io"), "the host of a package registry: say `cargo` and the crate's name"),
    (concat!("npm", "js.com"), "the host of a package registry: say the package's name"),
    (concat!("Clau", "de"), "the project speaks of itself alone"),
    (concat!("Open", "AI"), "the project speaks of itself alone"),
];

/// A rule: what it finds wrong in one file, as (line, what is wrong and the way out).
type Rule = fn(&Source) -> Vec<(usize, String)>;

/// Rules on sources beneath `src/`.
const SOURCE_RULES: [Rule; 10] = [
    header,
    floor_order,
    no_subprocess,
    no_async_below_access,
    no_unsafe,
    no_unwrap,
    no_printing_below_cli,
    no_stubs,
    file_size,
    function_size,
];
/// Rules on tests, benches and fuzz targets.
const TEST_RULES: [Rule; 3] = [header, test_file_size, function_size];

fn header(source: &Source) -> Vec<(usize, String)> {
    let first = source.text.lines().next().unwrap_or_default();
    if first.starts_with("//! ") {
        return vec![];
    }
    vec![(1, "a file begins with `//!`: one sentence on what it turns into what".into())]
}

fn floor_order(source: &Source) -> Vec<(usize, String)> {
    let Some(here) = source.floor().and_then(|floor| FLOORS.iter().position(|name| *name == floor)) else { return vec![] };
    let mut faults = vec![];
    for at in words(&source.code, "crate") {
        for name in path_heads(&source.code[at + "crate".len()..]) {
            if FLOORS.iter().position(|floor| *floor == name).is_some_and(|there| there > here) {
                let way_out = "move the shared part down, or pass what is needed in as a value or a trait";
                faults.push((line_of(&source.code, at), format!("`{}` looks up to `{name}`: {way_out}", FLOORS[here])));
            }
        }
    }
    let to_the_root = vec!["super"; source.depth()].join("::");
    for at in find_all(&source.code, &to_the_root) {
        if source.code[at + to_the_root.len()..].starts_with("::") {
            faults.push((
                line_of(&source.code, at),
                "`super` climbs to the crate's root: write `crate::`, so that floors can be read off".into(),
            ));
        }
    }
    faults
}

/// The first names behind `crate`: one for `::a::b`, several for `::{a::b, c}`.
fn path_heads(rest: &str) -> Vec<String> {
    let Some(rest) = rest.strip_prefix("::") else { return vec![] };
    let name = |text: &str| text.trim_start().chars().take_while(|c| is_word(*c)).collect::<String>();
    let Some(group) = rest.trim_start().strip_prefix('{') else { return vec![name(rest)] };
    let (mut depth, mut heads, mut begin) = (0, vec![], 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                heads.push(name(&group[begin..at]));
                begin = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    heads
}

/// Faults at every place of `needles`, with one way out.
fn banned(source: &Source, needles: &[&str], way_out: &str) -> Vec<(usize, String)> {
    let mut faults = vec![];
    for needle in needles {
        let within_word = |at: usize| needle.starts_with(is_word) && source.code[..at].chars().next_back().is_some_and(is_word);
        for at in find_all(&source.code, needle).filter(|at| !within_word(*at)) {
            faults.push((line_of(&source.code, at), format!("`{needle}` is banned here: {way_out}")));
        }
    }
    faults
}

fn no_subprocess(source: &Source) -> Vec<(usize, String)> {
    if source.path == HOOK_RUNNER {
        return vec![];
    }
    let way_out = format!("nothing is started but hooks, in {HOOK_RUNNER}; do it in process");
    let needles = ["process::Command", "gix_command", "gix::command", "tokio::process", "execve", "posix_spawn"];
    let mut faults = banned(source, &needles, &way_out);
    for at in find_all(&source.code, "process::{") {
        let group = source.code[at..].split('}').next().unwrap_or_default();
        if words(group, "Command").next().is_some() {
            faults.push((line_of(&source.code, at), format!("`process::Command` is banned here: {way_out}")));
        }
    }
    faults
}

fn no_async_below_access(source: &Source) -> Vec<(usize, String)> {
    let below = |floor: &str| FLOORS.iter().take_while(|name| **name != "access").any(|name| *name == floor);
    if !source.floor().is_some_and(below) {
        return vec![];
    }
    banned(source, &["tokio", "russh", "async fn", ".await"], "floors below `access` are sync: take a Read and a Write, or a channel")
}

fn no_unsafe(source: &Source) -> Vec<(usize, String)> {
    let mut faults = vec![];
    if source.path == "src/lib.rs" && !source.code.contains("#![deny(unsafe_code)]") && !source.code.contains("#![forbid(unsafe_code)]") {
        faults.push((1, "`#![deny(unsafe_code)]` belongs into src/lib.rs".into()));
    }
    if source.path != UNSAFE_FILE {
        let places =
            words(&source.code, "unsafe").map(|at| (line_of(&source.code, at), format!("unsafe code may stand in {UNSAFE_FILE} only")));
        faults.extend(places);
    }
    faults
}

fn no_unwrap(source: &Source) -> Vec<(usize, String)> {
    banned(source, &[".unwrap()", ".unwrap_err()"], "return an error, or `expect(\"why it holds\")`")
}

fn no_printing_below_cli(source: &Source) -> Vec<(usize, String)> {
    let way_out = "a library does not print: return it, or use `tracing`; people are spoken to in `cli`";
    let needles: &[&str] = if source.floor() == Some("cli") { &["dbg!"] } else { &["println!", "eprintln!", "print!", "eprint!", "dbg!"] };
    banned(source, needles, way_out)
}

fn no_stubs(source: &Source) -> Vec<(usize, String)> {
    banned(source, &["todo!", "unimplemented!"], "finish it, or leave the way to it out")
}

fn file_size(source: &Source) -> Vec<(usize, String)> {
    if source.path == "src/main.rs" && source.text.lines().count() > MAIN_LINES_MAX {
        return vec![(MAIN_LINES_MAX, format!("main.rs is over {MAIN_LINES_MAX} lines: move it into `cli`"))];
    }
    too_long(source, FILE_LINES_MAX)
}

fn test_file_size(source: &Source) -> Vec<(usize, String)> {
    too_long(source, TEST_FILE_LINES_MAX)
}

fn too_long(source: &Source, lines_max: usize) -> Vec<(usize, String)> {
    match source.code_lines() {
        lines if lines > lines_max => vec![(1, format!("{lines} lines of code, over {lines_max}: split it by what its parts are about"))],
        _ => vec![],
    }
}

fn function_size(source: &Source) -> Vec<(usize, String)> {
    let long = source.functions().into_iter().filter(|(_, _, lines)| *lines > FUNCTION_LINES_MAX);
    long.map(|(line, name, lines)| (line, format!("`{name}` has {lines} lines, over {FUNCTION_LINES_MAX}: give its steps names"))).collect()
}

/// Rules that look at all sources together.
fn one_zlib_file(sources: &[Source]) -> Vec<String> {
    let names_one = |source: &&Source| ZLIB_CRATES.iter().any(|name| words(&source.code, name).next().is_some());
    let files: Vec<_> =
        sources.iter().filter(|source| source.path.starts_with("src/")).filter(names_one).map(|source| &source.path).collect();
    if files.len() < 2 {
        return vec![];
    }
    vec![format!("{files:?}: one file names a zlib crate, so that the choice stays in one place; go through src/pack/zlib.rs")]
}

/// Words of `text`, the file at `path`, that belong elsewhere.
fn foreign_words(path: &str, text: &str) -> Vec<String> {
    let mut faults = vec![];
    for (n, line) in text.lines().enumerate() {
        for (word, why) in FOREIGN_WORDS {
            if line.contains(word) {
                faults.push(format!("{path}:{}: `{word}`: {why}", n + 1));
            }
        }
        let (variable, places) = CORPUS_VARIABLE;
        if line.contains(variable) && !places.iter().any(|place| path.starts_with(place)) {
            faults.push(format!("{path}:{}: `{variable}` may be named in {places:?} only: nothing depends on it but tests", n + 1));
        }
    }
    faults
}

/// Names at the top that a visitor would wonder about.
fn top_level(names: &[String]) -> Vec<String> {
    let strange = names.iter().filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(&name.as_str()));
    strange.map(|name| format!("`{name}` at the top: only {TOP_LEVEL:?} stand there; settings of tools hide in dotfiles")).collect()
}

/// Faults of all `sources`; files that only tests compile obey the rules for tests.
fn source_faults(sources: &[Source]) -> Vec<String> {
    let tests: Vec<String> = sources.iter().flat_map(Source::test_modules).collect();
    let mut faults = one_zlib_file(sources);
    for source in sources {
        let stem = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
        let is_test = !source.path.starts_with("src/") || tests.iter().any(|test| stem == test || stem.starts_with(&format!("{test}/")));
        let rules: &[Rule] = if is_test { &TEST_RULES } else { &SOURCE_RULES };
        for rule in rules {
            faults.extend(rule(source).into_iter().map(|(line, what)| format!("{}:{line}: {what}", source.path)));
        }
    }
    faults
}

/// Every text file beneath `dir` that belongs to the project, as (path from the root, text).
fn read_tree(root: &Path, dir: &str, out: &mut Vec<(String, String)>) {
    let Ok(entries) = fs::read_dir(root.join(dir)) else { return };
    let mut names: Vec<_> = entries.map(|entry| entry.expect("a readable folder").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    for name in names {
        let path = if dir.is_empty() { name.clone() } else { format!("{dir}/{name}") };
        let generated = ["target", ".git", "Cargo.lock", "fuzz/target", "fuzz/corpus", "fuzz/artifacts", "fuzz/Cargo.lock"];
        if generated.contains(&path.as_str()) {
            continue;
        }
        if root.join(&path).is_dir() {
            read_tree(root, &path, out);
        } else if let Ok(text) = fs::read_to_string(root.join(&path)) {
            out.push((path, text));
        }
    }
}

#[test]
fn the_house_is_in_order() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![];
    read_tree(root, "", &mut files);
    let sources: Vec<Source> = files.iter().filter(|(path, _)| path.ends_with(".rs")).map(|(path, text)| Source::new(path, text)).collect();
    assert!(sources.len() > 20, "the sources were not found beneath {}", root.display());
    let mut faults = source_faults(&sources);
    faults.extend(files.iter().flat_map(|(path, text)| foreign_words(path, text)));
    let names: Vec<String> =
        fs::read_dir(root).expect("the root").map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    faults.extend(top_level(&names));
    assert!(faults.is_empty(), "{} faults:\n{}\n", faults.len(), faults.join("\n"));
}

/// The faults of one made-up file.
fn faults_of(path: &str, text: &str) -> Vec<String> {
    source_faults(&[Source::new(path, text)])
}

/// One made-up file breaks exactly the rule whose message holds `message`, on `line`.
#[track_caller]
fn assert_fault(path: &str, text: &str, line: usize, message: &str) {
    let faults = faults_of(path, text);
    let expected = format!("{path}:{line}: ");
    assert!(faults.len() == 1 && faults[0].starts_with(&expected) && faults[0].contains(message), "{faults:#?}");
}

#[test]
fn a_clean_file_has_no_faults() {
    let text = "//! Turns a into b.\nuse crate::base::{self, Cancel};\n/// `.unwrap()` and println! in a comment.\npub fn f() -> &'static str {\n    \
                let _ = '\"';\n    \"tokio and unsafe { \\\" todo!() in a string\"\n}\n#[cfg(test)]\nmod tests {\n    fn g() { None.unwrap() }\n}\n";
    assert_eq!(faults_of("src/serve/x.rs", text), Vec::<String>::new());
}

#[test]
fn a_floor_that_looks_up_is_found() {
    assert_fault("src/pack/x.rs", "//! X.\nuse crate::base;\nuse crate::store::Refs;\n", 3, "`pack` looks up to `store`");
    assert_fault("src/pack/x.rs", "//! X.\nuse crate::{base::{a, b}, cli};\n", 2, "`pack` looks up to `cli`");
    assert_fault("src/pack/x.rs", "//! X.\nuse crate::{\n    base::{a, b},\n    pack, serve::Gate,\n};\n", 2, "looks up to `serve`");
    assert_fault("src/pack/x.rs", "//! X.\nfn f() { crate::walk::g() }\n", 2, "looks up to `walk`");
    assert_fault("src/pack/x.rs", "//! X.\nuse super::super::base;\n", 2, "climbs to the crate's root");
    assert_eq!(faults_of("src/cli/x.rs", "//! X.\nuse crate::{base, pack, transport};\nuse super::y;\n"), Vec::<String>::new());
}

#[test]
fn a_file_without_its_sentence_is_found() {
    assert_fault("src/pack/x.rs", "use crate::base;\n", 1, "begins with `//!`");
    assert_fault("tests/x.rs", "fn f() {}\n", 1, "begins with `//!`");
}

#[test]
fn a_subprocess_is_found_except_in_the_hook_runner() {
    for text in ["use std::process::Command;", "use std::process::{Command, ExitCode};", "fn f() { std::process::Command::new(\"git\"); }"]
    {
        assert_fault("src/cli/x.rs", &format!("//! X.\n{text}\n"), 2, "`process::Command` is banned");
        assert_eq!(faults_of(HOOK_RUNNER, &format!("//! X.\n{text}\n")), Vec::<String>::new());
    }
    assert_eq!(faults_of("src/cli/x.rs", "//! X.\nuse std::process::ExitCode;\n"), Vec::<String>::new());
}

#[test]
fn async_code_is_found_below_access_only() {
    assert_fault("src/serve/x.rs", "//! X.\nuse tokio::sync;\n", 2, "`tokio` is banned");
    assert_fault("src/store/x.rs", "//! X.\nasync fn f() {}\n", 2, "floors below `access` are sync");
    assert_eq!(faults_of("src/access/x.rs", "//! X.\nasync fn f() { tokio::spawn(g()).await }\n"), Vec::<String>::new());
}

#[test]
fn unsafe_code_is_found_except_in_its_file() {
    assert_fault("src/pack/x.rs", "//! X.\nfn f() {\n    unsafe { g() }\n}\n", 3, "unsafe code");
    assert_eq!(faults_of(UNSAFE_FILE, "//! X.\nfn f() { unsafe { g() } }\n"), Vec::<String>::new());
    assert_fault("src/lib.rs", "//! X.\n", 1, "deny(unsafe_code)");
}

#[test]
fn unwrap_printing_and_stubs_are_found() {
    assert_fault("src/cli/x.rs", "//! X.\nfn f() { g().unwrap(); }\n", 2, "expect(");
    assert_fault("src/transport/x.rs", "//! X.\nfn f() { println!(); }\n", 2, "`println!` is banned");
    assert_fault("src/transport/x.rs", "//! X.\nfn f() { eprint!(\"\"); }\n", 2, "`eprint!` is banned");
    assert_eq!(faults_of("src/cli/x.rs", "//! X.\nfn f() { println!(); }\n"), Vec::<String>::new());
    assert_fault("src/cli/x.rs", "//! X.\nfn f() { todo!() }\n", 2, "finish it");
}

#[test]
fn long_files_and_functions_are_found() {
    let body = |lines: usize| "    g();\n".repeat(lines);
    assert_fault("src/pack/x.rs", &format!("//! X.\n\nfn f(a: [u8; 2]) {{\n{}}}\n", body(69)), 3, "`f` has 71 lines");
    assert_eq!(faults_of("src/pack/x.rs", &format!("//! X.\nfn f() {{\n{}}}\n", body(68))), Vec::<String>::new());
    assert_fault("src/pack/x.rs", &format!("//! X.\n// not counted\n{}", "const A: u8 = 0;\n".repeat(501)), 1, "501 lines of code");
    assert_fault("tests/x.rs", &format!("//! X.\n{}", "const A: u8 = 0;\n".repeat(801)), 1, "801 lines of code");
    assert_fault("src/main.rs", &format!("//! X.\n{}", "\n".repeat(60)), MAIN_LINES_MAX, "move it into `cli`");
}

#[test]
fn code_that_only_tests_compile_is_left_alone() {
    let parent = Source::new("src/pack/mod.rs", "//! X.\n#[cfg(test)]\nmod checks;\n");
    let child = Source::new("src/pack/checks.rs", "//! X.\nfn f() { g().unwrap() }\n");
    assert_eq!(source_faults(&[parent, child]), Vec::<String>::new());
}

#[test]
fn a_second_file_that_names_a_zlib_crate_is_found() {
    let file = |path| Source::new(path, "//! X.\nuse gix_zlib::Inflate;\n");
    assert_eq!(source_faults(&[file("src/pack/zlib.rs")]), Vec::<String>::new());
    let faults = source_faults(&[file("src/pack/zlib.rs"), file("src/store/x.rs")]);
    assert!(faults.len() == 1 && faults[0].contains("one file names a zlib crate"), "{faults:?}");
}

#[test]
fn words_from_elsewhere_are_found() {
    for (word, why) in FOREIGN_WORDS {
        let faults = foreign_words("README.md", &format!("a\nb {word}c\n"));
        assert!(faults.len() == 1 && faults[0].starts_with("README.md:2: ") && faults[0].contains(why), "{faults:?}");
    }
    let line = format!("read {}", CORPUS_VARIABLE.0);
    assert_eq!(foreign_words("tests/x.rs", &line), Vec::<String>::new());
    assert!(foreign_words("src/cli/x.rs", &line)[0].contains("nothing depends on it but tests"));
}

#[test]
fn a_stray_name_at_the_top_is_found() {
    let names = ["src", ".ci", "deny.toml", "Cargo.toml"].map(str::to_owned);
    let faults = top_level(&names);
    assert!(faults.len() == 1 && faults[0].contains("`deny.toml` at the top"), "{faults:?}");
}

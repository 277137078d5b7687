//! A configuration and the files that it includes into cleaned lines, each with its place.
//!
//! As gitolite reads them: `#` begins a comment except between double quotes, blanks count as one, a backslash at the end goes on with
//! the next line (gitolite wants that switched on; without it such a line would be an error), `include "FILE"` and
//! `subconf [NAME] "FILE"` take files in whose names may be globs, relative to the folder of the first. No file is taken twice.

use super::{Remark, Remarks, SourceText};
use crate::access::printable;
use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files within files.
const DEPTH_MAX: usize = 64;
/// Bytes of all files.
const BYTES_MAX: u64 = 64 << 20;
/// The part of a configuration that no `subconf` began.
pub(super) const MASTER: &str = "master";

/// One line.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) source: Arc<SourceText>,
    /// Where it begins.
    start: usize,
    number: usize,
    /// Without comment, with single blanks, and blanks around the first `=`.
    pub(super) text: String,
    /// The name of the part that it stands in.
    pub(super) part: String,
}

impl Line {
    /// A remark on the first place where `word` stands in it.
    pub(super) fn remark(&self, word: &str, message: impl Into<String>) -> Remark {
        let rest = &self.source.text[self.start..];
        let line = rest.split_inclusive('\n').next().unwrap_or_default().trim_end();
        let indent = line.len() - line.trim_start().len();
        let span = match line.find(word).filter(|_| !word.is_empty()) {
            Some(at) => self.start + at..self.start + at + word.len(),
            None => self.start + indent..self.start + line.len(),
        };
        Remark { source: self.source.clone(), span: Some(span), message: message.into(), hint: None }
    }

    /// Whether it goes on with the line above, as in files of Python's `ConfigParser`.
    pub(super) fn is_indented(&self) -> bool {
        self.source.text[self.start..].starts_with([' ', '\t'])
    }

    /// `file:line: text`, to stand over what comes of it.
    pub(super) fn origin(&self) -> String {
        format!("{}:{}: {}", printable(&self.source.name), self.number, printable(&self.text))
    }
}

/// All lines of `file` and of what it includes.
pub(super) fn read(file: &Path, remarks: &mut Remarks) -> Vec<Line> {
    let folder = file.parent().unwrap_or(Path::new("")).to_owned();
    let mut reader = Reader { folder, seen: HashSet::new(), bytes: 0, prefixed: HashMap::new(), lines: vec![], remarks };
    match identity(file) {
        Ok(id) => {
            reader.seen.insert(id);
            reader.file(file, MASTER, 0);
        }
        Err(error) => reader.remarks.fault(Remark::about(file, error.to_string())),
    }
    reader.lines
}

fn identity(file: &Path) -> std::io::Result<(u64, u64)> {
    std::fs::metadata(file).map(|data| (data.dev(), data.ino()))
}

struct Reader<'a> {
    folder: PathBuf,
    seen: HashSet<(u64, u64)>,
    bytes: u64,
    /// Groups that a part defines go by the name of the part, too.
    prefixed: HashMap<(String, String), String>,
    lines: Vec<Line>,
    remarks: &'a mut Remarks,
}

impl Reader<'_> {
    fn file(&mut self, file: &Path, part: &str, depth: usize) {
        let size = std::fs::metadata(file).map_or(0, |data| data.len());
        self.bytes = self.bytes.saturating_add(size);
        if depth > DEPTH_MAX || self.bytes > BYTES_MAX {
            self.remarks.fault(Remark::about(file, format!("more than {DEPTH_MAX} files deep, or more than {BYTES_MAX} bytes in all")));
            return;
        }
        let text = match std::fs::read(file) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => return self.remarks.fault(Remark::about(file, error.to_string())),
        };
        let source = Arc::new(SourceText { name: file.display().to_string(), text });
        let (mut start, mut begun): (usize, Option<Line>) = (0, None);
        for (at, raw) in source.text.split_inclusive('\n').enumerate() {
            let cleaned = cleaned(raw);
            let mut line = begun.take().unwrap_or_else(|| Line {
                source: source.clone(),
                start,
                number: at + 1,
                text: String::new(),
                part: part.to_owned(),
            });
            start += raw.len();
            match cleaned.strip_suffix('\\') {
                Some(more) => {
                    line.text += more;
                    begun = Some(line);
                }
                None => {
                    line.text = spaced(&format!("{}{cleaned}", line.text));
                    self.line(line, depth);
                }
            }
        }
        if let Some(line) = begun {
            self.line(line, depth);
        }
    }

    fn line(&mut self, mut line: Line, depth: usize) {
        if line.text.is_empty() {
            return;
        }
        if line.part != MASTER {
            line.text = self.with_prefixes(&line.text, &line.part);
        }
        match line.text.split_once(' ') {
            Some((word @ ("include" | "subconf"), rest)) if !rest.starts_with("= ") => {
                let rest = rest.to_owned();
                self.include(&line, word == "subconf", &rest, depth);
            }
            _ => self.lines.push(line),
        }
    }

    fn include(&mut self, line: &Line, is_part: bool, rest: &str, depth: usize) {
        let quoted = |text: &str| {
            let inner = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote).filter(|inner| !inner.is_empty()).map(str::to_owned);
            inner('"').or_else(|| inner('\''))
        };
        let (name, pattern) = match (quoted(rest), rest.split_once(' ')) {
            (Some(pattern), _) => (None, pattern),
            (None, Some((name, file))) if quoted(file).is_some() => (Some(name.to_owned()), quoted(file).unwrap_or_default()),
            _ => {
                let fault = line.remark(rest, "the name of a file stands between quotes");
                return self.remarks.fault(fault);
            }
        };
        if is_part && line.part != MASTER {
            let message = format!("'{}' is part of the configuration itself and can have no subconf", printable(&line.part));
            return self.remarks.fault(line.remark("", message));
        }
        let files = matching(&self.folder, &pattern);
        if files.is_empty() && !has_glob(&pattern) {
            let note = line.remark(&pattern, "there is no such file; gitolite goes on without it, and so does this");
            self.remarks.note(note);
        }
        for file in files {
            let Some(stem) = file.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".conf")) else {
                let message = format!("'{}' is taken in, and its name does not end in .conf", printable(&file.display().to_string()));
                self.remarks.fault(line.remark(&pattern, message));
                continue;
            };
            match identity(&file) {
                Ok(id) if self.seen.insert(id) => {
                    let part = if is_part { name.as_deref().unwrap_or(stem).to_owned() } else { line.part.clone() };
                    self.file(&file.clone(), &part, depth + 1);
                }
                Ok(_) => {
                    let message = format!("'{}' was taken in before and is not taken in twice", printable(&file.display().to_string()));
                    self.remarks.note(line.remark(&pattern, message));
                }
                Err(error) => self.remarks.fault(line.remark(&pattern, error.to_string())),
            }
        }
    }

    /// Names of groups that a part defines are its own (`Explode.pm`): `@g` in the part `p` is `@p.g`.
    fn with_prefixes(&mut self, text: &str, part: &str) -> String {
        let defined =
            text.strip_prefix('@').and_then(|rest| rest.split_once(" = ")).map(|(name, _)| name).filter(|name| !name.contains(' '));
        let mut words: Vec<String> = text
            .split(' ')
            .map(|word| {
                let own = self.prefixed.get(&(part.to_owned(), word.to_owned()));
                own.filter(|_| word.starts_with('@')).cloned().unwrap_or_else(|| word.to_owned())
            })
            .collect();
        if let Some(name) = defined {
            let own = format!("@{part}.{name}");
            words[0].clone_from(&own);
            self.prefixed.insert((part.to_owned(), format!("@{name}")), own);
        }
        words.join(" ")
    }
}

/// Without its comment and with single blanks.
fn cleaned(raw: &str) -> String {
    let mut end = raw.len();
    let mut rest = raw.char_indices();
    while let Some((at, letter)) = rest.next() {
        match letter {
            '#' => {
                end = at;
                break;
            }
            '"' => match raw[at + 1..].find('"') {
                Some(length) => {
                    let after = at + 1 + length;
                    while rest.next().is_some_and(|(next, _)| next < after) {}
                }
                // A quote that is not closed: whatever follows is no comment.
                None => break,
            },
            _ => {}
        }
    }
    raw[..end].split_whitespace().collect::<Vec<_>>().join(" ")
}

/// With blanks around the first `=`.
fn spaced(text: &str) -> String {
    text.replacen('=', " = ", 1).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn has_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

/// The files that `pattern` names, in order; a relative one counts from `folder`.
fn matching(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![if pattern.starts_with('/') { PathBuf::from("/") } else { folder.to_owned() }];
    for component in pattern.split('/').filter(|component| !component.is_empty()) {
        if !has_glob(component) {
            found.iter_mut().for_each(|path| path.push(component));
            continue;
        }
        let Ok(glob) = globset::GlobBuilder::new(component).literal_separator(true).build() else { return vec![] };
        let matcher = glob.compile_matcher();
        let mut next = vec![];
        for path in found {
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            let names = entries.map(|entry| entry.file_name()).filter(|name| matcher.is_match(Path::new(name)));
            next.extend(names.filter(|name| !name.as_encoded_bytes().starts_with(b".")).map(|name| path.join(name)));
        }
        next.sort();
        found = next;
    }
    found.retain(|path| path.is_file());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_go_and_blanks_are_single() {
        for (raw, text) in [
            ("  repo   foo\tbar # all\n", "repo foo bar"),
            ("RW+=ann", "RW+ = ann"),
            ("desc = \"a # b\" # c", "desc = \"a # b\""),
            ("desc = \"a # b", "desc = \"a # b"),
            ("option a=b=c", "option a = b=c"),
            ("# nothing", ""),
        ] {
            assert_eq!(spaced(&cleaned(raw)), text, "{raw}");
        }
    }

    #[test]
    fn files_are_taken_in_once_in_order_and_lines_go_on() {
        let dir = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("written");
        std::fs::create_dir(dir.path().join("more")).expect("made");
        write("top.conf", "include \"more/*.conf\"\nrepo x \\\n  y\ninclude 'more/a.conf'\ninclude \"none.conf\"\ninclude none.conf\n");
        write("more/b.conf", "repo b\n");
        write("more/a.conf", "repo a\ninclude \"top.conf\"\n");
        let mut remarks = Remarks::default();
        let lines = read(&dir.path().join("top.conf"), &mut remarks);
        assert_eq!(lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["repo a", "repo b", "repo x y"]);
        assert_eq!(remarks.notes.len(), 3, "{:?}", remarks.notes);
        assert_eq!(remarks.faults.len(), 1, "{:?}", remarks.faults);
        assert_eq!(remarks.faults[0].line(), Some((6, "include none.conf")));
    }

    #[test]
    fn groups_of_a_part_bear_its_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("written");
        write("top.conf", "@g = ann\nsubconf \"web.conf\"\nsubconf own \"other.conf\"\n");
        write("web.conf", "repo x\nRW = @g\n@g = bob\nRW = @g @all\n");
        write("other.conf", "RW = @g\nsubconf \"web.conf\"\n");
        let mut remarks = Remarks::default();
        let lines = read(&dir.path().join("top.conf"), &mut remarks);
        let text: Vec<_> = lines.iter().map(|line| format!("{} {}", line.part, line.text)).collect();
        assert_eq!(text, ["master @g = ann", "web repo x", "web RW = @g", "web @web.g = bob", "web RW = @web.g @all", "own RW = @g"]);
        assert_eq!(remarks.faults.len(), 1, "a part has no parts");
    }
}

//! Commands of a push into packets for the hook `proc-receive`, and its answer into what became of each.
//!
//! Source: githooks, "proc-receive"; git-config, `receive.procReceiveRefs`; `builtin/receive-pack.c`
//! (`proc_receive_ref_matches`, `run_proc_receive_hook`, `read_proc_receive_report`). Version 1: we speak first, with what
//! we can (`atomic`, `push-options`); the hook chooses; commands follow, then options; then it reports, with options
//! behind an `ok` as in report-status-v2, and `fall-through` for what we shall do ourselves.
//! Limits: what an answer may hold has the bound that the commands of a push have.

use crate::base::FastMap;
use crate::base::limits::PUSH_COMMAND_BYTES_MAX;
use crate::wire::{Capabilities, Pkt, PktReader, StatusOptions, write_data, write_flush};
use bstr::{BStr, BString, ByteSlice};
use gix_hash::ObjectId;
use std::io::{self, Read, Write};

/// Whether `receive.procReceiveRefs` gives this command to the hook: a pattern is a prefix of whole components, with
/// letters before a colon for what it is about (`a`dd, `d`elete, `m`odify, `!` for all that the prefix is not).
pub(in crate::serve) fn is_given(patterns: &[BString], name: &BStr, old: &ObjectId, new: &ObjectId) -> bool {
    patterns.iter().any(|pattern| {
        let (letters, prefix) = pattern.split_once_str(":").unwrap_or((b"adm", pattern));
        let wants = |letter: u8| letters.contains(&letter);
        let about = match (old.is_null(), new.is_null()) {
            (true, _) if !wants(b'a') => false,
            (_, true) if !wants(b'd') => false,
            (false, false) => wants(b'm'),
            _ => true,
        };
        let prefix = prefix.trim_end_with(|end| end == '/');
        let is_beneath = name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"));
        about && is_beneath != wants(b'!')
    })
}

/// One command as the hook may name it.
#[derive(Clone, Debug)]
pub(in crate::serve) struct Given<'a> {
    pub name: &'a BStr,
    pub old: ObjectId,
    pub new: ObjectId,
    /// It is the hook's to do.
    pub is_its: bool,
}

/// What the hook says of one command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::serve) struct Answer {
    /// `ok` or `ng`.
    pub is_answered: bool,
    /// It is ours to do after all.
    pub falls_through: bool,
    /// Behind `ng`.
    pub refusal: Option<String>,
    /// What was really done, once per `ok`.
    pub reports: Vec<StatusOptions>,
}

/// What came of talking to the hook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::serve) struct Report {
    /// One per command.
    pub answers: Vec<Answer>,
    /// Every command was answered, and well.
    pub is_good: bool,
    /// What was wrong with what it said.
    pub complaint: String,
}

/// What the client chose.
#[derive(Clone, Copy, Debug)]
pub(in crate::serve) struct Chosen<'a> {
    pub is_atomic: bool,
    /// Push options, where the client and we agreed on them.
    pub push_options: Option<&'a [BString]>,
}

/// Talk to the hook: `out` is its standard input.
pub(in crate::serve) fn converse(commands: &[Given<'_>], chosen: Chosen<'_>, out: &mut dyn Write, input: &mut dyn Read) -> Report {
    let mut reader = PktReader::new(input);
    let report = Report { answers: vec![Answer::default(); commands.len()], ..Report::default() };
    let with_options = match negotiate(chosen, &mut &mut *out, &mut reader) {
        Ok(Negotiated { version: 0 | 1, push_options }) => push_options,
        Ok(Negotiated { version, .. }) => return report.with(format!("proc-receive version '{version}' is not supported")),
        Err(_) => return report.with("fail to negotiate version with proc-receive hook".to_owned()),
    };
    if send_commands(commands, &mut &mut *out).is_err() {
        return report.with("fail to write commands to proc-receive hook".to_owned());
    }
    if with_options && send_options(chosen.push_options.unwrap_or_default(), &mut &mut *out).is_err() {
        return report.with("fail to write push-options to proc-receive hook".to_owned());
    }
    let mut listener = Listener::new(commands, report.answers);
    listener.hear(&mut reader);
    listener.finish()
}

impl Report {
    fn with(mut self, complaint: String) -> Self {
        self.complaint = complaint;
        self
    }
}

struct Negotiated {
    version: i64,
    push_options: bool,
}

fn negotiate(chosen: Chosen<'_>, out: &mut impl Write, reader: &mut PktReader<&mut dyn Read>) -> io::Result<Negotiated> {
    let mut words = vec![];
    words.extend(chosen.is_atomic.then_some("atomic"));
    words.extend(chosen.push_options.map(|_| "push-options"));
    let line = if words.is_empty() { "version=1\n".to_owned() } else { format!("version=1\0{}\n", words.join(" ")) };
    write_data(out, line.as_bytes())?;
    write_flush(out)?;
    out.flush()?;
    let mut negotiated = Negotiated { version: 0, push_options: false };
    loop {
        let pkt = reader.expect().map_err(|err| io::Error::other(err.to_string()))?;
        let Some(line) = pkt.text() else { return Ok(negotiated) };
        let Some(rest) = line.strip_prefix(b"version=").filter(|rest| !rest.is_empty()) else { continue };
        let (version, features) = rest.split_once_str("\0").unwrap_or((rest, b""));
        let digits = version.iter().take_while(|byte| byte.is_ascii_digit()).count();
        // As C reads a number; one too big for us is no version of ours either.
        negotiated.version =
            version[..digits].to_str().map_or(0, |digits| if digits.is_empty() { 0 } else { digits.parse().unwrap_or(i64::MAX) });
        negotiated.push_options |= Capabilities::parse(features).has("push-options");
    }
}

fn send_commands(commands: &[Given<'_>], out: &mut impl Write) -> io::Result<()> {
    for command in commands.iter().filter(|command| command.is_its) {
        write_data(out, &[format!("{} {} ", command.old, command.new).as_bytes(), command.name].concat())?;
    }
    write_flush(out)?;
    out.flush()
}

fn send_options(options: &[BString], out: &mut impl Write) -> io::Result<()> {
    options.iter().try_for_each(|option| write_data(out, option))?;
    write_flush(out)?;
    out.flush()
}

/// Bytes of complaints that a pusher is shown (`builtin/receive-pack.c`: `report_message`).
const COMPLAINT_BYTES_MAX: usize = 4_000;

/// Puts together what the hook reports.
struct Listener<'a> {
    commands: &'a [Given<'a>],
    by_name: FastMap<&'a BStr, usize>,
    answers: Vec<Answer>,
    is_good: bool,
    complaint: String,
    /// The command that the last line was about, and whether options may follow.
    about: Option<usize>,
    takes_options: bool,
    /// The next option opens a report of its own.
    is_new: bool,
    complained_of_options: bool,
}

impl<'a> Listener<'a> {
    fn new(commands: &'a [Given<'a>], answers: Vec<Answer>) -> Self {
        let mut by_name = FastMap::default();
        for (at, command) in commands.iter().enumerate() {
            by_name.entry(command.name).or_insert(at);
        }
        Self {
            commands,
            by_name,
            answers,
            is_good: true,
            complaint: String::new(),
            about: None,
            takes_options: false,
            is_new: false,
            complained_of_options: false,
        }
    }

    fn hear(&mut self, reader: &mut PktReader<&mut dyn Read>) {
        let (mut lines, mut bytes) = (0, 0);
        loop {
            match reader.read() {
                Ok(Some(Pkt::Data(data))) => {
                    lines += 1;
                    bytes += data.len();
                    let line = data.strip_suffix(b"\n").unwrap_or(data);
                    // C's strings end there.
                    self.take(line.split_once_str("\0").map_or(line, |(line, _)| line));
                }
                Ok(None) | Err(_) if lines == 0 => {
                    self.complain("proc-receive exited abnormally");
                    // Nobody was answered: git does not even say that no status came.
                    self.answers.iter_mut().for_each(|answer| *answer = Answer::default());
                    return;
                }
                _ => break,
            }
            if bytes > PUSH_COMMAND_BYTES_MAX {
                self.complain("proc-receive reported too much");
                break;
            }
        }
        for (command, answer) in self.commands.iter().zip(&mut self.answers) {
            if command.is_its && !answer.is_answered && !answer.falls_through {
                answer.is_answered = true;
                answer.refusal = Some("proc-receive failed to report status".to_owned());
                self.is_good = false;
            }
        }
    }

    fn finish(self) -> Report {
        let complaint = self.complaint.trim_end_matches('\n').to_owned();
        Report { answers: self.answers, is_good: self.is_good, complaint }
    }

    fn complain(&mut self, what: &str) {
        self.is_good = false;
        if self.complaint.len() + what.len() < COMPLAINT_BYTES_MAX {
            self.complaint.push_str(what);
            self.complaint.push('\n');
        }
    }

    fn take(&mut self, line: &[u8]) {
        let Some((head, rest)) = line.split_once_str(" ") else {
            return self.complain(&format!("proc-receive reported incomplete status line: '{}'", line.as_bstr()));
        };
        if head == b"option" {
            return self.take_option(rest);
        }
        self.takes_options = false;
        let (name, reason) = match rest.split_once_str(" ") {
            Some((name, reason)) => (name.as_bstr(), Some(reason)),
            None => (rest.as_bstr(), None),
        };
        if head != b"ok" && head != b"ng" {
            return self.complain(&format!("proc-receive reported bad status '{}' on ref '{name}'", head.as_bstr()));
        }
        self.about = self.by_name.get(name).copied();
        let Some(at) = self.about else {
            return self.complain(&format!("proc-receive reported status on unknown ref: {name}"));
        };
        if !self.commands[at].is_its || self.answers[at].falls_through {
            return self.complain(&format!("proc-receive reported status on unexpected ref: {name}"));
        }
        self.answers[at].is_answered = true;
        if head == b"ng" {
            self.answers[at].refusal = Some(reason.map_or_else(|| "failed".to_owned(), |reason| reason.to_str_lossy().into_owned()));
            self.is_good = false;
            return;
        }
        self.takes_options = true;
        self.is_new = true;
    }

    fn take_option(&mut self, option: &[u8]) {
        let Some(at) = self.about.filter(|_| self.takes_options) else {
            self.is_good = false;
            if !std::mem::replace(&mut self.complained_of_options, true) {
                self.complain("proc-receive reported 'option' without a matching 'ok/ng' directive");
            }
            return;
        };
        let answer = &mut self.answers[at];
        if std::mem::take(&mut self.is_new) {
            answer.reports.push(StatusOptions::default());
        }
        let Some(report) = answer.reports.last_mut() else { return };
        let (key, value) = match option.split_once_str(" ") {
            Some((key, value)) => (key, Some(value)),
            None => (option, None),
        };
        // As C reads an id: what follows it does not matter.
        let length = self.commands[at].old.kind().len_in_hex();
        let id = || value.and_then(|value| ObjectId::from_hex(value.get(..length)?).ok());
        match key {
            b"refname" => report.refname = value.map(Into::into),
            b"old-oid" => report.old = id().or(report.old),
            b"new-oid" => report.new = id().or(report.new),
            b"forced-update" => report.is_forced = true,
            b"fall-through" => {
                answer.falls_through = true;
                answer.is_answered = false;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::write_text;

    fn id(digit: char) -> ObjectId {
        ObjectId::from_hex(digit.to_string().repeat(40).as_bytes()).expect("hexadecimal")
    }

    fn given(name: &str, is_its: bool) -> Given<'_> {
        Given { name: name.into(), old: id('1'), new: id('2'), is_its }
    }

    /// The hook says `lines` (`None`: a flush); what it heard comes with the report.
    fn hook_says(lines: &[Option<&str>], commands: &[Given<'_>], push_options: Option<&[BString]>) -> (Report, String) {
        let mut said = vec![];
        for line in lines {
            match line {
                Some(line) => write_text(&mut said, line).expect("memory"),
                None => write_flush(&mut said).expect("memory"),
            }
        }
        let mut heard = vec![];
        let report = converse(commands, Chosen { is_atomic: true, push_options }, &mut heard, &mut &said[..]);
        (report, heard.escape_ascii().to_string())
    }

    #[test]
    fn patterns_choose_by_prefix_and_by_what_is_done() {
        let null = ObjectId::null(gix_hash::Kind::Sha1);
        let is_given = |pattern: &str, name: &str, old: &ObjectId, new: &ObjectId| is_given(&[pattern.into()], name.into(), old, new);
        let (a, b) = (id('1'), id('2'));
        for (pattern, name, wanted) in [
            ("refs/for", "refs/for/main", [true; 3]),
            ("refs/for/", "refs/for", [true; 3]),
            ("refs/for", "refs/forth", [false; 3]),
            ("a:refs/for", "refs/for/x", [true, false, false]),
            ("md:refs/for", "refs/for/x", [false, true, true]),
            ("!adm:refs/for", "refs/for/x", [false; 3]),
            ("adm!:refs/for", "refs/heads/x", [true; 3]),
            ("!:refs/for", "refs/heads/x", [false; 3]),
        ] {
            let given = [is_given(pattern, name, &null, &a), is_given(pattern, name, &a, &b), is_given(pattern, name, &a, &null)];
            assert_eq!(given, wanted, "{pattern} {name}");
        }
    }

    #[test]
    fn what_the_hook_did_is_told_with_its_options() {
        let commands = [given("refs/heads/x", false), given("refs/for/a", true), given("refs/for/b", true), given("refs/for/c", true)];
        let option = format!("option old-oid {}", id('3'));
        let lines = [
            Some("version=1\0push-options"),
            None,
            Some("ok refs/for/a"),
            Some("option refname refs/changes/1"),
            Some(&option),
            Some("option forced-update"),
            Some("ok refs/for/a"),
            Some("option refname refs/changes/2"),
            Some("ng refs/for/b no way"),
            Some("ok refs/for/c"),
            Some("option fall-through"),
            None,
        ];
        let (report, heard) = hook_says(&lines, &commands, Some(&["topic=1".into()]));
        assert!(heard.starts_with("0022version=1\\x00atomic push-options\\n0000"), "{heard}");
        assert!(heard.ends_with("refs/for/c0000000btopic=10000") && !heard.contains("refs/heads/x"), "{heard}");
        let refname = |name: &str| StatusOptions { refname: Some(name.into()), ..StatusOptions::default() };
        let first = StatusOptions { old: Some(id('3')), is_forced: true, ..refname("refs/changes/1") };
        assert_eq!(report.answers[1].reports, [first, refname("refs/changes/2")]);
        assert_eq!(report.answers[2].refusal.as_deref(), Some("no way"));
        assert!(report.answers[3].falls_through && !report.answers[0].is_answered && !report.is_good);
        assert_eq!(report.complaint, "");
    }

    #[test]
    fn nonsense_is_named_in_gits_words() {
        let commands = [given("refs/heads/x", false), given("refs/for/a", true)];
        let told = |lines: &[&str]| {
            let lines: Vec<_> = [Some("version=1"), None].into_iter().chain(lines.iter().copied().map(Some)).chain([None]).collect();
            hook_says(&lines, &commands, None).0
        };
        for (lines, complaint) in [
            (&["ok"][..], "proc-receive reported incomplete status line: 'ok'"),
            (&["xx refs/for/a"], "proc-receive reported bad status 'xx' on ref 'refs/for/a'"),
            (&["ok refs/none"], "proc-receive reported status on unknown ref: refs/none"),
            (&["ok refs/heads/x"], "proc-receive reported status on unexpected ref: refs/heads/x"),
            (&["option refname x"], "proc-receive reported 'option' without a matching 'ok/ng' directive"),
        ] {
            let report = told(lines);
            assert_eq!((report.complaint.as_str(), report.is_good), (complaint, false));
            assert_eq!(report.answers[1].refusal.as_deref(), Some("proc-receive failed to report status"));
        }
        let report = told(&["ok refs/for/a", "option old-oid xyz"]);
        assert!(report.is_good && report.answers[1].reports == [StatusOptions::default()], "{report:?}");
        let (report, _) = hook_says(&[Some("version=2"), None], &commands, None);
        assert_eq!(report.complaint, "proc-receive version '2' is not supported");
        let (report, _) = hook_says(&[Some("version=1")], &commands, None);
        assert_eq!(report.complaint, "fail to negotiate version with proc-receive hook");
        let (report, _) = hook_says(&[Some("version=1"), None], &commands, None);
        assert_eq!((report.complaint.as_str(), report.answers[1].is_answered), ("proc-receive exited abnormally", false));
    }
}

//! What happened into one structured line for each login, refusal and command, through `tracing` under [`AUDIT_TARGET`].
//!
//! A line is an event whose message says what it is about (`logged in`, `login refused`, `connection refused`, `penalty begins`, `command`,
//! `lines left out`) and whose fields say the rest: `verdict` in a word, `why` with the rule that decided, and who, with what proof, from where, what,
//! how much and how long. Text is escaped with [`printable`] and cut, and handed over as strings, which subscribers quote: no name
//! can forge a field, a line or a terminal's command. `refs` is an array in JSON. No secret gets here: a proof is a
//! fingerprint or a word.
//!
//! Limits: [`REFS_SHOWN_MAX`] refs of a push, further ones are counted; [`REFUSALS_WRITTEN_MAX`] refusals of one connection, further
//! ones are counted in a line at its end.

use super::limits::{REFS_SHOWN_MAX, REFUSALS_WRITTEN_MAX};
use crate::access::{RequestPath, UserId, is_deceptive, printable};
use crate::serve::{PushStatistics, RefusedCommand};
use gix_hash::ObjectId;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// The target of all these events.
pub const AUDIT_TARGET: &str = "packmule::audit";

/// One connection in its lines.
#[derive(Debug)]
pub(super) struct Audited {
    connection: u64,
    peer: SocketAddr,
    refusals: AtomicU64,
}

/// Somebody who tries to come in.
pub(super) struct Attempt<'a> {
    /// The name that the client gives: a claim.
    pub(super) claims: &'a str,
    /// What it shows, in words.
    pub(super) proof: &'a str,
}

/// A command that sent so many bytes is written down however it ended.
const MUCH_BYTES: u64 = 1 << 20;

/// One command and what became of it.
#[derive(Default)]
pub(super) struct Outcome {
    /// `done`, `refused`, `not found`, `failed`, `too long`, `gone`, `bug`.
    pub(super) verdict: &'static str,
    pub(super) why: Option<String>,
    /// The rule that let them begin, where the driver names one.
    pub(super) rule: Option<String>,
    pub(super) refs: Option<String>,
    /// A ref has another value than before.
    pub(super) has_changed: bool,
    pub(super) objects: u64,
    pub(super) pack_bytes: u64,
    pub(super) created: bool,
    pub(super) sent_bytes: u64,
    pub(super) received_bytes: u64,
    pub(super) duration_ms: u64,
}

/// Who asks for what.
pub(super) struct Asked<'a> {
    pub(super) request: &'a str,
    pub(super) user: &'a UserId,
    pub(super) proof: &'a str,
    /// `upload-pack` and the like, or what was asked for instead of one of them.
    pub(super) service: &'a str,
    pub(super) path: Option<&'a RequestPath>,
}

impl Audited {
    pub(super) fn new(connection: u64, peer: SocketAddr) -> Self {
        Self { connection, peer, refusals: AtomicU64::new(0) }
    }

    /// Somebody came in.
    pub(super) fn logged_in(&self, attempt: &Attempt<'_>, user: &UserId) {
        let (claims, user, proof) = (printable(attempt.claims), printable(user.as_str()), printable(attempt.proof));
        tracing::info!(
            target: AUDIT_TARGET, connection = self.connection, peer = %self.peer, user, claims, proof, verdict = "accepted",
            "logged in"
        );
    }

    /// Somebody did not: `unknown`, `refused`, `penalty` or `failed`.
    pub(super) fn login_refused(&self, attempt: &Attempt<'_>, verdict: &'static str, why: Option<&str>) {
        if self.may_write() {
            let (claims, proof, why) = (printable(attempt.claims), printable(attempt.proof), why.map(printable));
            tracing::info!(
                target: AUDIT_TARGET, connection = self.connection, peer = %self.peer, claims, proof, verdict, why,
                "login refused"
            );
        }
    }

    /// From now on who comes from this address, or claims this name with a password, is not heard for so many seconds.
    pub(super) fn penalty_begins(&self, of: &str, seconds: u64) {
        let of = printable(of);
        tracing::info!(target: AUDIT_TARGET, connection = self.connection, peer = %self.peer, of, seconds, "penalty begins");
    }

    /// A command came to its end, or did not begin.
    pub(super) fn command(&self, asked: &Asked<'_>, outcome: Outcome) {
        // What changed something, or sent much, is no flood of refusals.
        let matters = outcome.verdict == "done" || outcome.has_changed || outcome.sent_bytes >= MUCH_BYTES;
        if !matters && !self.may_write() {
            return;
        }
        let (user, proof) = (printable(asked.user.as_str()), printable(asked.proof));
        let (service, path) = (printable(asked.service), asked.path.map(ToString::to_string));
        let repository = asked.path.and_then(|path| path.name().ok()).map(|name| printable(name.as_str()));
        let Outcome { verdict, why, rule, refs, objects, pack_bytes, created, sent_bytes, received_bytes, duration_ms, .. } = outcome;
        let (why, rule) = (why.as_deref().map(printable), rule.as_deref().map(printable));
        let refs = refs.map(tracing::field::display);
        tracing::info!(
            target: AUDIT_TARGET, connection = self.connection, request = asked.request, peer = %self.peer, user, proof, service, path,
            repository, verdict, why, rule, refs, objects, pack_bytes, created, sent_bytes, received_bytes, duration_ms,
            "command"
        );
    }

    /// The connection's end: what was left out is counted.
    pub(super) fn end(&self) {
        let left_out = self.refusals.load(Ordering::Relaxed).saturating_sub(REFUSALS_WRITTEN_MAX);
        if left_out > 0 {
            tracing::info!(target: AUDIT_TARGET, connection = self.connection, peer = %self.peer, left_out, "lines left out");
        }
    }

    fn may_write(&self) -> bool {
        self.refusals.fetch_add(1, Ordering::Relaxed) < REFUSALS_WRITTEN_MAX
    }
}

/// A connection was closed before anything was said; `closed` of this kind were, this one counted.
pub(super) fn connection_refused(peer: SocketAddr, verdict: &'static str, why: &str, closed: u64) {
    // A flood is told in steps that double, not line by line.
    if closed.is_power_of_two() {
        let why = printable(why);
        tracing::info!(target: AUDIT_TARGET, %peer, verdict, why, closed, "connection refused");
    }
}

/// What a push did to refs, as an array in JSON; `None` where it was about none.
pub(super) fn refs(push: &PushStatistics) -> Option<String> {
    let updated = push.updated.iter().map(|(name, old, new)| (name, old, new, None));
    let refused = push.refusals.iter().map(|RefusedCommand { name, old, new, why }| (name, old, new, Some(why)));
    let all = push.updated.len() as u64 + push.refused;
    if all == 0 {
        return None;
    }
    let mut text = String::from("[");
    // What was refused is shown first: it is bounded, and must not be hidden by what was not.
    let shown = refused.take(REFS_SHOWN_MAX / 2).chain(updated).take(REFS_SHOWN_MAX);
    let mut count = 0;
    for (name, old, new, why) in shown {
        let change = change_of(*old, *new);
        let name = printable(&name.to_string());
        // Writing to a string cannot fail.
        let _ = write!(text, "{}{{\"change\":\"{change}\",\"name\":{},", if count > 0 { "," } else { "" }, json_string(&name));
        let _ = write!(text, "\"old\":\"{old}\",\"new\":\"{new}\",\"verdict\":");
        match why {
            None => text.push_str("\"done\"}"),
            Some(why) => {
                let _ = write!(text, "\"refused\",\"why\":{}}}", json_string(&printable(why)));
            }
        }
        count += 1;
    }
    if all > count {
        let _ = write!(text, ",{{\"further\":{}}}", all - count);
    }
    text.push(']');
    Some(text)
}

fn change_of(old: ObjectId, new: ObjectId) -> &'static str {
    match (old.is_null(), new.is_null()) {
        (true, _) => "create",
        (_, true) => "delete",
        _ => "update",
    }
}

/// `text` in quotes, as RFC 8259 has it (section 7); what a terminal would not show is escaped, too.
pub(crate) fn json_string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            char if is_deceptive(char) => {
                let _ = write!(quoted, "\\u{:04x}", char as u32);
            }
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> ObjectId {
        ObjectId::from_bytes_or_panic(&[byte; 20])
    }

    #[test]
    fn refs_are_told_with_both_values_and_the_rule_and_the_rest_is_counted() {
        let mut push = PushStatistics::default();
        assert_eq!(refs(&push), None);
        push.updated.push(("refs/heads/main".into(), id(1), id(2)));
        push.refusals.push(RefusedCommand { name: "refs/heads/\"x".into(), old: id(0), new: id(3), why: "no\x1b rule 2".into() });
        push.refused = 1;
        let (one, two, three, null) = (id(1), id(2), id(3), id(0));
        assert_eq!(
            refs(&push).as_deref(),
            Some(
                format!(
                    r#"[{{"change":"create","name":"refs/heads/\"x","old":"{null}","new":"{three}","verdict":"refused","why":"no\\u{{1b}} rule 2"}},{{"change":"update","name":"refs/heads/main","old":"{one}","new":"{two}","verdict":"done"}}]"#
                )
                .as_str()
            )
        );
        push.updated = vec![("refs/heads/main".into(), id(1), id(2)); 5_000];
        push.refused = 7_000;
        let text = refs(&push).expect("refs");
        assert_eq!(text.matches("\"old\"").count(), REFS_SHOWN_MAX);
        assert!(text.ends_with(&format!(",{{\"further\":{}}}]", 12_000 - REFS_SHOWN_MAX)), "{text}");
        assert!(text.len() < 30_000);
    }

    #[test]
    fn a_string_of_json_holds_anything() {
        assert_eq!(json_string("a\"b\\c\n\x01ü\u{202e}"), "\"a\\\"b\\\\c\\u000a\\u0001ü\\u202e\"");
    }

    #[test]
    fn refusals_of_one_connection_are_written_up_to_a_number() {
        let audited = Audited::new(1, ([127, 0, 0, 1], 7).into());
        assert_eq!((0..10 * REFUSALS_WRITTEN_MAX).filter(|_| audited.may_write()).count() as u64, REFUSALS_WRITTEN_MAX);
    }
}

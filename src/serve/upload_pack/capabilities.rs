//! The capability table: what upload-pack says it can do, in every version, and under which condition it does it.
//!
//! Source: gitprotocol-capabilities; gitprotocol-v2, "Capabilities"; `serve.c`, `upload-pack.c`. One row drives what is
//! advertised and what is served: what is off cannot be asked for. A row names git's key; where the repository's
//! configuration is silent, the default of the drop-ins (git's own) or of `serve` counts. The rows stand in version 2's
//! order; [`WORDS_V0`] names those of versions 0 and 1 in theirs.

use super::{Conversation, bundle_uri, ls_refs, object_info, promisor, v2};
use crate::serve::Error;
use crate::serve::switch::Switch;
use crate::store::{Settings, Unborn};
use crate::walk::VisibleHead;
use crate::wire::{CommandHead, FetchFeatures, agent};
use bstr::BStr;

pub(super) type Serve = fn(&mut Conversation<'_>, &CommandHead) -> Result<(), Error>;

/// Where version 2 has it.
#[derive(Clone, Copy)]
pub(super) enum V2 {
    /// Nowhere.
    No,
    /// A line of the advertisement, which a client may send back.
    Line,
    /// A command, and what answers it.
    Command(Serve),
    /// A word behind this command.
    Of(&'static str),
}

/// One row.
#[derive(Clone, Copy)]
pub(super) struct Capability {
    name: &'static str,
    v2: V2,
    /// `None`: always on.
    key: Option<Switch>,
    /// What else must hold, and what to say behind `=`; `None`: nothing can be offered.
    value: fn(&Conversation<'_>) -> Option<String>,
}

const fn row(name: &'static str, v2: V2) -> Capability {
    Capability { name, v2, key: None, value: |_| Some(String::new()) }
}

impl Capability {
    const fn value(self, value: fn(&Conversation<'_>) -> Option<String>) -> Self {
        Self { value, ..self }
    }

    const fn key(self, name: &'static str, set: fn(&Settings) -> Option<bool>, drop_in: bool, serve: bool) -> Self {
        Self { key: Some(Switch::new(name, set, drop_in, serve)), ..self }
    }

    /// What to say behind `=`; `None`: it is off.
    fn offered(&self, conversation: &Conversation<'_>) -> Option<String> {
        let on = self.key.is_none_or(|key| key.is_on(conversation.snapshot.settings(), conversation.options.defaults));
        if on { (self.value)(conversation) } else { None }
    }

    fn word(&self, conversation: &Conversation<'_>) -> Option<String> {
        self.offered(conversation).map(|value| if value.is_empty() { self.name.to_owned() } else { format!("{}={value}", self.name) })
    }
}

const FETCH: V2 = V2::Of("fetch");

const LINE: V2 = V2::Line;

/// The table.
#[rustfmt::skip] // a row reads best on few lines
const CAPABILITIES: &[Capability] = &[
    row("agent", LINE).value(|_| Some(agent().to_owned())),
    row("ls-refs", V2::Command(ls_refs::serve)),
    row("unborn", V2::Of("ls-refs"))
        .key("lsrefs.unborn", |set| Some(set.ls_refs_unborn == Unborn::Advertise), true, true),
    row("fetch", V2::Command(v2::fetch)),
    row("shallow", FETCH),
    row("wait-for-done", FETCH),
    row("filter", FETCH)
        .key("uploadpack.allowFilter", |set| set.fetch.allow_filter, false, true),
    row("ref-in-want", FETCH)
        .key("uploadpack.allowRefInWant", |set| set.fetch.allow_ref_in_want, false, true),
    row("sideband-all", FETCH)
        .key("uploadpack.allowSidebandAll", |set| set.fetch.allow_sideband_all, false, true),
    row("packfile-uris", FETCH)
        .key("uploadpack.blobPackfileUri", |set| Some(!set.fetch.blob_packfile_uris.is_empty() || set.fetch.bad_packfile_uri.is_some()), false, false),
    row("server-option", LINE),
    row("object-format", LINE).value(|talk| Some(talk.hash().to_string())),
    row("session-id", LINE).value(|talk| talk.options.session_id.clone())
        .key("transfer.advertiseSID", |set| Some(set.advertise_sid), false, false),
    row("object-info", V2::Command(object_info::serve))
        .key("transfer.advertiseObjectInfo", |set| set.fetch.advertise_object_info, false, true),
    row("bundle-uri", V2::Command(bundle_uri::serve))
        .key("uploadpack.advertiseBundleURIs", |set| set.fetch.advertise_bundle_uris, false, false),
    row("promisor-remote", LINE).value(|talk| promisor::told(&talk.snapshot.settings().fetch.promisors))
        .key("promisor.advertise", |set| set.fetch.advertise_promisors, false, false),
    row("multi_ack", V2::No),
    row("thin-pack", V2::No),
    row("side-band", V2::No),
    row("side-band-64k", V2::No),
    row("ofs-delta", V2::No),
    row("deepen-since", V2::No),
    row("deepen-not", V2::No),
    row("deepen-relative", V2::No),
    row("no-progress", V2::No),
    row("include-tag", V2::No),
    row("multi_ack_detailed", V2::No),
    row("allow-tip-sha1-in-want", V2::No)
        .key("uploadpack.allowTipSHA1InWant", |set| set.fetch.allow_tip_sha1_in_want.then_some(true), false, true),
    row("allow-reachable-sha1-in-want", V2::No)
        .key("uploadpack.allowReachableSHA1InWant", |set| set.fetch.allow_reachable_sha1_in_want.then_some(true), false, true),
    row("no-done", V2::No).value(|talk| (talk.options.stateless || talk.options.advertise_only).then(String::new)),
    row("symref", V2::No).value(|talk| match talk.refs.head() {
        VisibleHead::Born(_, Some(target)) => Some(format!("HEAD:{target}")),
        _ => None,
    }),
];

/// What versions 0 and 1 have, in git's order (`upload-pack.c`: `write_v0_ref`).
const WORDS_V0: &[&str] = &[
    "multi_ack",
    "thin-pack",
    "side-band",
    "side-band-64k",
    "ofs-delta",
    "shallow",
    "deepen-since",
    "deepen-not",
    "deepen-relative",
    "no-progress",
    "include-tag",
    "multi_ack_detailed",
    "allow-tip-sha1-in-want",
    "allow-reachable-sha1-in-want",
    "no-done",
    "symref",
    "filter",
    "session-id",
    "object-format",
    "agent",
];

fn find(name: &str) -> Option<&'static Capability> {
    CAPABILITIES.iter().find(|row| row.name == name)
}

/// The words of versions 0 and 1.
pub(super) fn words_v0(conversation: &Conversation<'_>) -> String {
    let words: Vec<_> = WORDS_V0.iter().filter_map(|name| find(name)?.word(conversation)).collect();
    words.join(" ")
}

/// The lines of version 2.
pub(super) fn lines_v2(conversation: &Conversation<'_>) -> Vec<String> {
    let of = |command: &str| -> Vec<String> {
        let rows = CAPABILITIES.iter().filter(|row| matches!(row.v2, V2::Of(name) if name == command));
        rows.filter_map(|row| row.word(conversation)).collect()
    };
    let line = |row: &Capability| {
        let words = of(row.name);
        let line = row.word(conversation)?;
        Some(if words.is_empty() { line } else { format!("{line}={}", words.join(" ")) })
    };
    CAPABILITIES.iter().filter(|row| matches!(row.v2, V2::Line | V2::Command(_))).filter_map(line).collect()
}

/// What answers the command `name`, if it was advertised.
pub(super) fn command(conversation: &Conversation<'_>, name: &BStr) -> Option<Serve> {
    CAPABILITIES.iter().find_map(|row| match row.v2 {
        V2::Command(serve) if name == row.name => row.offered(conversation).map(|_| serve),
        _ => None,
    })
}

/// Whether a client of version 2 may send the line `name` back. One that accepts promisors may do so unasked, as in git.
pub(super) fn is_line(conversation: &Conversation<'_>, name: &BStr) -> bool {
    let offered = |row: &Capability| row.name == "promisor-remote" || row.offered(conversation).is_some();
    CAPABILITIES.iter().any(|row| matches!(row.v2, V2::Line) && name == row.name && offered(row))
}

/// The arguments of a fetch that are understood: those that were advertised.
pub(super) fn fetch_features(conversation: &Conversation<'_>) -> FetchFeatures {
    let on = |name: &str| find(name).is_some_and(|row| row.offered(conversation).is_some());
    FetchFeatures {
        filter: on("filter"),
        ref_in_want: on("ref-in-want"),
        sideband_all: on("sideband-all"),
        packfile_uris: on("packfile-uris"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    /// The table as the README shows it.
    fn table() -> String {
        let mut text = "| capability | versions | git's key | drop-ins | `serve` |\n|---|---|---|---|---|\n".to_owned();
        for row in CAPABILITIES {
            let v2 = match row.v2 {
                V2::No => String::new(),
                V2::Line | V2::Command(_) => "2".to_owned(),
                V2::Of(command) => format!("2 (`{command}`)"),
            };
            let versions: Vec<_> = [if WORDS_V0.contains(&row.name) { "0, 1".to_owned() } else { String::new() }, v2]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect();
            let (key, drop_in, serve) = Switch::columns(row.key);
            let _ = writeln!(text, "| `{}` | {} | {key} | {drop_in} | {serve} |", row.name, versions.join(", "));
        }
        text
    }

    #[test]
    fn the_readme_prints_the_table() {
        let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("a README");
        assert!(readme.contains(&table()), "README.md lacks this table:\n{}", table());
    }

    #[test]
    fn every_argument_that_can_be_switched_has_a_row() {
        for name in ["filter", "ref-in-want", "sideband-all", "packfile-uris"] {
            assert!(CAPABILITIES.iter().any(|row| row.name == name && row.key.is_some()), "{name}");
        }
    }
}

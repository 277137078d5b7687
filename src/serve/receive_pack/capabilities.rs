//! The capability table: what receive-pack says it can do, in which order, and under which condition.
//!
//! Source: gitprotocol-capabilities; `builtin/receive-pack.c`: `show_ref`. One row drives what is advertised and what is
//! taken: what is off is not looked at when a client chooses it. A row names git's key; where the repository's configuration is silent,
//! the default of the drop-ins (git's own) or of `serve` counts.

use crate::serve::switch::Switch;
use crate::serve::{Error, Options};
use crate::store::Settings;
use crate::wire::{Capabilities, PushFeatures, agent};

/// What rows are filled in from.
pub(super) struct Offer<'a> {
    pub settings: &'a Settings,
    pub hash: gix_hash::Kind,
    pub options: &'a Options,
    /// What a client that signs its push signs with it.
    pub nonce: Option<&'a str>,
}

/// One row.
struct Capability {
    name: &'static str,
    /// `None`: always on.
    switch: Option<Switch>,
    /// What else must hold, and what to say behind `=`; `None`: nothing can be offered.
    value: fn(&Offer<'_>) -> Option<String>,
}

const fn row(name: &'static str) -> Capability {
    Capability { name, switch: None, value: |_| Some(String::new()) }
}

impl Capability {
    const fn value(self, value: fn(&Offer<'_>) -> Option<String>) -> Self {
        Self { value, ..self }
    }

    const fn switch(self, switch: Switch) -> Self {
        Self { switch: Some(switch), ..self }
    }

    /// What to say behind `=`; `None`: it is off.
    fn offered(&self, offer: &Offer<'_>) -> Option<String> {
        let on = self.switch.is_none_or(|switch| switch.is_on(offer.settings, offer.options.defaults));
        if on { (self.value)(offer) } else { None }
    }
}

/// The table, in git's order.
#[rustfmt::skip] // a row reads best on few lines
const CAPABILITIES: &[Capability] = &[
    row("report-status"),
    row("report-status-v2"),
    row("delete-refs"),
    row("side-band-64k"),
    row("quiet"),
    row("atomic")
        .switch(Switch::new("receive.advertiseAtomic", |set| set.push.advertise_atomic, true, true)),
    row("ofs-delta")
        .switch(Switch::new("repack.useDeltaBaseOffset", |set| set.push.prefer_ofs_delta, true, true)),
    row("push-cert").value(|offer| offer.nonce.map(str::to_owned))
        .switch(Switch::new("receive.certNonceSeed", |_| Some(true), false, false)),
    row("push-options")
        .switch(Switch::new("receive.advertisePushOptions", |set| set.push.advertise_push_options, false, true)),
    row("session-id").value(|offer| offer.options.session_id.clone())
        .switch(Switch::new("transfer.advertiseSID", |set| Some(set.advertise_sid), false, false)),
    row("object-format").value(|offer| Some(offer.hash.to_string())),
    row("agent").value(|_| Some(agent().to_owned())),
];

/// The words of the advertisement.
pub(super) fn words(offer: &Offer<'_>) -> String {
    let word = |row: &Capability| {
        let value = row.offered(offer)?;
        Some(if value.is_empty() { row.name.to_owned() } else { format!("{}={value}", row.name) })
    };
    CAPABILITIES.iter().filter_map(word).collect::<Vec<_>>().join(" ")
}

fn is_offered(offer: &Offer<'_>, name: &str) -> bool {
    CAPABILITIES.iter().any(|row| row.name == name && row.offered(offer).is_some())
}

/// What of a request is looked at.
pub(super) fn features(offer: &Offer<'_>) -> PushFeatures {
    PushFeatures { push_options: is_offered(offer, "push-options"), certificate: is_offered(offer, "push-cert") }
}

/// Whether the client chose to have all its commands done or none: it hears where that was not offered.
pub(super) fn is_atomic(offer: &Offer<'_>, chosen: &Capabilities) -> Result<bool, Error> {
    match (chosen.has("atomic"), is_offered(offer, "atomic")) {
        (true, false) => Err(Error::Refused("this repository does not take atomic pushes; push without --atomic".to_owned())),
        (chosen, _) => Ok(chosen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    /// The table as the README shows it.
    fn table() -> String {
        let mut text = "| capability of receive-pack | git's key | drop-ins | `serve` |\n|---|---|---|---|\n".to_owned();
        for row in CAPABILITIES {
            let (key, drop_in, serve) = Switch::columns(row.switch);
            let _ = writeln!(text, "| `{}` | {key} | {drop_in} | {serve} |", row.name);
        }
        text
    }

    #[test]
    fn the_readme_prints_the_table() {
        let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("a README");
        assert!(readme.contains(&table()), "README.md lacks this table:\n{}", table());
    }
}

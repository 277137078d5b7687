//! git's key for a capability into on or off.

use super::Defaults;
use crate::store::Settings;

/// A key of git's configuration, and what counts where it is not set.
#[derive(Clone, Copy)]
pub(super) struct Switch {
    #[cfg_attr(not(test), expect(dead_code, reason = "for the README's tables, which tests hold against those in the code"))]
    name: &'static str,
    set: fn(&Settings) -> Option<bool>,
    drop_in: bool,
    serve: bool,
}

impl Switch {
    pub const fn new(name: &'static str, set: fn(&Settings) -> Option<bool>, drop_in: bool, serve: bool) -> Self {
        Self { name, set, drop_in, serve }
    }

    pub fn is_on(&self, settings: &Settings, defaults: Defaults) -> bool {
        (self.set)(settings).unwrap_or(if defaults == Defaults::Git { self.drop_in } else { self.serve })
    }

    /// As it stands in the README: the key, and what counts where it is not set.
    #[cfg(test)]
    pub fn columns(switch: Option<Self>) -> (String, &'static str, &'static str) {
        let word = |on: bool| if on { "on" } else { "off" };
        switch.map_or((String::new(), "on", "on"), |switch| (format!("`{}`", switch.name), word(switch.drop_in), word(switch.serve)))
    }
}

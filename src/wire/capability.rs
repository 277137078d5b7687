//! The capabilities of a client's request, and the words that we say of ourselves.
//!
//! Source: gitprotocol-capabilities. What the server advertises stands in tables beside what serves it
//! (`serve::upload_pack`, `serve::receive_pack`): what is not served cannot be advertised.

use bstr::{BStr, BString, ByteSlice};

/// `packmule/<version>`: the value of the `agent` capability.
pub fn agent() -> &'static str {
    concat!("packmule/", env!("CARGO_PKG_VERSION"))
}

/// The capabilities that a client chose, as it sent them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(BString);

impl Capabilities {
    /// Take the words of one line, separated by spaces.
    pub fn parse(words: &[u8]) -> Self {
        Self(words.into())
    }

    /// Whether the bare word `name` is among them.
    pub fn has(&self, name: &str) -> bool {
        self.words().any(|word| word == name.as_bytes())
    }

    /// The value of `name=value`, the first one.
    pub fn value(&self, name: &str) -> Option<&BStr> {
        self.words().find_map(|word| word.strip_prefix(name.as_bytes())?.strip_prefix(b"=")).map(ByteSlice::as_bstr)
    }

    fn words(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b' ').filter(|word| !word.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_whole_and_a_value_by_its_key() {
        let chosen = Capabilities::parse(b" side-band-64k agent=git/2.47 ofs-delta");
        assert!(chosen.has("side-band-64k") && chosen.has("ofs-delta"));
        assert!(!chosen.has("side-band") && !chosen.has("agent"));
        assert_eq!(chosen.value("agent"), Some(BStr::new("git/2.47")));
        assert_eq!(chosen.value("side-band-64k"), None);
    }
}

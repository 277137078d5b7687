//! The promisor remotes of a repository into the value of the `promisor-remote` capability, and the client's answer to it.
//!
//! Source: gitprotocol-v2, "promisor-remote"; `promisor-remote.c`: `promisor_remote_info`. Fields are separated by `,`,
//! remotes by `;`; what is no printable ASCII, and those two and `%`, are escaped.
//! A client that accepts one of them does without what is missing here. Limits: for any other, an object that only a
//! promisor has is not fetched from it; and which promisor has which object is not asked.

use super::Conversation;
use crate::store::Promisor;
use bstr::{BStr, BString, ByteSlice};
use std::fmt::Write as _;

/// The value; `None` where there is no promisor to tell of.
pub(super) fn told(promisors: &[Promisor]) -> Option<String> {
    let remotes: Vec<_> = promisors.iter().map(remote).collect();
    (!remotes.is_empty()).then(|| remotes.join(";"))
}

fn remote(promisor: &Promisor) -> String {
    let mut text = format!("name={},url={}", escaped(promisor.name.as_ref()), escaped(promisor.url.as_ref()));
    for (field, value) in [("partialCloneFilter", &promisor.filter), ("token", &promisor.token)] {
        if let Some(value) = value {
            let _ = write!(text, ",{field}={}", escaped(value.as_ref()));
        }
    }
    text
}

/// Whether a client that accepts `names` has what is missing here from one of ours.
pub(super) fn accepts(conversation: &Conversation<'_>, names: &BStr) -> bool {
    let promisors = &conversation.snapshot.settings().fetch.promisors;
    let is_ours = |name: BString| promisors.iter().any(|promisor| promisor.name == name);
    names.split_str(";").map(unescaped).any(is_ours) && conversation.snapshot.objects().is_promised_some()
}

/// What stands as `%xx` is that byte; anything else is as it is.
fn unescaped(text: &[u8]) -> BString {
    let (mut value, mut at) = (BString::default(), 0);
    while let Some(&byte) = text.get(at) {
        let digits = text.get(at + 1..at + 3).filter(|digits| byte == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits.to_str().ok()?, 16).ok());
        value.push(escaped.unwrap_or(byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    value
}

fn escaped(value: &BStr) -> String {
    let mut text = String::with_capacity(value.len());
    for &byte in value.iter() {
        match byte {
            b',' | b';' | b'%' => drop(write!(text, "%{byte:02x}")),
            b'!'..=b'~' => text.push(char::from(byte)),
            _ => drop(write!(text, "%{byte:02x}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_escaped_is_read_as_it_was(name in proptest::collection::vec(any::<u8>(), 0..20)) {
            prop_assert_eq!(unescaped(escaped(BStr::new(&name)).as_bytes()), name.as_slice());
        }
    }

    #[test]
    fn what_is_no_escape_is_left_alone() {
        for text in ["%", "%4", "%+1", "%zz", "a%", "\u{e9}%"] {
            assert_eq!(unescaped(text.as_bytes()), text);
        }
    }

    #[test]
    fn promisors_are_told_field_by_field() {
        assert_eq!(told(&[]), None);
        let lop = Promisor { name: "lop".into(), url: "https://x/a b;c,%".into(), filter: Some("blob:none".into()), token: None };
        let other = Promisor { name: "other".into(), url: "file:///é".into(), filter: None, token: Some("t".into()) };
        let wanted = "name=lop,url=https://x/a%20b%3bc%2c%25,partialCloneFilter=blob:none;name=other,url=file:///%c3%a9,token=t";
        assert_eq!(told(&[lop, other]).as_deref(), Some(wanted));
    }
}

//! The promisor remotes of a repository into the value of the `promisor-remote` capability.
//!
//! Source: gitprotocol-v2, "promisor-remote"; `promisor-remote.c`: `promisor_remote_info`. Fields are separated by `,`,
//! remotes by `;`; what is no printable ASCII, and those two and `%`, are escaped.
//! Limits: an object that only a promisor has is not fetched from it, and what the client accepts changes no answer.

use crate::store::Promisor;
use bstr::BStr;
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

    #[test]
    fn promisors_are_told_field_by_field() {
        assert_eq!(told(&[]), None);
        let lop = Promisor { name: "lop".into(), url: "https://x/a b;c,%".into(), filter: Some("blob:none".into()), token: None };
        let other = Promisor { name: "other".into(), url: "file:///é".into(), filter: None, token: Some("t".into()) };
        let wanted = "name=lop,url=https://x/a%20b%3bc%2c%25,partialCloneFilter=blob:none;name=other,url=file:///%c3%a9,token=t";
        assert_eq!(told(&[lop, other]).as_deref(), Some(wanted));
    }
}

//! What became of a push into the lines of its report.
//!
//! Source: gitprotocol-pack, "Report Status"; version 2 adds option lines behind an `ok`.

use super::{write_flush, write_text};
use bstr::{BStr, BString};
use std::io::{Result, Write};

/// One ref's outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefStatus {
    /// As the client named it.
    pub name: BString,
    /// Changed, or why not: one line, shown in brackets by git.
    pub result: std::result::Result<(), String>,
    /// The ref that really changed, where a symbolic one was named (version 2 only).
    pub resolved: Option<BString>,
}

/// Write the report: how unpacking went, then a line a ref, then a flush.
pub fn write_report(out: &mut impl Write, unpack: std::result::Result<(), &str>, refs: &[RefStatus], version_2: bool) -> Result<()> {
    match unpack {
        Ok(()) => write_text(out, "unpack ok")?,
        Err(why) => write_text(out, format!("unpack {}", one_line(why)))?,
    }
    for status in refs {
        let name: &BStr = status.name.as_ref();
        match &status.result {
            Ok(()) => {
                write_text(out, [b"ok ", &**name].concat())?;
                if let (true, Some(resolved)) = (version_2, &status.resolved) {
                    write_text(out, [b"option refname ", resolved.as_slice()].concat())?;
                }
            }
            Err(why) => write_text(out, [b"ng ", &**name, b" ", one_line(why).as_bytes()].concat())?,
        }
    }
    write_flush(out)
}

/// A report's reason may not break its line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_a_line_for_each_ref() {
        let refs = [
            RefStatus { name: "refs/heads/a".into(), result: Ok(()), resolved: Some("refs/heads/b".into()) },
            RefStatus { name: "refs/heads/c".into(), result: Err("no\nway".into()), resolved: None },
        ];
        let mut out = vec![];
        write_report(&mut out, Ok(()), &refs, true).expect("memory");
        assert_eq!(out, b"000eunpack ok\n0014ok refs/heads/a\n0020option refname refs/heads/b\n001bng refs/heads/c no way\n0000");
    }
}

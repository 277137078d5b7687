//! What became of a push into the lines of its report.
//!
//! Source: gitprotocol-pack, "Report Status"; version 2 adds option lines behind an `ok`.

use super::{write_flush, write_text};
use bstr::{BStr, BString};
use gix_hash::ObjectId;
use std::io::{Result, Write};

/// One ref's outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefStatus {
    /// As the client named it.
    pub name: BString,
    /// Changed, or why not: one line, shown in brackets by git.
    pub result: std::result::Result<(), String>,
    /// What was done instead of what was asked for, once per ref that changed (version 2 only).
    pub reports: Vec<StatusOptions>,
}

/// The option lines behind one `ok`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusOptions {
    /// The ref that really changed.
    pub refname: Option<BString>,
    /// The value that it had.
    pub old: Option<ObjectId>,
    /// The value that it has.
    pub new: Option<ObjectId>,
    /// That was no fast-forward.
    pub is_forced: bool,
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
                for (at, report) in status.reports.iter().enumerate().filter(|_| version_2) {
                    if at > 0 {
                        write_text(out, [b"ok ", &**name].concat())?;
                    }
                    write_options(out, report)?;
                }
            }
            Err(why) => write_text(out, [b"ng ", &**name, b" ", one_line(why).as_bytes()].concat())?,
        }
    }
    write_flush(out)
}

fn write_options(out: &mut impl Write, report: &StatusOptions) -> Result<()> {
    if let Some(refname) = &report.refname {
        write_text(out, [b"option refname ", refname.as_slice()].concat())?;
    }
    if let Some(old) = &report.old {
        write_text(out, format!("option old-oid {old}"))?;
    }
    if let Some(new) = &report.new {
        write_text(out, format!("option new-oid {new}"))?;
    }
    if report.is_forced {
        write_text(out, "option forced-update")?;
    }
    Ok(())
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
        let renamed = |name: &str| StatusOptions { refname: Some(name.into()), ..StatusOptions::default() };
        let forced = StatusOptions { new: Some(ObjectId::null(gix_hash::Kind::Sha1)), is_forced: true, ..StatusOptions::default() };
        let refs = [
            RefStatus { name: "refs/heads/a".into(), result: Ok(()), reports: vec![renamed("refs/heads/b"), forced] },
            RefStatus { name: "refs/heads/c".into(), result: Err("no\nway".into()), reports: vec![renamed("refs/heads/d")] },
        ];
        let mut out = vec![];
        write_report(&mut out, Ok(()), &refs, true).expect("memory");
        let zeros = "0".repeat(40);
        let wanted = format!(
            "000eunpack ok\n0014ok refs/heads/a\n0020option refname refs/heads/b\n0014ok refs/heads/a\n\
             003coption new-oid {zeros}\n0019option forced-update\n001bng refs/heads/c no way\n0000"
        );
        assert_eq!(String::from_utf8_lossy(&out), wanted);
        out.clear();
        write_report(&mut out, Err("no"), &refs, false).expect("memory");
        assert_eq!(out, b"000eunpack no\n0014ok refs/heads/a\n001bng refs/heads/c no way\n0000");
    }
}

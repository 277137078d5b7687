//! `packmule import`: the configuration of an older server into a `config.toml`, and what has no equal told line by line.
//!
//! What is written was read back as `packmule check` reads it: a file that would be refused is never handed out.

use super::args::{Import, ImportArgs};
use super::config::{Mistake, parse};
use super::failure::Failure;
use super::init;
use crate::access::import::{Original, Remark, from_gitolite, from_gitosis_lite};
use crate::access::printable;
use crate::access::rules::RuleBook;
use std::fmt::Write as _;

/// What to print where.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) out: String,
    pub(super) err: String,
    /// False: the input has faults, and nothing was written.
    pub(super) is_fine: bool,
}

/// Run the command.
///
/// # Errors
/// The file to write is there already, or the system says no.
pub(super) fn run(import: &Import) -> Result<Told, Failure> {
    let (translate, args): (fn(&Original<'_>) -> _, &ImportArgs) = match import {
        Import::Gitolite(args) => (from_gitolite, args),
        Import::GitosisLite(args) => (from_gitosis_lite, args),
    };
    let original = Original { conf: &args.conf, key_folder: args.key_folder.as_deref(), roles: &args.role };
    let import = match translate(&original) {
        Ok(import) => import,
        Err(faults) => {
            let err = faults.iter().map(|fault| format!("error: {}\n", drawn(fault))).collect();
            return Ok(Told { out: String::new(), err, is_fine: false });
        }
    };
    let mut err: String = import.notes.iter().map(noted).collect();
    if let Some(mistakes) = mistakes(&import.toml) {
        let _ = write!(err, "error: what this comes to is no right configuration:\n{mistakes}");
        return Ok(Told { out: String::new(), err, is_fine: false });
    }
    let out = match &args.output {
        None => import.toml,
        Some(file) => {
            init::write_new(file, &import.toml)?;
            format!("wrote {}: {}\ntry:  packmule serve --config {} FOLDER\n", file.display(), counted(&import.toml), file.display())
        }
    };
    Ok(Told { out, err, is_fine: true })
}

/// What `check` would say against it.
fn mistakes(toml: &str) -> Option<String> {
    let shown = "config.toml";
    match parse(toml) {
        Err(mistake) => Some(format!("{}\n", mistake.draw(shown, toml))),
        Ok(config) => {
            let faults = RuleBook::compile(&config.written(), shown, toml).err()?;
            Some(
                faults
                    .into_iter()
                    .map(|fault| format!("{}\n", Mistake { message: fault.message, span: fault.span }.draw(shown, toml)))
                    .collect(),
            )
        }
    }
}

fn counted(toml: &str) -> String {
    let book = parse(toml).ok().and_then(|config| RuleBook::compile(&config.written(), "", toml).ok());
    let (keys, users, rules) = book.map_or((0, 0, 0), |book| book.counts());
    format!("{users} users with {keys} keys, {rules} rules")
}

/// With the line and a caret beneath what is meant.
fn drawn(remark: &Remark) -> String {
    let mistake = Mistake { message: printable(&remark.message), span: remark.span.clone() };
    let drawn = mistake.draw(&printable(&remark.source.name), &remark.source.text);
    remark.hint.as_ref().map_or(drawn.clone(), |hint| format!("{drawn}\nhint: {hint}"))
}

/// On one line, and a second one with what to do.
fn noted(remark: &Remark) -> String {
    let file = printable(&remark.source.name);
    let mut text = match remark.line() {
        Some((number, line)) => format!("note: {file}:{number}: {}: {}\n", printable(line), printable(&remark.message)),
        None => format!("note: {file}: {}\n", printable(&remark.message)),
    };
    if let Some(hint) = &remark.hint {
        let _ = writeln!(text, "      {hint}");
    }
    text
}

#[cfg(test)]
mod tests;

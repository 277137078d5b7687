//! A repository's format into its hash, or a refusal by name.
//!
//! Source: git's "repository-version" page (`gitrepository-layout`, `setup.c`). Version 0 knows only the
//! extensions that were honoured before versions existed and ignores unknown ones; version 1 refuses what
//! it does not know. A `config` that names no version is version 0 without any extension.
//! Refused for reading and for writing alike: a repository whose refs are kept otherwise must not look empty.

use super::Error;
use std::path::Path;

/// What the format says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    /// `extensions.objectFormat`.
    pub hash: gix_hash::Kind,
    /// `extensions.worktreeConfig`: whether `config.worktree` counts.
    pub worktree_config: bool,
}

/// The newest `core.repositoryFormatVersion` that is understood.
const VERSION_MAX: i64 = 1;

/// Honoured whatever the version.
const HISTORICAL: [&str; 4] = ["noop", "partialclone", "preciousobjects", "worktreeconfig"];

/// Understood in version 1 and an error in version 0.
const VERSION_1_ONLY: [&str; 4] = ["noop-v1", "objectformat", "refstorage", "relativeworktrees"];

/// Names that git knows and that are an error in version 0 as well, though we do not understand them.
const FOREIGN: [&str; 2] = ["compatobjectformat", "submodulepathconfig"];

/// Read the format of the repository at `path` from its own `config` (no includes, nothing from elsewhere).
pub(super) fn check(config: &gix_config::File, path: &Path) -> Result<Format, Error> {
    let refuse = |what: String| Error::UnknownFormat { path: path.to_owned(), what };
    let bad = |key: &str| Error::Config(format!("{}/config: bad value of {key}", path.display()));
    let mut format = Format { hash: gix_hash::Kind::Sha1, worktree_config: false };

    let version = match config.string("core.repositoryformatversion") {
        None => return Ok(format),
        Some(value) => gix_config::Integer::from_bytes::<i64>(&value).map_err(|_| bad("core.repositoryFormatVersion"))?,
    };
    if version > VERSION_MAX {
        return Err(refuse(format!("core.repositoryFormatVersion {version} is not understood (the newest known is {VERSION_MAX})")));
    }
    if version < 0 {
        return Ok(format);
    }
    for (name, value) in extensions(config) {
        let known = VERSION_1_ONLY.contains(&name.as_str());
        if HISTORICAL.contains(&name.as_str()) {
            if name == "worktreeconfig" {
                format.worktree_config =
                    config.boolean("extensions.worktreeconfig").map_err(|_| bad("extensions.worktreeConfig"))? == Some(true);
            }
        } else if version == 0 && (known || FOREIGN.contains(&name.as_str())) {
            return Err(refuse(format!("extensions.{name} does not go with core.repositoryFormatVersion 0")));
        } else if version == 0 {
            tracing::debug!(repository = %path.display(), extension = name, "ignoring an unknown extension in a repository of version 0");
        } else if !known {
            return Err(refuse(format!("extensions.{name} is not understood")));
        } else {
            match (name.as_str(), value.as_str()) {
                ("objectformat", "sha1") => format.hash = gix_hash::Kind::Sha1,
                ("objectformat", "sha256") => format.hash = gix_hash::Kind::Sha256,
                ("refstorage", "files") => {}
                ("objectformat" | "refstorage", other) => {
                    return Err(refuse(format!("extensions.{name} = {other} is not understood")));
                }
                _ => {}
            }
        }
    }
    Ok(format)
}

/// All extensions in order, names in lower case, each with its last value in that section (empty when there is none).
fn extensions(config: &gix_config::File) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for section in config.sections().filter(|section| section.header().name().eq_ignore_ascii_case(b"extensions")) {
        for key in section.value_names() {
            let value = section.value(&key).unwrap_or_default().to_string();
            let key = key.to_ascii_lowercase();
            all.push((section.header().subsection_name().map_or_else(|| key.clone(), |sub| format!("{sub}.{key}")), value));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(config: &str) -> Result<Format, String> {
        let config = gix_config::File::try_from(config).unwrap();
        check(&config, Path::new("r")).map_err(|err| err.to_string())
    }

    #[test]
    fn formats_that_are_not_understood_are_refused_by_name() {
        for (config, wanted) in [
            ("[core]\nrepositoryformatversion=2", "r: core.repositoryFormatVersion 2 is not understood (the newest known is 1)"),
            (
                "[core]\nrepositoryformatversion=1\n[extensions]\nrefStorage=reftable",
                "r: extensions.refstorage = reftable is not understood",
            ),
            (
                "[core]\nrepositoryformatversion=1\n[extensions]\nobjectFormat=sha512",
                "r: extensions.objectformat = sha512 is not understood",
            ),
            (
                "[core]\nrepositoryformatversion=1\n[extensions]\ncompatObjectFormat=sha1",
                "r: extensions.compatobjectformat is not understood",
            ),
            ("[core]\nrepositoryformatversion=1\n[extensions]\nfuture", "r: extensions.future is not understood"),
            ("[core]\nrepositoryformatversion=1\n[extensions \"a\"]\nnoop=1", "r: extensions.a.noop is not understood"),
            (
                "[core]\nrepositoryformatversion=0\n[extensions]\nobjectFormat=sha256",
                "r: extensions.objectformat does not go with core.repositoryFormatVersion 0",
            ),
            ("[core]\nrepositoryformatversion=x", "bad configuration: r/config: bad value of core.repositoryFormatVersion"),
        ] {
            assert_eq!(checked(config).unwrap_err(), wanted, "{config}");
        }
    }

    #[test]
    fn formats_that_are_understood_give_their_hash() {
        use gix_hash::Kind::{Sha1, Sha256};
        for (config, hash, worktree_config) in [
            ("", Sha1, false),
            ("[extensions]\nobjectFormat=sha256\nfuture=1", Sha1, false),
            ("[core]\nrepositoryformatversion=0\n[extensions]\nfuture=1\nworktreeConfig", Sha1, true),
            ("[core]\nrepositoryformatversion=1\n[extensions]\nobjectFormat=sha256", Sha256, false),
            (
                "[core]\nrepositoryformatversion=1\n[extensions]\nobjectFormat=sha1\nrefStorage=files\nnoop=1\npartialClone=origin\npreciousObjects=true\nrelativeWorktrees=true\nworktreeConfig=true",
                Sha1,
                true,
            ),
        ] {
            assert_eq!(checked(config).unwrap(), Format { hash, worktree_config }, "{config}");
        }
    }
}

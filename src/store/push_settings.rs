//! The part of git's configuration that decides what a push may ask for.
//!
//! Source: git-config, "receive.*", "transfer.*", "repack.useDeltaBaseOffset", "core.alternateRefsPrefixes",
//! "gpg.ssh.*"; `builtin/receive-pack.c`: `receive_pack_config`. What is not set stays `None`: the default depends on who serves.
//! `receive.unpackLimit`, `transfer.unpackLimit`, `receive.autogc` and `receive.updateServerInfo` have no effect: what is
//! pushed is kept as a pack, and nothing is started behind a push. `core.alternateRefsCommand` is never run.

use super::keys::Keys;
use super::{ConfigScope, Error, Repository};
use crate::base::limits::SIGNERS_BYTES_MAX;
use bstr::{BString, ByteSlice};
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

/// What a push may ask for, as far as the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PushSettings {
    /// `receive.advertiseAtomic`.
    pub advertise_atomic: Option<bool>,
    /// `receive.advertisePushOptions`.
    pub advertise_push_options: Option<bool>,
    /// `repack.useDeltaBaseOffset`: whether `ofs-delta` is advertised.
    pub prefer_ofs_delta: Option<bool>,
    /// `receive.shallowUpdate`: whether a push may make the repository shallow, or more so.
    pub shallow_update: bool,
    /// `receive.certNonceSeed`: what nonces of push certificates are made of; without it none are taken.
    pub cert_nonce_seed: Option<BString>,
    /// `receive.certNonceSlop` in seconds.
    pub cert_nonce_slop_s: u64,
    /// `gpg.ssh.allowedSignersFile`, as it was named.
    pub allowed_signers: Option<BString>,
    /// `gpg.ssh.revocationFile`, as it was named.
    pub revoked_signers: Option<BString>,
    /// `core.alternateRefsPrefixes`: the refs of alternates that are told of; empty: all.
    pub alternate_refs_prefixes: Vec<BString>,
    /// `core.alternateRefsCommand` is set: it would choose what is told of alternates, so nothing is.
    pub has_alternate_refs_command: bool,
}

impl PushSettings {
    /// Pick the values out of a configuration.
    pub(super) fn read(keys: &Keys<'_>) -> Result<Self, Error> {
        let text = |section: &str, name: &str| match keys.last(section, name) {
            Some(value) => value.text.clone().map(Some).ok_or_else(|| value.unreadable(&format!("{section}.{}", name.to_lowercase()))),
            None => Ok(None),
        };
        let is_ssh = |subsection: &BString| *subsection == "ssh";
        let gpg_ssh = |name: &str| {
            let of_it = keys.all().filter(|entry| entry.section == "gpg" && entry.subsection.as_ref().is_some_and(is_ssh));
            let last = of_it.filter(|entry| entry.name == name).last();
            last.and_then(|entry| entry.value.text).filter(|text| !text.is_empty())
        };
        let prefixes = text("core", "alternateRefsPrefixes")?.unwrap_or_default();
        Ok(Self {
            advertise_atomic: keys.boolean("receive", "advertiseAtomic")?,
            advertise_push_options: keys.boolean("receive", "advertisePushOptions")?,
            prefer_ofs_delta: keys.boolean("repack", "useDeltaBaseOffset")?,
            shallow_update: keys.boolean("receive", "shallowUpdate")?.unwrap_or(false),
            cert_nonce_seed: text("receive", "certNonceSeed")?,
            cert_nonce_slop_s: keys.unsigned("receive", "certNonceSlop")?.unwrap_or(0),
            allowed_signers: gpg_ssh("allowedsignersfile"),
            revoked_signers: gpg_ssh("revocationfile"),
            alternate_refs_prefixes: prefixes.fields().map(BString::from).collect(),
            has_alternate_refs_command: keys.last("core", "alternateRefsCommand").is_some(),
        })
    }
}

impl Repository {
    /// Read a file that a setting names: relative to the git directory, where git's receive-pack stands; `~/` is known where
    /// configuration counts as git's own programs read it. `Ok(None)`: there is none.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Config`] when it is too large.
    pub fn read_named_file(&self, name: &BString) -> Result<Option<Vec<u8>>, Error> {
        let home = || std::env::var_os("HOME").filter(|_| self.scope == ConfigScope::Git).map(PathBuf::from);
        let path = match (name.strip_prefix(b"~/"), home()) {
            (Some(rest), Some(home)) => home.join(rest.to_path_lossy()),
            _ => self.git_dir.join(name.to_path_lossy()),
        };
        let mut text = vec![];
        match File::open(&path).and_then(|file| file.take(SIGNERS_BYTES_MAX + 1).read_to_end(&mut text)) {
            Ok(_) if text.len() as u64 > SIGNERS_BYTES_MAX => {
                Err(Error::Config(format!("{} exceeds the limit of {SIGNERS_BYTES_MAX} bytes", path.display())))
            }
            Ok(_) => Ok(Some(text)),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(Error::io(format!("read {}", path.display()))(err)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(config: &str) -> Result<PushSettings, String> {
        PushSettings::read(&Keys(&gix_config::File::try_from(config).unwrap())).map_err(|err| err.to_string())
    }

    #[test]
    fn what_is_not_set_is_left_to_whoever_serves() {
        assert_eq!(read("").unwrap(), PushSettings::default());
    }

    #[test]
    fn the_last_value_of_each_key_counts() {
        let read = read(
            "[receive]\nadvertisePushOptions\nadvertiseAtomic=no\nshallowUpdate=yes\ncertNonceSeed=a\ncertnonceseed=b c\ncertNonceSlop=60\n\
             [gpg \"ssh\"]\nallowedSignersFile=x\n[gpg \"ssh\"]\nallowedSignersFile=y\nrevocationFile=z\n[repack]\nuseDeltaBaseOffset=false\n\
             [core]\nalternateRefsPrefixes=refs/heads  refs/tags\nalternateRefsCommand=echo\n",
        )
        .unwrap();
        let wanted = PushSettings {
            advertise_atomic: Some(false),
            advertise_push_options: Some(true),
            prefer_ofs_delta: Some(false),
            shallow_update: true,
            cert_nonce_seed: Some("b c".into()),
            cert_nonce_slop_s: 60,
            allowed_signers: Some("y".into()),
            revoked_signers: Some("z".into()),
            alternate_refs_prefixes: vec!["refs/heads".into(), "refs/tags".into()],
            has_alternate_refs_command: true,
        };
        assert_eq!(read, wanted);
    }

    #[test]
    fn a_seed_without_a_value_is_an_error_that_names_it() {
        assert!(read("[receive]\ncertNonceSeed").unwrap_err().contains("receive.certnonceseed"));
    }
}

//! The part of git's configuration that decides what a fetch may ask for.
//!
//! Source: git-config, "uploadpack.*", "uploadpackfilter.*", "transfer.advertiseObjectInfo", "bundle.*", "promisor.*",
//! `remote.<name>.promisor`; `upload-pack.c`: `upload_pack_config`, `parse_object_filter_config`; `promisor-remote.c`.
//! What is not set stays `None`: the default depends on who serves.

use super::Error;
use super::keys::{Entry, Keys};
use bstr::{BStr, BString, ByteSlice};
use gix_hash::ObjectId;
use std::collections::BTreeMap;

/// What a fetch may ask for, as far as the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FetchSettings {
    /// `uploadpack.allowFilter`.
    pub allow_filter: Option<bool>,
    /// `uploadpackfilter.*`.
    pub filters: FilterRules,
    /// `uploadpack.allowRefInWant`.
    pub allow_ref_in_want: Option<bool>,
    /// `uploadpack.allowSidebandAll`; `GIT_TEST_SIDEBAND_ALL` turns it on for a drop-in.
    pub allow_sideband_all: Option<bool>,
    /// `uploadpack.allowTipSHA1InWant`, or implied by `allowAnySHA1InWant`.
    pub allow_tip_sha1_in_want: bool,
    /// `uploadpack.allowReachableSHA1InWant`, or implied by `allowAnySHA1InWant`.
    pub allow_reachable_sha1_in_want: bool,
    /// `uploadpack.allowAnySHA1InWant`.
    pub allow_any_sha1_in_want: bool,
    /// `transfer.advertiseObjectInfo`.
    pub advertise_object_info: Option<bool>,
    /// `uploadpack.advertiseBundleURIs`.
    pub advertise_bundle_uris: Option<bool>,
    /// `bundle.*` as keys and values, in order.
    pub bundles: Vec<(BString, BString)>,
    /// `uploadpack.blobPackfileUri`, in order.
    pub blob_packfile_uris: Vec<PackfileUri>,
    /// Why a value of `uploadpack.blobPackfileUri` cannot be used: whoever asks for packs from elsewhere hears of it, as in git.
    pub bad_packfile_uri: Option<String>,
    /// `promisor.advertise`.
    pub advertise_promisors: Option<bool>,
    /// The promisor remotes with a URL, in order, as `promisor.sendFields` wants them told.
    pub promisors: Vec<Promisor>,
    /// `uploadpack.keepAlive` in seconds; 0 turns it off.
    pub keep_alive_s: Option<u64>,
    /// `uploadpack.packObjectsHook` is set: it is never run.
    pub has_pack_objects_hook: bool,
}

/// An object that clients may get from elsewhere (`uploadpack.blobPackfileUri`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackfileUri {
    /// The object that is left out.
    pub object: ObjectId,
    /// What `git index-pack` prints of the pack that holds it.
    pub pack: ObjectId,
    /// Where that pack is.
    pub uri: BString,
}

/// Longest URI, in bytes.
const URI_BYTES_MAX: usize = 8 << 10;

impl PackfileUri {
    /// `<object-hash> <pack-hash> <uri>`
    fn parse(text: &[u8]) -> Option<Self> {
        let (object, rest) = text.split_once_str(" ")?;
        let (pack, uri) = rest.split_once_str(" ")?;
        let is_sayable = uri.len() <= URI_BYTES_MAX && !uri.iter().any(u8::is_ascii_control);
        let id = |hex| ObjectId::from_hex(hex).ok();
        Some(Self { object: id(object)?, pack: id(pack)?, uri: uri.into() }).filter(|_| is_sayable)
    }
}

/// Which filters may be used (`uploadpackfilter.*`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterRules {
    /// `uploadpackfilter.allow`: for filters without a rule of their own.
    pub others: Option<bool>,
    /// `uploadpackfilter.<filter>.allow` by name, such as `blob:none`.
    pub by_name: BTreeMap<BString, bool>,
    /// `uploadpackfilter.tree.maxDepth`.
    pub tree_depth_max: Option<u64>,
}

/// Somebody else who has objects that this repository promises (`remote.<name>.promisor`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Promisor {
    /// The remote's name.
    pub name: BString,
    /// `remote.<name>.url`.
    pub url: BString,
    /// `remote.<name>.partialCloneFilter`, where it shall be told.
    pub filter: Option<BString>,
    /// `remote.<name>.token`, where it shall be told.
    pub token: Option<BString>,
}

impl FetchSettings {
    /// Pick the values out of a configuration.
    pub(super) fn read(keys: &Keys<'_>) -> Result<Self, Error> {
        let mut settings = Self {
            allow_filter: keys.boolean("uploadpack", "allowFilter")?,
            allow_ref_in_want: keys.boolean("uploadpack", "allowRefInWant")?,
            allow_sideband_all: keys.boolean("uploadpack", "allowSidebandAll")?,
            advertise_object_info: keys.boolean("transfer", "advertiseObjectInfo")?,
            advertise_bundle_uris: keys.boolean("uploadpack", "advertiseBundleURIs")?,
            advertise_promisors: keys.boolean("promisor", "advertise")?,
            keep_alive_s: keys.unsigned("uploadpack", "keepAlive")?,
            has_pack_objects_hook: keys.last("uploadpack", "packObjectsHook").is_some(),
            ..Self::default()
        };
        let mut remotes = Remotes::default();
        for entry in keys.all() {
            match entry.section.as_str() {
                "uploadpack" if entry.subsection.is_none() => settings.take_uploadpack(&entry)?,
                "uploadpackfilter" => settings.filters.take(&entry)?,
                "bundle" => settings.take_bundle(entry),
                "remote" | "extensions" => remotes.take(entry)?,
                _ => {}
            }
        }
        settings.promisors = remotes.promisors(&fields_to_send(keys)?);
        Ok(settings)
    }

    /// Keys whose order counts: each speaks of the same flags as the one before.
    fn take_uploadpack(&mut self, entry: &Entry) -> Result<(), Error> {
        match entry.name.as_str() {
            "allowtipsha1inwant" => self.allow_tip_sha1_in_want = entry.value.boolean()?,
            "allowreachablesha1inwant" => self.allow_reachable_sha1_in_want = entry.value.boolean()?,
            "allowanysha1inwant" => {
                let any = entry.value.boolean()?;
                (self.allow_tip_sha1_in_want, self.allow_reachable_sha1_in_want, self.allow_any_sha1_in_want) = (any, any, any);
            }
            "blobpackfileuri" => {
                let text = entry.value.text.as_ref().ok_or_else(|| entry.value.bad())?;
                match PackfileUri::parse(text).filter(|uri| self.blob_packfile_uris.iter().all(|known| known.object != uri.object)) {
                    Some(uri) => self.blob_packfile_uris.push(uri),
                    None => self.bad_packfile_uri = Some(entry.value.bad().to_string()),
                }
            }
            _ => return Ok(()),
        }
        self.allow_any_sha1_in_want &= self.allow_tip_sha1_in_want && self.allow_reachable_sha1_in_want;
        Ok(())
    }

    fn take_bundle(&mut self, entry: Entry) {
        let Some(value) = entry.value.text else { return };
        let mut key = BString::from("bundle.");
        if let Some(subsection) = entry.subsection {
            key.extend_from_slice(&subsection);
            key.push(b'.');
        }
        key.extend_from_slice(entry.name.as_bytes());
        self.bundles.push((key, value));
    }
}

impl FilterRules {
    fn take(&mut self, entry: &Entry) -> Result<(), Error> {
        match (&entry.subsection, entry.name.as_str()) {
            (None, "allow") => self.others = Some(entry.value.boolean()?),
            (Some(filter), "allow") => drop(self.by_name.insert(filter.clone(), entry.value.boolean()?)),
            (Some(filter), "maxdepth") if filter == "tree" => {
                self.by_name.insert(filter.clone(), true);
                self.tree_depth_max = Some(entry.value.unsigned()?);
            }
            _ => {}
        }
        Ok(())
    }

    /// What is said of the filter `name`: of it alone, or of all that nothing is said of.
    pub fn allows(&self, name: &BStr) -> Option<bool> {
        self.by_name.get(name).copied().or(self.others)
    }
}

/// The remotes of a configuration.
#[derive(Default)]
struct Remotes {
    /// Names of the promisors in order of appearance.
    names: Vec<BString>,
    /// The last value of `url`, `partialclonefilter` and `token` by name and key.
    values: BTreeMap<(BString, String), BString>,
    /// `extensions.partialClone`: this one comes last.
    last: Option<BString>,
}

impl Remotes {
    fn take(&mut self, entry: Entry) -> Result<(), Error> {
        if entry.is("extensions", "partialclone") {
            self.last = entry.value.text;
            return Ok(());
        }
        let (true, Some(name)) = (entry.section == "remote", entry.subsection) else { return Ok(()) };
        let is_promisor = match entry.name.as_str() {
            "promisor" => entry.value.boolean()?,
            "partialclonefilter" => true,
            _ => false,
        };
        if is_promisor && !name.starts_with(b"/") && !self.names.contains(&name) {
            self.names.push(name.clone());
        }
        if let (true, Some(text)) = (["url", "partialclonefilter", "token"].contains(&entry.name.as_str()), entry.value.text) {
            self.values.insert((name, entry.name), text);
        }
        Ok(())
    }

    fn promisors(mut self, fields: &[String]) -> Vec<Promisor> {
        if let Some(last) = self.last.take() {
            self.names.retain(|name| *name != last);
            self.names.push(last);
        }
        let value = |name: &BString, key: &str| self.values.get(&(name.clone(), key.to_owned())).filter(|text| !text.is_empty()).cloned();
        let told = |name: &BString, key: &str| fields.iter().any(|field| field == key).then(|| value(name, key)).flatten();
        let promisor = |name: &BString| {
            Some(Promisor {
                name: name.clone(),
                url: value(name, "url")?,
                filter: told(name, "partialclonefilter"),
                token: told(name, "token"),
            })
        };
        self.names.iter().filter_map(promisor).collect()
    }
}

/// `promisor.sendFields`: names of fields in lower case, those that there are.
fn fields_to_send(keys: &Keys<'_>) -> Result<Vec<String>, Error> {
    let Some(value) = keys.last("promisor", "sendFields") else { return Ok(vec![]) };
    let text = value.text.as_ref().ok_or_else(|| value.bad())?;
    let fields = text.split_str(",").map(|field| field.trim().to_str_lossy().to_ascii_lowercase());
    let (known, unknown): (Vec<_>, Vec<_>) =
        fields.filter(|field| !field.is_empty()).partition(|field| ["partialclonefilter", "token"].contains(&field.as_str()));
    for field in unknown {
        tracing::warn!("unsupported field '{field}' in 'promisor.sendFields' config");
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(config: &str) -> Result<FetchSettings, String> {
        FetchSettings::read(&Keys(&gix_config::File::try_from(config).unwrap())).map_err(|err| err.to_string())
    }

    #[test]
    fn of_the_keys_about_wants_the_later_one_takes_back_what_it_speaks_of() {
        let of = |config: &str| {
            let read = read(&format!("[uploadpack]\n{config}")).unwrap();
            (read.allow_tip_sha1_in_want, read.allow_reachable_sha1_in_want, read.allow_any_sha1_in_want)
        };
        assert_eq!(of("allowTipSHA1InWant"), (true, false, false));
        assert_eq!(of("allowAnySHA1InWant=1"), (true, true, true));
        assert_eq!(of("allowAnySHA1InWant=1\nallowTipSHA1InWant=no"), (false, true, false));
        assert_eq!(of("allowReachableSHA1InWant=1\nallowAnySHA1InWant=off"), (false, false, false));
    }

    #[test]
    fn filters_have_rules_by_name() {
        let rules = read(
            "[uploadpackfilter]\nallow=false\n[uploadpackfilter \"blob:none\"]\nallow\n[uploadpackfilter \"tree\"]\nallow=no\nmaxDepth=1k\n",
        )
        .unwrap()
        .filters;
        let allows = |name: &str| rules.allows(name.into());
        assert_eq!((allows("blob:none"), allows("tree"), allows("combine")), (Some(true), Some(true), Some(false)));
        assert_eq!(rules.tree_depth_max, Some(1024));
        assert_eq!(FilterRules::default().allows("tree".into()), None);
        assert!(read("[uploadpackfilter \"tree\"]\nmaxDepth").unwrap_err().contains("uploadpackfilter.tree.maxDepth"));
    }

    #[test]
    fn an_object_has_one_uri_which_is_one_line() {
        let (one, two, pack) = ("1".repeat(40), "2".repeat(40), "3".repeat(40));
        let read = |values: &[String]| {
            read(&format!("[uploadpack]\n{}", values.iter().map(|v| format!("blobPackfileUri={v}\n")).collect::<String>()))
        };
        let uris = read(&[format!("{one} {pack} https://x/a b"), format!("{two} {pack} http://y")]).unwrap().blob_packfile_uris;
        let shown: Vec<_> = uris.iter().map(|uri| format!("{} {} {}", uri.object, uri.pack, uri.uri)).collect();
        assert_eq!(shown, [format!("{one} {pack} https://x/a b"), format!("{two} {pack} http://y")]);
        let twice = [format!("{one} {pack} https://x"), format!("{one} {pack} https://y")];
        let bad = [vec!["nonsense".to_owned()], vec![format!("{one} {pack}")], vec![format!("{one} {pack} \"x\\ny\"")], twice.to_vec()];
        for values in bad {
            assert!(read(&values).unwrap().bad_packfile_uri.unwrap().contains("uploadpack.blobPackfileUri"), "{values:?}");
        }
    }

    #[test]
    fn bundles_keep_their_order_and_the_case_of_their_names() {
        let bundles = read("[bundle]\nVersion=1\nmode=all\n[bundle \"One\"]\nURI=https://x/1\ncreationToken=7\n").unwrap().bundles;
        let shown: Vec<_> = bundles.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(shown, ["bundle.version=1", "bundle.mode=all", "bundle.One.uri=https://x/1", "bundle.One.creationtoken=7"]);
    }

    #[test]
    fn promisors_have_a_url_and_the_one_of_the_format_comes_last() {
        let promisors = read(
            "[extensions]\npartialClone=a\n[remote \"a\"]\nurl=u\n[remote \"b\"]\npromisor\nurl=v\nurl=w\ntoken=t\n\
             [remote \"c\"]\npartialCloneFilter=blob:none\n[remote \"/d\"]\npromisor=true\nurl=x\n[remote \"e\"]\nurl=y\npromisor=no\n\
             [promisor]\nsendFields=TOKEN, nonsense\n",
        )
        .unwrap()
        .promisors;
        let b = Promisor { name: "b".into(), url: "w".into(), filter: None, token: Some("t".into()) };
        let a = Promisor { name: "a".into(), url: "u".into(), ..Promisor::default() };
        assert_eq!(promisors, [b, a]);
    }
}

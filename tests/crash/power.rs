//! What a power cut leaves of a repository: every file as it was synced, or as it became since, or torn.

use super::common::check::files;
use super::common::fixture::Random;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

const JOURNAL: &str = "packmule-journal";

/// The journal as if another boot had written it.
pub fn forget_the_boot(server: &Path) {
    let path = server.join(JOURNAL);
    let Ok(mut bytes) = fs::read(&path) else { return };
    if bytes.len() >= 64 {
        bytes[33] ^= 0xff;
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        fs::write(&path, bytes).expect("written");
    }
}

/// Whether the journal says that what was written since `before` had been synced.
pub fn was_synced(before: &Path, server: &Path) -> bool {
    let (before, now) = (fs::read(before.join(JOURNAL)).expect("reads"), fs::read(server.join(JOURNAL)).expect("reads"));
    let mut rest = &now[before.len()..];
    while let Some((head, _)) = rest.split_at_checked(9) {
        if head[8] == 2 {
            return true;
        }
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        rest = rest.get(8 + length..).unwrap_or_default();
    }
    false
}

/// Whether what is in the file is on disk by itself, as the recorded system calls of another test show: the journal,
/// `packed-refs`, `shallow`, and packs that are too long for the journal.
fn is_synced(server: &Path, name: &str) -> bool {
    let is_long = || name.ends_with(".pack") && fs::metadata(server.join(name)).is_ok_and(|meta| meta.len() > 512 << 10);
    [JOURNAL, "packed-refs", "shallow"].contains(&name) || is_long()
}

/// Folders are as they became, but of what was written since `before` some is not on disk.
pub fn tear(before: &Path, server: &Path, random: &mut Random) {
    let inode = |path: &Path| fs::metadata(path).expect("is there").ino();
    // Hard links are one file.
    let synced: Vec<u64> = files(server).iter().filter(|name| is_synced(server, name)).map(|name| inode(&server.join(name))).collect();
    let mut fates = BTreeMap::new();
    for name in files(server) {
        let path = server.join(&name);
        let content = fs::read(&path).expect("reads");
        if synced.contains(&inode(&path)) || fs::read(before.join(&name)).is_ok_and(|old| old == content) {
            continue;
        }
        let fate = *fates.entry(inode(&path)).or_insert_with(|| random.below(4));
        let torn = torn(&content, fate);
        let mut permissions = fs::metadata(&path).expect("is there").permissions();
        if permissions.readonly() {
            #[allow(clippy::permissions_set_readonly_false, reason = "a test's own files")]
            permissions.set_readonly(false);
            fs::set_permissions(&path, permissions).expect("set");
        }
        fs::write(&path, torn).expect("written");
    }
    forget_the_boot(server);
}

fn torn(content: &[u8], fate: usize) -> Vec<u8> {
    match fate {
        0 => vec![],
        1 => content[..content.len() / 2].to_vec(),
        2 => vec![0; content.len()],
        _ => content.to_vec(),
    }
}

/// Of every file and name that changed since `before`, any part is on disk; with no `random`, nothing is but what was synced.
pub fn lose(before: &Path, server: &Path, mut random: Option<&mut Random>) {
    let (old, now) = (files(before), files(server));
    for name in old.iter().chain(now.iter().filter(|name| !old.contains(name))) {
        let (was, is) = (before.join(name), server.join(name));
        let mut fate = random.as_mut().map_or(4, |random| random.below(6));
        // What is in it is on disk; that it has taken the place of the one before may not be.
        if name == "shallow" {
            fate = fate.max(3);
        } else if is_synced(server, name) {
            continue;
        }
        match (fs::read(&was), fs::read(&is)) {
            (Ok(was), Ok(is)) if was == is => {}
            (_, Ok(content)) if fate < 4 => {
                fs::remove_file(&is).expect("removed");
                fs::write(&is, torn(&content, fate)).expect("written");
            }
            (Ok(content), _) if fate != 5 || is.exists() => {
                // As it was, with the time that it had.
                let _ = if is.is_dir() { fs::remove_dir_all(&is) } else { fs::remove_file(&is) };
                fs::create_dir_all(is.parent().expect("has one")).expect("made");
                fs::write(&is, content).expect("written");
                let modified = fs::metadata(&was).and_then(|meta| meta.modified()).expect("has one");
                File::options().write(true).open(&is).and_then(|file| file.set_modified(modified)).expect("set");
            }
            (Err(_), Ok(_)) => fs::remove_file(&is).expect("removed"),
            _ => {}
        }
    }
    forget_the_boot(server);
}

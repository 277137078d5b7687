//! Files with public keys into people who may do everything: `~/.ssh/*.pub` and what `--admin-key` names.

use super::failure::Failure;
use crate::access::rules::ANONYMOUS;
use crate::access::{PublicKey, UserId};
use std::path::{Path, PathBuf};

/// One key, whom it belongs to, and where it was found.
#[derive(Clone, Debug)]
pub(super) struct AdminKey {
    pub(super) key: PublicKey,
    pub(super) user: UserId,
    /// The file, with `~` for the home folder.
    pub(super) file: String,
    /// It lies in the home folder of whoever starts the server.
    pub(super) own: bool,
}

/// The home folder and the name of whoever starts this program.
pub(super) fn whoever_starts() -> (Option<PathBuf>, Option<String>) {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    (home, std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).ok())
}

/// All keys: those of `home` first, then those of `files`; each key once.
///
/// A file in the home folder that is no public key is passed over with a warning; one that was named must be.
pub(super) fn collect(home: Option<&Path>, person: Option<&str>, files: &[PathBuf]) -> Result<Vec<AdminKey>, Failure> {
    let mut keys = home.map_or_else(Vec::new, |home| own_keys(home, person));
    for file in files {
        keys.extend(read(file, person)?);
    }
    let mut once: Vec<AdminKey> = Vec::new();
    for key in keys {
        if !once.iter().any(|known| known.key == key.key) {
            once.push(key);
        }
    }
    Ok(once)
}

fn own_keys(home: &Path, person: Option<&str>) -> Vec<AdminKey> {
    let Ok(folder) = std::fs::read_dir(home.join(".ssh")) else { return Vec::new() };
    let mut files: Vec<PathBuf> = folder.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "pub") && !is_certificate(path));
    files.sort();
    let mut keys = Vec::new();
    for file in files {
        let shown = file.strip_prefix(home).map_or_else(|_| file.display().to_string(), |rest| format!("~/{}", rest.display()));
        match std::fs::read_to_string(&file).map_err(|error| error.to_string()).and_then(|text| parse(&text)) {
            Ok(found) => {
                keys.extend(found.into_iter().map(|(_, key)| AdminKey { user: user_of(&key, person), key, file: shown.clone(), own: true }))
            }
            Err(why) => tracing::warn!(file = %shown, %why, "passed over"),
        }
    }
    keys
}

/// `ssh-keygen` puts certificates beside the keys, under such names.
pub(super) fn is_certificate(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with("-cert.pub"))
}

fn read(file: &Path, person: Option<&str>) -> Result<Vec<AdminKey>, Failure> {
    let shown = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| Failure::io(format!("{shown}: {error}")))?;
    let keys = parse(&text)
        .map_err(|why| Failure::configuration(format!("{shown}: {why}")).hint("--admin-key takes the public half: FILE.pub"))?;
    if keys.is_empty() {
        return Err(Failure::configuration(format!("{shown} holds no public key")));
    }
    Ok(keys.into_iter().map(|(_, key)| AdminKey { user: user_of(&key, person), key, file: shown.clone(), own: false }).collect())
}

/// One key per line, with the line's number; empty lines and lines that begin with `#` do not count.
pub(super) fn parse(text: &str) -> Result<Vec<(usize, PublicKey)>, String> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| PublicKey::from_openssh(line).map(|key| (number, key)).map_err(|error| format!("line {number}: {error}")))
        .collect()
}

/// The word before the `@` of the key's comment (`ssh-keygen` writes `ann@laptop`), or whoever starts the server.
fn user_of(key: &PublicKey, person: Option<&str>) -> UserId {
    let comment = key.comment();
    let word = comment.split('@').next().unwrap_or_default();
    let is_name = !word.is_empty() && word.chars().all(|char| char.is_alphanumeric() || "._-".contains(char));
    let named = [word].into_iter().filter(|_| is_name).chain(person).find(|name| *name != ANONYMOUS);
    UserId::new(named.unwrap_or("admin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ ann@laptop";
    const BOB: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti my old key";

    #[test]
    fn own_and_named_keys_are_gathered_once_each() {
        let home = tempfile::tempdir().expect("a folder");
        let ssh = home.path().join(".ssh");
        std::fs::create_dir(&ssh).expect("made");
        std::fs::write(ssh.join("id_ed25519.pub"), ANN).expect("written");
        std::fs::write(ssh.join("id_ed25519"), "private").expect("written");
        std::fs::write(ssh.join("id_ed25519-cert.pub"), "certificate").expect("written");
        std::fs::write(ssh.join("broken.pub"), "nonsense").expect("written");
        let team = home.path().join("team");
        std::fs::write(&team, format!("# the team\n\n{ANN}\n{BOB}\n")).expect("written");
        let keys = collect(Some(home.path()), Some("root"), &[team]).expect("collected");
        let told: Vec<_> = keys.iter().map(|key| (key.user.as_str(), key.file.as_str(), key.own)).collect();
        let team = home.path().join("team").display().to_string();
        assert_eq!(told, [("ann", "~/.ssh/id_ed25519.pub", true), ("root", team.as_str(), false)]);
    }

    #[test]
    fn a_named_file_must_hold_keys() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key");
        for (text, says) in [("", "holds no public key"), ("\n-----BEGIN OPENSSH PRIVATE KEY-----\n", "line 2: not a public key")] {
            std::fs::write(&file, text).expect("written");
            let failure = collect(None, None, std::slice::from_ref(&file)).expect_err("refused").to_string();
            assert!(failure.contains(says), "{failure}");
        }
        assert!(collect(None, None, &[folder.path().join("missing")]).is_err());
    }
}

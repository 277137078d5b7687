//! `packmule init`: every setting with its default, and the keys of whoever calls it as a first user with a rule, into a `config.toml`.
//!
//! With the file only what stands in it counts: unlike without one, the keys in `~/.ssh` are not let in beside it, for nobody who
//! edits the rules would expect that.

use super::admin_keys::{self, AdminKey};
use super::args::InitArgs;
use super::failure::Failure;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

/// Every setting, as the project shows them.
const TEMPLATE: &str = include_str!("../../config.toml");
/// What is said otherwise in a file with users, and how.
const OWN_KEYS: [&str; 2] = ["own_keys = true ", "own_keys = false"];

/// Run the command: what it did, in words.
///
/// # Errors
/// There is such a file already, or no key, or the system says no; nothing was changed then.
pub(super) fn run(args: &InitArgs) -> Result<String, Failure> {
    let (home, person) = admin_keys::whoever_starts();
    let keys = admin_keys::collect(home.as_deref(), person.as_deref(), &args.admin_key)?;
    if keys.is_empty() {
        return Err(Failure::configuration("no public key found for a first user")
            .hint("ssh-keygen -t ed25519 makes one in ~/.ssh; or name one: packmule init --admin-key FILE.pub"));
    }
    let path = args.root.join("config.toml");
    std::fs::create_dir_all(&args.root).map_err(|error| Failure::io(format!("cannot make {}: {error}", args.root.display())))?;
    write_new(&path, &text(&keys))?;
    let mut said = format!("wrote {}: every setting with its default, and\n", path.display());
    for (user, keys) in by_user(&keys) {
        let files: Vec<&str> = keys.iter().map(|key| key.file.as_str()).collect();
        let _ = writeln!(said, "  user {user} with the key of {}, who may do everything", files.join(", "));
    }
    let _ = writeln!(said, "try:  packmule serve --config {}", path.display());
    Ok(said)
}

/// Write a file that is not there yet.
///
/// # Errors
/// It is there, or the system says no; nothing was changed then.
pub(super) fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |what: String| move |error| Failure::io(format!("cannot {what}: {error}"));
    let mut file = match File::create_new(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let there = format!("{} is there already; nothing was changed", path.display());
            return Err(Failure::configuration(there).hint(format!("packmule check --config {} tells its mistakes", path.display())));
        }
        file => file.map_err(failed(format!("make {}", path.display())))?,
    };
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| {
        // Half a file would be in the way of the next try.
        let _ = std::fs::remove_file(path);
        failed(format!("write {}", path.display()))(error)
    })
}

fn by_user(keys: &[AdminKey]) -> BTreeMap<&str, Vec<&AdminKey>> {
    let mut users: BTreeMap<&str, Vec<&AdminKey>> = BTreeMap::new();
    keys.iter().for_each(|key| users.entry(key.user.as_str()).or_default().push(key));
    users
}

fn text(keys: &[AdminKey]) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let users = by_user(keys);
    let mut text = TEMPLATE.replacen(OWN_KEYS[0], OWN_KEYS[1], 1);
    for (user, keys) in &users {
        let lines: Vec<String> = keys.iter().map(|key| format!("    {},\n", quoted(&key.key.to_openssh()))).collect();
        let _ = write!(text, "\n[users.{}]\nkeys = [\n{}]\n", quoted(user), lines.concat());
    }
    let names: Vec<String> = users.keys().map(|user| quoted(user)).collect();
    let _ = write!(
        text,
        "\n[[rule]]\nusers = [{}]\nrepositories = [\"*\"]\nallow = [\"read\", \"write\", \"rewind\", \"delete\", \"create-repository\", \"admin\"]\n",
        names.join(", ")
    );
    text
}

#[cfg(test)]
mod tests {
    use super::super::rules::Source;
    use super::*;
    use crate::access::rules::Verb;

    const ANN: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHnnZrHtIsNEGQUwhbwzK3QM4C8+0X0X+mHq2sU1yJ1q ann@laptop";

    #[test]
    fn the_file_is_right_says_what_the_defaults_are_and_lets_the_first_user_do_everything() {
        let dir = tempfile::tempdir().expect("a folder");
        let key = dir.path().join("key.pub");
        std::fs::write(&key, ANN).expect("written");
        let root = dir.path().join("new/root");
        let keys = admin_keys::collect(None, Some("starter"), &[key]).expect("a key");
        std::fs::create_dir_all(&root).expect("made");
        write_new(&root.join("config.toml"), &text(&keys)).expect("made");
        let source = Source { file: root.join("config.toml"), home: None, person: None, admin_keys: vec![] };
        let (book, admins, _) = source.read().expect("right").split();
        assert_eq!((book.counts(), admins.len()), ((1, 1, 1), 0));
        assert_eq!(book.owner(&keys[0].key), Some("ann"));
        for verb in Verb::ALL {
            assert!(book.ask("ann", "some/repository", None, verb).is_allowed, "{verb}");
            assert!(!book.ask("bob", "some/repository", None, verb).is_allowed, "{verb}");
        }
        assert_eq!(TEMPLATE.matches(OWN_KEYS[0]).count(), 1, "nothing else is said otherwise");
        let before = std::fs::read(root.join("config.toml")).expect("there");
        let again = write_new(&root.join("config.toml"), "other").expect_err("it is there");
        assert!(again.to_string().contains("nothing was changed"), "{again}");
        assert_eq!(std::fs::read(root.join("config.toml")).expect("there"), before);
    }
}

//! `packmule users`: people of `config.toml` into a list, new ones into it, and passwords into hashes.

use super::super::failure::Failure;
use super::args::{UsersArgs, UsersCommand};
use super::keys::{Place, entries, read, unknown_user, unusual};
use super::{Edit, layout, option, quoted, user_mut};
use crate::access::rules::{ANONYMOUS, WrittenGroups};
use crate::access::{PasswordHash, Secret, printable};
use crate::transport::json_string;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::path::Path;
use toml_edit::{DocumentMut, Item, Table};

/// Bytes of a password.
const PASSWORD_BYTES_MAX: u64 = 1_024;

/// Run the command: what it did, or who is there.
pub(in crate::cli) fn run(args: &UsersArgs) -> Result<String, Failure> {
    let file = &args.config;
    match &args.command {
        None => list(file, args.json),
        Some(UsersCommand::Add { name }) => add(file, name),
        Some(UsersCommand::Remove { name, file: with_file }) => remove(file, name, *with_file),
        Some(UsersCommand::Password { name, remove: true }) => forget_password(file, name),
        Some(UsersCommand::Password { name, .. }) => set_password(file, name, &ask_password(name)?),
    }
}

/// Groups that `user` is in, through others too.
pub(super) fn groups_of<'a>(groups: &'a WrittenGroups, user: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut next = vec![user.to_owned()];
    while let Some(member) = next.pop() {
        for (name, members) in groups {
            if members.iter().any(|word| *word.get_ref() == member) && found.insert(name.get_ref().as_str()) {
                next.push(format!("@{}", name.get_ref()));
            }
        }
    }
    found
}

fn list(file: &Path, as_json: bool) -> Result<String, Failure> {
    let (reading, text) = read(file)?;
    let entries = entries(&reading, &text)?;
    let written = &reading.config.users;
    let mut names: BTreeSet<&str> = written.keys().map(|name| name.get_ref().as_str()).collect();
    names.extend(entries.iter().map(|entry| entry.user.as_str()));
    let mut said = String::new();
    for name in names {
        let user = written.iter().find(|(known, _)| known.get_ref() == name).map(|(_, user)| user);
        let is_admin = reading.book.is_admin(name);
        let has_password = user.is_some_and(|user| user.password.is_some());
        let keys: Vec<_> = entries.iter().filter(|entry| entry.user == name).collect();
        let groups = groups_of(&reading.config.groups, name);
        let principals: Vec<&str> = user.iter().flat_map(|user| user.principals.iter().map(|word| word.get_ref().as_str())).collect();
        // Writing to a string cannot fail.
        let _ = if as_json {
            let list = |words: &mut dyn Iterator<Item = String>| words.map(|word| json_string(&word)).collect::<Vec<_>>().join(",");
            writeln!(
                said,
                "{{\"name\":{},\"admin\":{is_admin},\"keys\":[{}],\"groups\":[{}],\"password\":{has_password},\"principals\":[{}]}}",
                json_string(name),
                list(&mut keys.iter().map(|entry| entry.key.fingerprint())),
                list(&mut groups.iter().map(|name| (*name).to_owned())),
                list(&mut principals.iter().map(|name| (*name).to_owned())),
            )
        } else {
            let mut facts = vec![match keys.len() {
                1 => "1 key".to_owned(),
                many => format!("{many} keys"),
            }];
            facts.extend(has_password.then(|| "a password".to_owned()));
            facts.extend((!principals.is_empty()).then(|| format!("certificates for {}", printable(&principals.join(", ")))));
            facts.extend(
                (!groups.is_empty()).then(|| format!("in {}", groups.iter().map(|name| format!("@{name}")).collect::<Vec<_>>().join(", "))),
            );
            facts.extend(is_admin.then(|| "may do everything".to_owned()));
            writeln!(said, "{}: {}", printable(name), facts.join(", "))
        };
    }
    Ok(said)
}

fn add(file: &Path, name: &str) -> Result<String, Failure> {
    let mut edit = Edit::open(file)?;
    if edit.before.book.knows(name) {
        return Ok(format!("{} is there already\n", printable(name)));
    }
    if !layout::add_user(&mut edit.document, name, Table::new()) {
        return Err(unusual(file));
    }
    let note = edit.note();
    edit.write()?;
    let (option, name) = (option(file), quoted(name));
    Ok(format!(
        "{name} added; to let them log in: packmule keys add{option} {name} FILE.pub\nto take it back: packmule users remove{option} {name}\n{note}"
    ))
}

/// A list of the table `item` without `name`: none where there is no such list, whether it is empty then otherwise.
fn leave_out(item: &mut dyn toml_edit::TableLike, list: &str, name: &str) -> Option<bool> {
    let array = item.get_mut(list)?.as_array_mut()?;
    let before = array.len();
    for at in (0..before).rev() {
        if array.get(at).and_then(toml_edit::Value::as_str) == Some(name) {
            layout::remove(array, at);
        }
    }
    (array.len() < before).then(|| array.is_empty())
}

/// Every mention of `name` away, with what was about nobody else.
fn forget(document: &mut DocumentMut, name: &str) -> Result<Vec<String>, Failure> {
    let mut told = vec![];
    let only = |what: &str| {
        Failure::configuration(format!("{what} is about '{}' alone: without them it would be about everybody", printable(name)))
            .hint("take it out by hand, or name somebody else there")
    };
    if let Some(groups) = document.get_mut("groups").and_then(Item::as_table_like_mut) {
        let all: Vec<String> = groups.iter().map(|(group, _)| group.to_owned()).collect();
        told.extend(all.iter().filter(|group| leave_out(groups, group, name).is_some()).map(|group| format!("no longer in @{group}")));
    }
    for (table, what, may_go) in
        [("rule", "rule", true), ("limit", "limit", false), ("certificate_authority", "authority", false), ("test", "test", true)]
    {
        let count = document.get(table).and_then(Item::as_array_of_tables).map_or(0, toml_edit::ArrayOfTables::len);
        for at in (0..count).rev() {
            let Some(entry) = document.get_mut(table).and_then(Item::as_array_of_tables_mut).and_then(|entries| entries.get_mut(at)) else {
                continue;
            };
            let is_tested = entry.get("user").and_then(Item::as_str) == Some(name);
            match leave_out(entry, "users", name) {
                Some(true) if !may_go => return Err(only(&format!("{what} {}", at + 1))),
                Some(true) => {
                    layout::remove_table(document, table, at);
                    told.push(format!("{what} {}, which was about nobody else, is gone", at + 1));
                }
                Some(false) => told.push(format!("no longer in {what} {}", at + 1)),
                None if is_tested => {
                    layout::remove_table(document, table, at);
                    told.push(format!("{what} {} is gone", at + 1));
                }
                None => {}
            }
        }
    }
    Ok(told)
}

fn remove(file: &Path, name: &str, with_file: bool) -> Result<String, Failure> {
    let mut edit = Edit::open(file)?;
    if !edit.before.book.knows(name) || name == ANONYMOUS {
        return Err(unknown_user(file, name));
    }
    let entries = entries(&edit.before, &edit.text)?;
    let own = || entries.iter().filter(|entry| entry.user == name);
    if own().any(|entry| matches!(entry.place, Place::Admin(_))) {
        return Err(Failure::configuration(format!(
            "'{}' may do everything by a key of [ssh] admin_keys; nothing was changed",
            printable(name)
        )));
    }
    let in_folder: BTreeSet<&Path> =
        own().filter_map(|entry| if let Place::Folder { file, .. } = &entry.place { Some(file.as_path()) } else { None }).collect();
    if let Some(path) = in_folder.first().filter(|_| !with_file) {
        return Err(Failure::configuration(format!("{} makes '{}' a user; nothing was changed", path.display(), printable(name)))
            .hint("--file deletes it, too"));
    }
    layout::remove_user(&mut edit.document, name);
    let told = forget(&mut edit.document, name)?;
    // Without the folder's file: a rule that named only them is gone by then, and a group may not name whom nobody knows.
    let kept: Vec<_> = in_folder
        .iter()
        .map(|path| Ok((*path, std::fs::read(path)?)))
        .collect::<std::io::Result<_>>()
        .map_err(|error| Failure::io(error.to_string()))?;
    for (path, _) in &kept {
        std::fs::remove_file(path).map_err(|error| Failure::io(format!("{}: {error}", path.display())))?;
    }
    edit.write().inspect_err(|_| {
        kept.iter().for_each(|(path, bytes)| drop(std::fs::write(path, bytes)));
    })?;
    let mut said = format!("{} removed\n", printable(name));
    told.iter().rev().for_each(|what| {
        let _ = writeln!(said, "  {what}");
    });
    kept.iter().for_each(|(path, _)| {
        let _ = writeln!(said, "  {} deleted", path.display());
    });
    Ok(said)
}

fn set_password(file: &Path, name: &str, password: &Secret) -> Result<String, Failure> {
    let hash = PasswordHash::make(password).map_err(Failure::io)?;
    let mut edit = Edit::open(file)?;
    if !edit.before.book.knows(name) || edit.before.book.is_admin(name) {
        return Err(unknown_user(file, name));
    }
    match user_mut(&mut edit.document, name) {
        Some(user) => {
            let table = user.as_table_like_mut().ok_or_else(|| unusual(file))?;
            match table.get_mut("password") {
                // What is said of it stays.
                Some(Item::Value(old)) => {
                    let decor = old.decor().clone();
                    *old = hash.into();
                    *old.decor_mut() = decor;
                }
                _ => drop(table.insert("password", toml_edit::value(hash))),
            }
        }
        None => {
            let mut table = Table::new();
            table.insert("password", toml_edit::value(hash));
            if !layout::add_user(&mut edit.document, name, table) {
                return Err(unusual(file));
            }
        }
    }
    edit.write()?;
    Ok(format!(
        "{name} may log in with the new password\nto take it back: packmule users password{} {} --remove\n",
        option(file),
        quoted(name)
    ))
}

fn forget_password(file: &Path, name: &str) -> Result<String, Failure> {
    let mut edit = Edit::open(file)?;
    let user = user_mut(&mut edit.document, name).and_then(Item::as_table_like_mut);
    if user.and_then(|user| user.remove("password")).is_none() {
        return Err(Failure::configuration(format!("'{}' has no password", printable(name))));
    }
    edit.write()?;
    Ok(format!("{name} has no password any more\n"))
}

/// One line of standard input; on a terminal it is asked for, twice, and not shown.
fn ask_password(name: &str) -> Result<Secret, Failure> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return password_of(&read_line()?);
    }
    let modes = tcgetattr(&input).map_err(|error| Failure::io(format!("the terminal: {error}")))?;
    let mut silent = modes.clone();
    // Interrupted in between, a terminal would stay silent: as in getpass(3), signals wait for the end of the line.
    silent.local_modes -= LocalModes::ECHO | LocalModes::ISIG;
    tcsetattr(&input, OptionalActions::Flush, &silent).map_err(|error| Failure::io(format!("the terminal: {error}")))?;
    let asked = (|| {
        eprint!("password of {}: ", printable(name));
        let first = read_line()?;
        eprint!("\nonce more: ");
        let second = read_line()?;
        eprintln!();
        if first == second { password_of(&first) } else { Err(Failure::configuration("these are two different ones; nothing was changed")) }
    })();
    let restored = tcsetattr(&input, OptionalActions::Flush, &modes);
    restored.map_err(|error| Failure::io(format!("the terminal: {error}")))?;
    asked
}

fn read_line() -> Result<zeroize::Zeroizing<String>, Failure> {
    let mut line = zeroize::Zeroizing::new(String::new());
    let read = std::io::stdin().lock().take(PASSWORD_BYTES_MAX + 1).read_line(&mut line);
    match read.map_err(|error| Failure::io(format!("standard input: {error}")))? {
        bytes if bytes as u64 > PASSWORD_BYTES_MAX => {
            Err(Failure::configuration(format!("a password has at most {PASSWORD_BYTES_MAX} bytes")))
        }
        _ => Ok(line),
    }
}

fn password_of(line: &str) -> Result<Secret, Failure> {
    let word = line.trim_end_matches('\n').trim_end_matches('\r');
    match word {
        "" => Err(Failure::configuration("an empty password is none").hint("--remove takes a password away")),
        word if word.chars().any(char::is_control) => {
            Err(Failure::configuration("there are control characters in it; nothing was changed"))
        }
        word => Ok(Secret::new(word)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    const TEXT: &str = r#"ssh.own_keys = false
key_folder = "keys"

[users.ann]
principals = ["a"]

[users.bob]

[groups]
inner = ["bob"]
staff = ["ann", "@inner"]

[[rule]]
users = ["bob", "@staff"]
repositories = ["x"]
allow = ["read"]

[[rule]]
users = ["bob"]
repositories = ["x"]
allow = ["write"]
"#;

    fn house(more: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("keys")).expect("made");
        let file = folder.path().join("config.toml");
        std::fs::write(&file, format!("{TEXT}{more}")).expect("written");
        (folder, file)
    }

    fn said(answer: Result<String, Failure>) -> String {
        answer.unwrap_or_else(|failure| failure.to_string())
    }

    #[test]
    fn users_are_listed_with_what_lets_them_in() {
        let (_folder, file) = house("");
        assert_eq!(said(list(&file, false)), "ann: 0 keys, certificates for a, in @staff\nbob: 0 keys, in @inner, @staff\n");
        let json = said(list(&file, true));
        assert!(
            json.starts_with(
                "{\"name\":\"ann\",\"admin\":false,\"keys\":[],\"groups\":[\"staff\"],\"password\":false,\"principals\":[\"a\"]}\n"
            ),
            "{json}"
        );
    }

    #[test]
    fn whoever_goes_leaves_nothing_behind_that_opens_anything() {
        let (_folder, file) = house("");
        let answer = said(remove(&file, "bob", false));
        assert!(answer.contains("rule 2, which was about nobody else") && answer.contains("no longer in @inner"), "{answer}");
        let left =
            TEXT.replace("[users.bob]\n\n", "").replace("[\"bob\"]\nstaff", "[]\nstaff").replace("[\"bob\", \"@staff\"]", "[\"@staff\"]");
        let (left, _) = left.rsplit_once("\n[[rule]]").expect("a rule");
        assert_eq!(std::fs::read_to_string(&file).expect("there"), left);
        assert!(said(remove(&file, "bob", false)).contains("no user 'bob'"));
        // What would be about everybody then stays as it is.
        let ca = "[[certificate_authority]]\nkeys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ\"]\nusers = [\"bob\"]\n";
        let (_folder, file) = house(ca);
        assert!(said(remove(&file, "bob", false)).contains("authority 1 is about 'bob' alone"));
        assert_eq!(std::fs::read_to_string(&file).expect("there"), format!("{TEXT}{ca}"));
    }

    #[test]
    fn a_file_of_keys_makes_a_user_until_it_goes() {
        let (folder, file) = house("");
        let key = folder.path().join("keys/eve.pub");
        std::fs::write(&key, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ\n").expect("written");
        assert!(said(remove(&file, "eve", false)).contains("eve.pub makes 'eve' a user") && key.exists());
        assert!(said(remove(&file, "eve", true)).contains("eve.pub deleted") && !key.exists());
        assert!(said(add(&file, "eve")).starts_with("eve added") && said(add(&file, "eve")).contains("already"));
        assert!(said(add(&file, "-x")).contains("is no name"));
    }

    #[test]
    fn a_password_is_kept_as_a_hash_of_ours() {
        let (_folder, file) = house("");
        for word in ["canary", "other"] {
            assert!(said(set_password(&file, "ann", &password_of(&format!("{word}\r\n")).expect("one"))).starts_with("ann may log in"));
            let text = std::fs::read_to_string(&file).expect("there");
            let hash = text.split("password = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("a hash");
            assert!(PasswordHash::parse(hash).expect("a hash").verify(word) && !text.contains(word), "{text}");
            assert_eq!(text.matches("password").count(), 1);
        }
        assert!(said(list(&file, false)).starts_with("ann: 0 keys, a password,"));
        assert_eq!(said(forget_password(&file, "ann")), "ann has no password any more\n");
        assert!(said(forget_password(&file, "ann")).contains("has no password"));
        assert_eq!(std::fs::read_to_string(&file).expect("there"), TEXT);
        assert!(password_of("\n").is_err() && password_of("a\x1bb\n").is_err());
        assert!(said(set_password(&file, "eve", &Secret::new("x"))).contains("no user 'eve'"));
    }
}

//! `.repoperms` into who may read and write which repository, as Python's `SafeConfigParser` reads the file for GitServerGlue.
//!
//! ```ini
//! [website.git]
//! ann = rw
//! bob = r
//! anonymous = r
//! ```
//!
//! A section is named after the folder of a repository, `.git` included. An `r` anywhere in a value lets fetch, a `w` push. Names
//! of users are the same in capitals and small letters. What stands in `[DEFAULT]` holds in every section that does not say
//! otherwise. Lines that begin with `#`, `;` or the word `rem` are comments, and so is what stands behind a space and `;`. Of two
//! lines for one user the last counts; sections of the same name are one. A line that begins with a space goes on with the one above.

use std::collections::HashMap;

const DEFAULTS: &str = "DEFAULT";

/// What somebody may do with one repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rights {
    pub(super) read: bool,
    pub(super) write: bool,
    /// The line that says so.
    pub(super) line: usize,
}

type Section = HashMap<String, Rights>;

/// Rights by repository and user.
#[derive(Debug, Default)]
pub(super) struct Permissions {
    sections: HashMap<String, Section>,
    defaults: Section,
    pub(super) odd: Vec<String>,
}

impl Permissions {
    /// Read the file's text; `name` is that of the file.
    ///
    /// # Errors
    /// A line that is neither section nor assignment.
    pub(super) fn parse(text: &str, name: &str) -> Result<Self, String> {
        let mut read = Self::default();
        let (mut section, mut last): (Option<String>, Option<String>) = (None, None);
        for (number, line) in (1..).zip(text.lines()) {
            if is_comment(line) {
                continue;
            }
            if let (true, Some(section), Some(user)) = (line.starts_with(char::is_whitespace), &section, &last) {
                let more = rights(line, number);
                if let Some(rights) = read.section(section).get_mut(user) {
                    (rights.read, rights.write) = (rights.read || more.read, rights.write || more.write);
                }
                continue;
            }
            if let Some((header, _)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')).filter(|(header, _)| !header.is_empty())
            {
                if header != DEFAULTS && !header.ends_with(".git") {
                    read.odd
                        .push(format!("{name}:{number}: [{}] is about no repository: their names end in .git", super::printable(header)));
                }
                read.section(header);
                (section, last) = (Some(header.to_owned()), None);
                continue;
            }
            let Some(section) = &section else {
                return Err(format!("{name}:{number}: a line stands above the first [section]"));
            };
            let assigned = line.split_once(['=', ':']).filter(|(user, _)| !user.is_empty() && !user.starts_with(char::is_whitespace));
            let Some((user, value)) = assigned else {
                return Err(format!("{name}:{number}: neither [section] nor USER = rw"));
            };
            let (user, value) = (user.trim_end().to_lowercase(), without_comment(value));
            if !value.chars().all(|letter| letter == 'r' || letter == 'w') {
                read.odd.push(format!("{name}:{number}: '{}' is neither r, w nor rw: its letters r and w count", super::printable(value)));
            }
            read.section(section).insert(user.clone(), rights(value, number));
            last = Some(user);
        }
        Ok(read)
    }

    fn section(&mut self, name: &str) -> &mut Section {
        if name == DEFAULTS { &mut self.defaults } else { self.sections.entry(name.to_owned()).or_default() }
    }

    /// What `user` may do with the repository whose folder is called `folder`.
    pub(super) fn of(&self, user: &str, folder: &str) -> Rights {
        let Some(section) = self.sections.get(folder) else { return Rights::default() };
        let user = user.to_lowercase();
        section.get(&user).or_else(|| self.defaults.get(&user)).copied().unwrap_or_default()
    }

    /// Repositories that are named.
    pub(super) fn folders(&self) -> impl Iterator<Item = &str> {
        self.sections.keys().map(String::as_str)
    }

    /// Whether `user` may read anything.
    pub(super) fn lets_read(&self, user: &str) -> bool {
        self.sections.keys().any(|folder| self.of(user, folder).read)
    }
}

fn is_comment(line: &str) -> bool {
    let first = line.split_whitespace().next();
    line.starts_with(['#', ';']) || first.is_none_or(|word| word.eq_ignore_ascii_case("rem") && line.starts_with(['r', 'R']))
}

/// The value without what stands behind a space and a semicolon.
fn without_comment(value: &str) -> &str {
    let end = value.find(';').filter(|at| value[..*at].ends_with(char::is_whitespace)).unwrap_or(value.len());
    value[..end].trim()
}

fn rights(value: &str, line: usize) -> Rights {
    Rights { read: value.contains('r'), write: value.contains('w'), line }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# people\nrem and more\n[DEFAULT]\nguest = r\n[website.git]\nAnn = rw\nbob: r ; a comment\nanonymous=r\n\
                        eve =\n guest = x\n[plans.git]\nbob = w\nbob = r\nguest =\n[website.git]\ncleo = r\n  w\n[wiki]\nann = rw\n";

    fn shown(read: &Permissions, user: &str, folder: &str) -> String {
        let rights = read.of(user, folder);
        [(rights.read, 'r'), (rights.write, 'w')].into_iter().filter(|(has, _)| *has).map(|(_, letter)| letter).collect()
    }

    #[test]
    fn the_file_means_what_it_means_to_pythons_parser() {
        let read = Permissions::parse(TEXT, ".repoperms").expect("read");
        for (user, folder, rights) in [
            ("ann", "website.git", "rw"),
            ("Ann", "website.git", "rw"),
            ("bob", "website.git", "r"),
            ("bob", "plans.git", "r"),
            ("anonymous", "website.git", "r"),
            ("anonymous", "plans.git", ""),
            // A line that begins with a space belongs to the one above: an assignment there is none.
            ("eve", "website.git", ""),
            ("guest", "website.git", "r"),
            ("guest", "plans.git", ""),
            ("guest", "other.git", ""),
            ("cleo", "website.git", "rw"),
            ("ann", "plans.git", ""),
            ("ann", "website", ""),
            ("", "website.git", ""),
        ] {
            assert_eq!(shown(&read, user, folder), rights, "{user} {folder}");
        }
        assert!(read.lets_read("anonymous") && !read.lets_read("nobody"));
        assert_eq!(read.of("ann", "website.git").line, 6);
        assert!(read.odd.len() == 1 && read.odd[0].starts_with(".repoperms:18: [wiki]"), "{:?}", read.odd);
    }

    #[test]
    fn words_count_by_their_letters_and_are_told() {
        let read = Permissions::parse("[a.git]\nann = read\nbob = none\ncleo = write\n", "p").expect("read");
        assert_eq!(
            (shown(&read, "ann", "a.git"), shown(&read, "bob", "a.git"), shown(&read, "cleo", "a.git")),
            ("r".into(), String::new(), "rw".into())
        );
        assert_eq!(read.odd.len(), 3);
    }

    #[test]
    fn what_is_no_such_file_is_a_fault_with_its_line() {
        for (text, says) in [
            ("ann = rw\n", "p:1: a line stands above"),
            ("[a.git]\nann\n", "p:2: neither"),
            ("[a.git]\n= rw\n", "p:2: neither"),
            ("[]\n", "p:1:"),
        ] {
            let fault = Permissions::parse(text, "p").expect_err(text);
            assert!(fault.starts_with(says), "{fault}");
        }
    }
}

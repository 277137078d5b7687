//! Names in trees that some file system takes for `.git`, `.gitmodules` and the like.
//!
//! Source: `utf8.c` (HFS+ ignores some code points and case), `path.c` (NTFS ignores case, spaces and dots at the end,
//! what follows a colon, and knows short names such as `git~1`). Names have no NUL in them, as trees cannot hold one.

/// A name beginning with a dot that git gives a meaning to.
pub(super) struct Dotted {
    /// Without the dot.
    name: &'static [u8],
    /// What Windows begins a short name with when the usual ones are taken.
    ntfs_short: &'static [u8; 6],
}

/// `.gitmodules`.
pub(super) const GITMODULES: Dotted = Dotted { name: b"gitmodules", ntfs_short: b"gi7eba" };
/// `.gitattributes`.
pub(super) const GITATTRIBUTES: Dotted = Dotted { name: b"gitattributes", ntfs_short: b"gi7d29" };
/// `.gitignore`.
pub(super) const GITIGNORE: Dotted = Dotted { name: b"gitignore", ntfs_short: b"gi250a" };
/// `.mailmap`.
pub(super) const MAILMAP: Dotted = Dotted { name: b"mailmap", ntfs_short: b"maba30" };

/// First bytes of all names that any function here says yes to: a dot, short names, code points that HFS+ ignores.
pub(super) fn may_be_special(first: u8) -> bool {
    matches!(first, b'.' | b'g' | b'G' | b'm' | b'M' | b'~' | 0xe2 | 0xef)
}

impl Dotted {
    /// Whether HFS+ or NTFS takes `name` for this one.
    pub(super) fn is(&self, name: &[u8]) -> bool {
        is_hfs(name, self.name) || self.is_ntfs(name)
    }

    /// Whether NTFS takes `name` for this one.
    pub(super) fn is_ntfs(&self, name: &[u8]) -> bool {
        let long = name.strip_prefix(b".").and_then(|rest| strip_prefix_no_case(rest, self.name));
        let rest = long.or_else(|| self.short_name(name)).or_else(|| self.hashed_short_name(name));
        rest.is_some_and(|rest| {
            let end = rest.iter().position(|&byte| byte == b':').unwrap_or(rest.len());
            rest[..end].iter().all(|&byte| matches!(byte, b' ' | b'.'))
        })
    }

    /// Six letters, `~` and a digit up to 4.
    fn short_name<'a>(&self, name: &'a [u8]) -> Option<&'a [u8]> {
        match strip_prefix_no_case(name, &self.name[..6])? {
            [b'~', b'1'..=b'4', rest @ ..] => Some(rest),
            _ => None,
        }
    }

    /// Eight bytes: the beginning of letters and a checksum, `~` and a number.
    fn hashed_short_name<'a>(&self, name: &'a [u8]) -> Option<&'a [u8]> {
        let (short, rest) = name.split_at_checked(8)?;
        let tilde = short.iter().position(|&byte| byte == b'~').filter(|&at| at < 7)?;
        let letters = tilde <= 6 && short[..tilde].eq_ignore_ascii_case(&self.ntfs_short[..tilde]);
        let number = (b'1'..=b'9').contains(&short[tilde + 1]) && short[tilde + 2..].iter().all(u8::is_ascii_digit);
        (letters && number).then_some(rest)
    }
}

/// Whether HFS+ or NTFS takes `name` for `.git`.
pub(super) fn is_dot_git(name: &[u8]) -> bool {
    is_hfs(name, b"git") || is_ntfs_dot_git(name)
}

/// Whether NTFS takes `name`, or what stands before a separator in it, for `.git`.
pub(super) fn is_ntfs_dot_git(name: &[u8]) -> bool {
    let rest = name.strip_prefix(b".").and_then(|rest| strip_prefix_no_case(rest, b"git"));
    rest.or_else(|| strip_prefix_no_case(name, b"git~1")).is_some_and(|rest| {
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'\\' | b':')).unwrap_or(rest.len());
        rest[..end].iter().all(|&byte| matches!(byte, b' ' | b'.'))
    })
}

fn strip_prefix_no_case<'a>(name: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = name.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Whether HFS+ takes `name`, or what stands before a slash in it, for a dot and `wanted`.
fn is_hfs(name: &[u8], wanted: &[u8]) -> bool {
    let mut rest = name;
    let mut is = |wanted: u8| matches!(next_hfs(&mut rest), Hfs::Char(found) if found < 128 && found as u8 == wanted);
    is(b'.') && wanted.iter().all(|&wanted| is(wanted)) && matches!(next_hfs(&mut rest), Hfs::End | Hfs::Char(0x2f))
}

enum Hfs {
    /// Lower-case where it is ASCII.
    Char(u32),
    /// Or bytes that are no UTF-8: git takes both for the end.
    End,
}

/// The next code point that HFS+ does not ignore.
fn next_hfs(rest: &mut &[u8]) -> Hfs {
    loop {
        let Some((found, len)) = next_code_point(rest) else { return Hfs::End };
        *rest = &rest[len..];
        match found {
            0x200c..=0x200f | 0x202a..=0x202e | 0x206a..=0x206f | 0xfeff => {}
            ascii @ 0..128 => return Hfs::Char(u32::from((ascii as u8).to_ascii_lowercase())),
            other => return Hfs::Char(other),
        }
    }
}

/// The first code point and its bytes; `None` at the end and where the bytes are none that git takes.
fn next_code_point(bytes: &[u8]) -> Option<(u32, usize)> {
    let first = *bytes.first()?;
    let len = match first {
        0..0x80 => return Some((u32::from(first), 1)),
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0..0xf5 => 4,
        _ => return None,
    };
    let found = std::str::from_utf8(bytes.get(..len)?).ok()?.chars().next()?;
    // These two are no characters, and git refuses them.
    (!matches!(found, '\u{fffe}' | '\u{ffff}')).then_some((u32::from(found), len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_dot_git_are_found() {
        for name in [
            ".git",
            ".GIT",
            ".Git",
            "git~1",
            "GIT~1",
            ".git ",
            ".git.",
            ".git...  ",
            ".git::$INDEX_ALLOCATION",
            "git~1 .",
            ".git/x",
            ".git\\x",
            ".g\u{200c}it",
            "\u{feff}.git",
            ".gi\u{200e}T\u{206f}",
            ".git:x",
        ] {
            assert!(is_dot_git(name.as_bytes()), "{name:?}");
            assert!(may_be_special(name.as_bytes()[0]), "{name:?}");
        }
        for name in ["git", ".gitx", "git~2", ".git x", ".g\u{300}it", "..git", " .git", ".gi", "", "g", ".gıt"] {
            assert!(!is_dot_git(name.as_bytes()), "{name:?}");
        }
        assert!(is_dot_git(b".git\xff") && is_dot_git(b".git\xc3"), "bytes that are no UTF-8 end a name for git");
        assert!(!is_dot_git(b".g\xffit"));
    }

    #[test]
    fn spellings_of_dot_gitmodules_are_found() {
        for name in [
            ".gitmodules",
            ".GitModules",
            "gitmod~1",
            "GITMOD~4",
            "gi7eba~1",
            "GI7EBA~9",
            "gi7eb~10",
            "gi7e~100",
            "g~999999",
            "~1000000",
            ".gitmodules .",
            ".gitmodules:$DATA",
            "gitmod~1 ..",
            ".gitmod\u{200d}ules",
            ".gitmodules/x",
        ] {
            assert!(GITMODULES.is(name.as_bytes()), "{name:?}");
            assert!(may_be_special(name.as_bytes()[0]), "{name:?}");
        }
        for name in [
            "gitmodules",
            "gitmod~0",
            "gitmod~5",
            "gi7eba~0",
            "gi7d29~1",
            "gi7eba~",
            "gi7eba~x",
            "gi7eba~1x",
            "~0000001",
            "~100000",
            ".gitmodules x",
            ".gitmodulesx",
            ".gitignore",
            "gi7ebax1",
            "~~111111",
            "gi7eba~~",
        ] {
            assert!(!GITMODULES.is(name.as_bytes()), "{name:?}");
        }
        assert!(!GITMODULES.is_ntfs(".gitmodules/x".as_bytes()) && GITMODULES.is_ntfs(b".GITMODULES"));
        assert!(GITATTRIBUTES.is(b"gi7d29~1") && GITIGNORE.is(b"gi250a~1") && MAILMAP.is(b"maba30~1") && MAILMAP.is(b"mailma~2"));
    }
}

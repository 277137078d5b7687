//! git's configuration files and environment into one [`gix_config::File`], in order of precedence.
//!
//! Source: git-config, "FILES", "SCOPES" and "ENVIRONMENT": system, global (XDG, then `~/.gitconfig`),
//! repository, worktree, then `GIT_CONFIG_COUNT` and `GIT_CONFIG_PARAMETERS` (`git -c`). Includes are followed
//! where a program of git would; a server that reads a repository as data follows none.
//! The environment comes in as a function, so that nothing else of it can be read by accident.
//! Limits: the file that a git installation keeps for itself is not looked for (that would start `git`).

use super::Error;
use super::format::{self, Format};
use bstr::{BStr, BString, ByteSlice};
use gix_config::file::Metadata;
use gix_config::file::includes::conditional;
use gix_config::file::init::Options;
use gix_config::{File, Source};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The environment: the value of a variable by its name.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The environment of this process.
pub(super) fn process_env(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Read the repository's own files as data, no includes: its format and its configuration.
pub(super) fn read_repository_only(git_dir: &Path, common_dir: &Path) -> Result<(Format, File), Error> {
    let mut config = read_file(&common_dir.join("config"), Source::Local, Missing::Fine)?.unwrap_or_default();
    let format = format::check(&config, common_dir)?;
    if format.worktree_config
        && let Some(own) = read_file(&git_dir.join("config.worktree"), Source::Worktree, Missing::Fine)?
    {
        append(&mut config, own)?;
    }
    Ok((format, config))
}

/// Read everything that git's own programs read for this repository.
pub(super) fn read_as_git(git_dir: &Path, common_dir: &Path, env: Env<'_>) -> Result<(Format, File), Error> {
    let own = read_file(&common_dir.join("config"), Source::Local, Missing::Fine)?;
    let format = own.as_ref().map_or_else(|| format::check(&File::default(), common_dir), |own| format::check(own, common_dir))?;
    let includes = Includes { env, git_dir: Some(git_dir) };

    let mut config = read_user_files(env, &includes)?;
    if let Some(own) = own {
        append(&mut config, includes.follow(own)?)?;
    }
    if format.worktree_config
        && let Some(own) = read_file(&git_dir.join("config.worktree"), Source::Worktree, Missing::Fine)?
    {
        append(&mut config, includes.follow(own)?)?;
    }
    append(&mut config, includes.follow(read_env(env)?)?)?;
    Ok((format, config))
}

/// Read what a repository cannot speak into: system, global and command line (git-config: "protected configuration").
pub(super) fn read_protected(env: Env<'_>) -> Result<File, Error> {
    let includes = Includes { env, git_dir: None };
    let mut config = read_user_files(env, &includes)?;
    append(&mut config, includes.follow(read_env(env)?)?)?;
    Ok(config)
}

fn read_user_files(env: Env<'_>, includes: &Includes<'_>) -> Result<File, Error> {
    let mut config = File::default();
    let path = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let no_system = match env("GIT_CONFIG_NOSYSTEM") {
        Some(value) => gix_config::Boolean::try_from(value).map_err(|_| Error::Config("GIT_CONFIG_NOSYSTEM is no boolean".into()))?.0,
        None => false,
    };
    if !no_system {
        let system = path("GIT_CONFIG_SYSTEM").unwrap_or_else(|| "/etc/gitconfig".into());
        add_file(&mut config, &system, Source::System, Missing::Fine, includes)?;
    }
    if let Some(global) = env("GIT_CONFIG_GLOBAL") {
        return add_file(&mut config, Path::new(&global), Source::User, Missing::OrForbidden, includes).map(|()| config);
    }
    let home = path("HOME");
    if let Some(folder) = path("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|home| home.join(".config"))) {
        add_file(&mut config, &folder.join("git/config"), Source::Git, Missing::OrForbidden, includes)?;
    }
    if let Some(home) = home {
        add_file(&mut config, &home.join(".gitconfig"), Source::User, Missing::OrForbidden, includes)?;
    }
    Ok(config)
}

/// What may be wrong with a file without being an error.
#[derive(Clone, Copy, PartialEq)]
enum Missing {
    Fine,
    OrForbidden,
}

fn read_file(path: &Path, source: Source, missing: Missing) -> Result<Option<File>, Error> {
    use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(err) if matches!(err.kind(), NotFound | NotADirectory) => return Ok(None),
        Err(err) if err.kind() == PermissionDenied && missing == Missing::OrForbidden => return Ok(None),
        Err(err) => return Err(Error::io(format!("read {}", path.display()))(err)),
    };
    let meta = Metadata::from(source).at(path);
    File::from_bytes_no_includes(&bytes, meta, Options::default())
        .map(Some)
        .map_err(|err| Error::Config(format!("{}: {err}", path.display())))
}

fn add_file(config: &mut File, path: &Path, source: Source, missing: Missing, includes: &Includes<'_>) -> Result<(), Error> {
    match read_file(path, source, missing)? {
        Some(file) => append(config, includes.follow(file)?),
        None => Ok(()),
    }
}

fn append(config: &mut File, other: File) -> Result<(), Error> {
    config.append(other).map(|_| ()).map_err(|err| Error::Config(err.to_string()))
}

/// How `include.path` and `includeIf.<condition>.path` are followed.
struct Includes<'a> {
    env: Env<'a>,
    git_dir: Option<&'a Path>,
}

impl Includes<'_> {
    fn follow(&self, mut file: File) -> Result<File, Error> {
        let includes = |name: &[u8]| name.eq_ignore_ascii_case(b"include") || name.eq_ignore_ascii_case(b"includeIf");
        if !file.sections().any(|section| includes(section.header().name())) {
            return Ok(file); // most files
        }
        let (home, branch) = ((self.env)("HOME").map(PathBuf::from), self.git_dir.and_then(current_branch));
        let interpolate =
            gix_config::path::interpolate::Context { git_install_dir: None, home_dir: home.as_deref(), home_for_user: Some(home_of) };
        let conditional = conditional::Context { git_dir: self.git_dir, branch_name: branch.as_ref().map(|name| name.as_ref()) };
        let includes = gix_config::file::includes::Options::follow(interpolate, conditional);
        file.resolve_includes(Options { includes, ..Options::default() }).map_err(|err| Error::Config(err.to_string()))?;
        Ok(file)
    }
}

/// The branch that HEAD names, for `includeIf.onbranch:`.
fn current_branch(git_dir: &Path) -> Option<gix_ref::FullName> {
    let head = std::fs::read(git_dir.join("HEAD")).ok()?;
    let name = head.strip_prefix(b"ref:")?.trim();
    gix_ref::FullName::try_from(name.as_bstr()).ok()
}

/// The home folder of a user by `/etc/passwd`: a static binary has no other name service to ask.
pub(super) fn home_of(user: &str) -> Option<PathBuf> {
    let passwd = std::fs::read("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut fields = line.split_str(":");
        (fields.next()? == user.as_bytes()).then(|| fields.nth(4))?.map(|home| PathBuf::from(OsString::from_vec(home.to_vec())))
    })
}

/// `GIT_CONFIG_COUNT` with its pairs, then `GIT_CONFIG_PARAMETERS`.
fn read_env(env: Env<'_>) -> Result<File, Error> {
    let mut file = File::new(Metadata::from(Source::Env));
    let mut add = |key: &[u8], value: Option<&BStr>| {
        let bad = || Error::Config(format!("environment: bad key '{}'", key.as_bstr()));
        let key = gix_config::KeyRef::parse_unvalidated(key.as_bstr()).ok_or_else(bad)?;
        // A section of its own for each, so that values of one key keep their order.
        let mut section = file.new_section(key.section_name, key.subsection_name.map(ToOwned::to_owned)).map_err(|_| bad())?;
        section.push(key.value_name, value).map(|_| ()).map_err(|_| bad())
    };
    let text = |name: &str| env(name).map(OsString::into_vec);
    if let Some(count) = text("GIT_CONFIG_COUNT").filter(|count| !count.is_empty()) {
        let count: u32 = count
            .to_str()
            .ok()
            .and_then(|count| count.parse().ok())
            .ok_or_else(|| Error::Config("bogus count in GIT_CONFIG_COUNT".into()))?;
        for at in 0..count {
            let of = |what: &str| {
                let name = format!("GIT_CONFIG_{what}_{at}");
                text(&name).ok_or_else(|| Error::Config(format!("missing {name}")))
            };
            add(&of("KEY")?, Some(of("VALUE")?.as_bstr()))?;
        }
    }
    if let Some(list) = text("GIT_CONFIG_PARAMETERS") {
        for (key, value) in parse_parameters(&list).ok_or_else(|| Error::Config("bogus format in GIT_CONFIG_PARAMETERS".into()))? {
            add(&key, value.as_ref().map(|value| value.as_bstr()))?;
        }
    }
    Ok(file)
}

/// `'key=value'`, `'key'='value'` or `'key'=` (no value), separated by spaces.
fn parse_parameters(list: &[u8]) -> Option<Vec<(BString, Option<BString>)>> {
    let mut pairs = Vec::new();
    let mut rest = list.trim_start();
    while !rest.is_empty() {
        let (key, after) = unquote(rest)?;
        let ends = |rest: &[u8]| rest.first().is_none_or(u8::is_ascii_whitespace);
        if ends(after) {
            let (name, value) = match key.split_once_str("=") {
                Some((name, value)) => (name.into(), Some(value.into())),
                None => (key, None),
            };
            pairs.push((name, value));
            rest = after;
        } else {
            let after = after.strip_prefix(b"=")?;
            let (value, after) = if ends(after) { (None, after) } else { unquote(after).map(|(value, after)| (Some(value), after))? };
            if !ends(after) {
                return None;
            }
            pairs.push((key, value));
            rest = after;
        }
        rest = rest.trim_start();
    }
    Some(pairs)
}

/// A word in single quotes at the start of `text`, with `'\''` and `'\!'` inside, and what follows it.
fn unquote(text: &[u8]) -> Option<(BString, &[u8])> {
    let mut word = BString::default();
    let mut rest = text.strip_prefix(b"'")?;
    loop {
        let end = rest.find_byte(b'\'')?;
        word.extend_from_slice(&rest[..end]);
        rest = &rest[end + 1..];
        match rest {
            [b'\\', quoted @ (b'\'' | b'!'), b'\'', after @ ..] => {
                word.push(*quoted);
                rest = after;
            }
            _ => return Some((word, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{git, git_command, init};
    use super::*;

    /// What `git config --get-all` says in the same environment.
    fn asked_of_git(dir: &Path, env: &[(&str, &str)], key: &str) -> String {
        let mut command = git_command(dir, &[]);
        for name in ["GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM"] {
            command.env_remove(name);
        }
        let output = command.envs(env.iter().copied()).args(["config", "--get-all", key]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn files_includes_and_environment_count_as_git_counts_them() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().canonicalize().unwrap().join(name);
        let text = |name: &str| at(name).to_str().unwrap().to_owned();
        let git_dir = at("r.git");
        init(&git_dir, &["--bare"]);
        for name in ["home/.config/git", "xdg/git"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        std::fs::write(at("system"), "[t]\nk=system\n").unwrap();
        std::fs::write(at("home/.config/git/config"), "[t]\nk=dot-config\n").unwrap();
        std::fs::write(at("xdg/git/config"), "[t]\nk=xdg\n").unwrap();
        std::fs::write(at("home/.gitconfig"), "[t]\nk=home\n[include]\npath=~/more\n").unwrap();
        let condition = |condition: &str, file: &str| format!("[includeIf \"{condition}\"]\npath=../{file}\n");
        let more = [
            "[t]\nk=more\n".to_owned(),
            condition("gitdir:**/r.git", "gitdir"),
            condition("gitdir:**/s.git", "other"),
            condition("onbranch:ma*", "branch"),
            condition("onbranch:side", "other"),
        ];
        std::fs::write(at("home/more"), more.concat()).unwrap();
        for name in ["gitdir", "branch", "other"] {
            std::fs::write(at(name), format!("[t]\nk={name}\n")).unwrap();
        }
        git(&git_dir, &["config", "t.k", "own"]);
        git(&git_dir, &["config", "core.repositoryFormatVersion", "1"]);
        git(&git_dir, &["config", "extensions.worktreeConfig", "true"]);
        std::fs::write(git_dir.join("config.worktree"), "[t]\nk=worktree\n").unwrap();
        let (home, xdg, system) = (text("home"), text("xdg"), text("system"));
        let base = [("HOME", home.as_str()), ("GIT_CONFIG_SYSTEM", &system)];
        let counted = [
            ("GIT_CONFIG_COUNT", "2"),
            ("GIT_CONFIG_KEY_0", "t.k"),
            ("GIT_CONFIG_VALUE_0", "a=b"),
            ("GIT_CONFIG_KEY_1", "T.K"),
            ("GIT_CONFIG_VALUE_1", ""),
        ];
        for more in [
            &[][..],
            &[("XDG_CONFIG_HOME", xdg.as_str())],
            &[("GIT_CONFIG_NOSYSTEM", "yes")],
            &[("GIT_CONFIG_GLOBAL", &system)],
            &counted,
            &[("GIT_CONFIG_PARAMETERS", "'t.k'='it'\\''s' 't.k=old'")],
        ] {
            let env = [&base, more].concat();
            let lookup = |name: &str| env.iter().rfind(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
            let (_, config) = read_as_git(&git_dir, &git_dir, &lookup).unwrap();
            let ours: String = config.strings("t.k").unwrap().iter().map(|value| format!("{value}\n")).collect();
            // git_command itself passes parameters of `git -c`, which does not matter to this key.
            assert_eq!(ours, asked_of_git(&git_dir, &env, "t.k"), "{more:?}");
            assert!(ours.contains("own\nworktree\n"), "{ours}");
            let protected = read_protected(&lookup).unwrap().strings("t.k").unwrap();
            assert!(!protected.contains(&"own".into()) && !protected.contains(&"worktree".into()));
        }
    }

    #[test]
    fn configuration_that_cannot_be_read_names_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let git_dir = dir.path().join("r.git");
        init(&git_dir, &["--bare"]);
        for (name, value) in
            [("GIT_CONFIG_COUNT", "x"), ("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_PARAMETERS", "x"), ("GIT_CONFIG_NOSYSTEM", "perhaps")]
        {
            let err = read_as_git(&git_dir, &git_dir, &|asked| (asked == name).then(|| value.into())).unwrap_err();
            assert!(matches!(&err, Error::Config(what) if what.contains("GIT_CONFIG")), "{name}={value}: {err}");
        }
        std::fs::write(git_dir.join("config"), "[core\n").unwrap();
        let err = read_repository_only(&git_dir, &git_dir).unwrap_err();
        assert!(matches!(&err, Error::Config(what) if what.contains("r.git/config")), "{err}");
    }

    #[test]
    fn parameters_are_read_in_both_spellings() {
        let pairs = parse_parameters(b"'a.b=c d' 'x.y'='it'\\''s' 'q.r'= 'flag.on'").unwrap();
        let shown: Vec<_> = pairs.iter().map(|(key, value)| (key.to_string(), value.as_ref().map(ToString::to_string))).collect();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(shown, [("a.b".into(), some("c d")), ("x.y".into(), some("it's")), ("q.r".into(), None), ("flag.on".into(), None)]);
        for bad in ["a.b=c", "'a.b", "'a'x", "'a'='b'c"] {
            assert_eq!(parse_parameters(bad.as_bytes()), None, "{bad}");
        }
    }
}

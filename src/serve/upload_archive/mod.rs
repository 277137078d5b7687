//! An archive of a tree: from the words of `git archive --remote` to the last byte of a tar or zip file.
//!
//! Source: git-upload-archive, git-archive. The words are read and judged first: what is refused then is one `ERR` line.
//! After `ACK` the archive goes out on band 1, paths (with `-v`) on band 2, a late failure on band 3. Formats: tar, tar.gz
//! (tgz) and zip, made here; `tar.<format>.command` is never started, so other formats do not exist.

mod attributes;
mod convert;
mod entries;
mod gzip;
mod pathspec;
mod tar;
mod tree_ish;
mod zip;

use super::visible::visible_refs;
use super::{Error, Gate, Options, Wants};
use crate::base::Cancel;
use crate::pack::Decoder;
use crate::store::{Repository, Settings, Snapshot};
use crate::walk::{VisibleHead, VisibleRefs};
use crate::wire::{
    ARCHIVE_FORMATS, ArchiveFormat, ArchiveOrder, ArchiveRequest, Band, PktReader, SideBand, read_archive_request, write_error,
    write_flush, write_text,
};
use attributes::Attributes;
use bstr::{BStr, ByteSlice};
use convert::Substitute;
use entries::{Archiver, Walk};
use gix_hash::ObjectId;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{Read, Write};
use tree_ish::Subject;

/// zlib's default level, which git uses where none is asked for.
const LEVEL_DEFAULT: i32 = 6;
/// Bytes of objects kept for their neighbours.
const CACHE_BYTES: usize = 16 << 20;

/// What one request did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchiveStatistics {
    /// Entries sent.
    pub entries: u64,
    /// Bytes of the archive.
    pub bytes: u64,
}

/// Serve one request. What the peer must hear, an error included, has been written when this returns.
///
/// # Errors
/// What ended it before its end; the peer has been told what [`Error::for_peer`] gives.
pub fn upload_archive(
    repository: &Repository,
    gate: &dyn Gate,
    options: &Options,
    input: impl Read,
    mut output: impl Write,
    cancel: &Cancel,
) -> Result<ArchiveStatistics, Error> {
    let mut out: &mut dyn Write = &mut output;
    let prepared = read_archive_request(&mut PktReader::new(input)).map_err(Error::from);
    let prepared = prepared.and_then(|request| Ok((request, options.snapshot(repository)?)));
    let outcome = prepared.and_then(|(request, snapshot)| match request {
        ArchiveRequest::List => list(snapshot.settings(), &mut *out),
        ArchiveRequest::Archive(order) => {
            // As git: what is hidden from lists can still be named, but not over a server that decides who sees what.
            let hide = if options.wants == Wants::Git { &[][..] } else { &snapshot.settings().upload_hide_refs };
            let refs = visible_refs(&snapshot, gate, hide);
            archive(repository, &snapshot, &refs, options, &order, &mut *out, cancel)
        }
    });
    match outcome.and_then(|done| Ok(out.flush().map(|()| done)?)) {
        Err(err) => {
            if let Some(sentence) = err.for_peer() {
                // The peer may be gone: the error at hand matters more than that it could not be told.
                let _ = write_error(&mut out, &sentence).and_then(|()| out.flush());
            }
            Err(err)
        }
        done => done,
    }
}

fn is_served(settings: &Settings, name: &str) -> bool {
    match name {
        "tgz" => settings.archive_tgz,
        "tar.gz" => settings.archive_tar_gz,
        _ => true,
    }
}

fn list(settings: &Settings, mut out: &mut dyn Write) -> Result<ArchiveStatistics, Error> {
    write_text(&mut out, "ACK")?;
    write_flush(&mut out)?;
    let names = ARCHIVE_FORMATS.iter().filter(|(name, _)| is_served(settings, name)).map(|(name, _)| format!("{name}\n"));
    let mut bands = SideBand::large(&mut *out);
    bands.write_all(names.collect::<String>().as_bytes())?;
    bands.finish()?;
    write_flush(&mut out)?;
    Ok(ArchiveStatistics::default())
}

fn archive(
    repository: &Repository,
    snapshot: &Snapshot,
    refs: &VisibleRefs,
    options: &Options,
    order: &ArchiveOrder,
    mut out: &mut dyn Write,
    cancel: &Cancel,
) -> Result<ArchiveStatistics, Error> {
    let settings = snapshot.settings();
    if !is_served(settings, order.format_name) {
        return Err(Error::Refused(format!("unknown archive format '{}'", order.format_name)));
    }
    let objects = &**snapshot.objects();
    let mut decoder = Decoder::new(objects, CACHE_BYTES);
    let any = options.wants == Wants::Git && settings.archive_unreachable;
    let subject = tree_ish::find_subject(&mut decoder, refs, order.tree_ish.as_ref(), any)?;
    let time = match &order.mtime {
        Some(text) => read_time(text.as_ref())?,
        None => subject.time().unwrap_or_else(now),
    };
    let paths = pathspec::Paths::new(&order.paths)?;
    for path in &order.paths {
        let one = pathspec::Paths::new([path])?;
        if !path.is_empty() && !entries::any_taken(&mut decoder, subject.tree, &one, cancel)? {
            return Err(Error::Refused(format!("pathspec '{path}' did not match any files")));
        }
    }
    let attributes = if order.worktree_attributes { None } else { Some(Attributes::new(&repository.info_attributes()?)) };
    write_text(&mut out, "ACK")?;
    write_flush(&mut out)?;
    let bands = RefCell::new(SideBand::large(&mut *out));
    let found = std::cell::OnceCell::new();
    let find = || decorations(&mut Decoder::new(objects, 1 << 20), refs, subject.commit.as_ref().map(|(id, _)| *id));
    let decorations = || found.get_or_init(find).clone();
    let substitute = subject.commit.as_ref().map(|(id, data)| Substitute {
        objects,
        id: *id,
        data: data.as_slice(),
        decorations: &decorations,
        texts: HashMap::new(),
    });
    let tell = |path: &[u8]| {
        // Only a courtesy: whether the peer is there shows with the next data.
        let _ = bands.borrow_mut().say(Band::Progress, &[path, b"\n"].concat());
    };
    let tell = order.verbose.then_some(&tell as &dyn Fn(&[u8]));
    let mut walk = Walk { decoder, attributes, paths: &paths, prefix: &order.prefix, substitute, tell, cancel, seen: 0 };
    let mut data = Data { bands: &bands, bytes: 0 };
    let umask = settings.tar_umask.unwrap_or_else(process_umask);
    let outcome = write_archive(&mut walk, &subject, order, time, umask, &mut data);
    let bytes = data.bytes;
    let mut bands = bands.into_inner();
    match outcome {
        Ok(entries) => {
            bands.finish()?;
            write_flush(&mut out)?;
            Ok(ArchiveStatistics { entries, bytes })
        }
        Err(err) => {
            if let Some(sentence) = err.for_peer() {
                bands.say(Band::Error, format!("{sentence}\n").as_bytes())?;
            }
            Err(Error::Told(Box::new(err)))
        }
    }
}

fn write_archive(
    walk: &mut Walk<'_>,
    subject: &Subject,
    order: &ArchiveOrder,
    time: u64,
    umask: u32,
    out: &mut dyn Write,
) -> Result<u64, Error> {
    let commit = subject.commit.as_ref().map(|(id, _)| *id);
    let level = order.level.unwrap_or(LEVEL_DEFAULT);
    let mut run = |archiver: &mut dyn Archiver| walk.run(subject.tree, archiver);
    match order.format {
        ArchiveFormat::Tar => {
            let mut tar = tar::Tar::new(out, commit, time, umask)?;
            let entries = run(&mut tar)?;
            tar.finish()?;
            Ok(entries)
        }
        ArchiveFormat::TarGz => {
            let mut tar = tar::Tar::new(gzip::Gzip::new(out, level)?, commit, time, umask)?;
            let entries = run(&mut tar)?;
            tar.finish()?.finish()?;
            Ok(entries)
        }
        ArchiveFormat::Zip => {
            let mut zip = zip::Zip::new(out, commit, time, level);
            let entries = run(&mut zip)?;
            zip.finish()?;
            Ok(entries)
        }
    }
}

/// Band 1, shared with whoever tells paths.
struct Data<'a, W: Write> {
    bands: &'a RefCell<SideBand<W>>,
    bytes: u64,
}

impl<W: Write> Write for Data<'_, W> {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        let taken = self.bands.borrow_mut().write(data)?;
        self.bytes += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.bands.borrow_mut().flush()
    }
}

/// The names that lead to `commit`, as `git log --decorate` shows them: HEAD first, then refs from the last to the first.
fn decorations(decoder: &mut Decoder<'_>, refs: &VisibleRefs, commit: Option<ObjectId>) -> Vec<String> {
    let Some(commit) = commit else { return vec![] };
    let short = |name: &BStr| {
        let stripped = ["refs/heads/", "refs/tags/", "refs/remotes/"].iter().find_map(|prefix| name.strip_prefix(prefix.as_bytes()));
        let tag = if name.starts_with(b"refs/tags/") { "tag: " } else { "" };
        format!("{tag}{}", stripped.unwrap_or(name).as_bstr())
    };
    let (mut names, mut current) = (vec![], None);
    match refs.head() {
        VisibleHead::Born(id, Some(target)) if id == commit => {
            names.push(format!("HEAD -> {}", short(target)));
            current = Some(target);
        }
        VisibleHead::Born(id, None) if id == commit => names.push("HEAD".to_owned()),
        _ => {}
    }
    let mut others = vec![];
    for entry in refs.iter() {
        // A tag that leads nowhere decorates nothing.
        let leads_there = entry.id == commit || entry.peeled(decoder).is_ok_and(|end| end == Some(commit));
        if leads_there && current != Some(entry.name) {
            others.push(short(entry.name));
        }
    }
    names.extend(others.into_iter().rev());
    names
}

/// `--mtime`: seconds since 1970, or one of the usual forms of a date.
fn read_time(text: &BStr) -> Result<u64, Error> {
    let bad = || Error::Refused(format!("'{text}' is no time: write @SECONDS or 2024-12-31T23:59:59Z"));
    let text_utf8 = text.to_str().map_err(|_| bad())?;
    if let Ok(seconds) = text_utf8.strip_prefix('@').unwrap_or(text_utf8).parse() {
        return Ok(seconds);
    }
    let time = gix_object::date::parse(text_utf8, None).map_err(|_| bad())?;
    u64::try_from(time.seconds).map_err(|_| bad())
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `tar.umask = user`: this process's, which Linux tells without setting it; git's default elsewhere.
fn process_umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    umask.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).unwrap_or(Settings::TAR_UMASK)
}

//! The file `packmule-journal` into commits and how far each has come; commits and marks into the file.
//!
//! Everything is written under the repository's lock, and read without it: see [`frame`](super::frame) for how a reader knows
//! what is whole. The file is made once and stays, so that a reader who sees none knows that there was none before.

use super::super::Error;
use super::super::owner::{self, Places, RepositoryLock};
use super::frame::{self, Commit, Frame, HEADER_BYTES, Header};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// Its name in a repository's common directory.
pub(in super::super) const JOURNAL_FILE: &str = "packmule-journal";
/// What is not settled is read as a whole: no more than this.
const TAIL_BYTES_MAX: u64 = 1 << 30;
/// How often a header that is just being written is read again.
const HEADER_TRIES_MAX: usize = 100;

/// The journal of one repository, open.
#[derive(Debug)]
pub(super) struct JournalFile {
    pub file: File,
    path: PathBuf,
}

/// One commit in the file.
#[derive(Debug)]
pub(super) struct Found {
    /// Where its frame begins.
    pub at: u64,
    /// Where it ends.
    pub end: u64,
    pub commit: Commit,
    /// It is on disk.
    pub durable: bool,
    /// It has been applied, but for these edits.
    pub applied: Option<Vec<u32>>,
}

impl Found {
    /// It counts, and its refs may still have their old values.
    pub fn is_pending(&self) -> bool {
        self.durable && self.applied.is_none()
    }
}

/// What stands in the file from some byte on.
#[derive(Debug)]
pub(super) struct Tail {
    pub header: Header,
    pub found: Vec<Found>,
    /// Where the last whole frame ends.
    pub end: u64,
    /// There are bytes behind that.
    pub torn: bool,
    /// Everything up to here is on disk, as far as marks tell.
    durable_upto: u64,
}

impl Tail {
    /// Whether the commit that ends here is on disk.
    pub fn is_durable(&self, end: u64) -> bool {
        end <= self.durable_upto
    }
}

fn path_in(common_dir: &Path) -> PathBuf {
    common_dir.join(JOURNAL_FILE)
}

/// Seconds since 1970.
pub(super) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Which boot of which machine this is. Where the system does not say, every process counts as one of its own: then more
/// is checked than need be.
pub(super) fn boot() -> [u8; 16] {
    static BOOT: LazyLock<[u8; 16]> = LazyLock::new(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
        let mut id = [0; 16];
        if digits.len() == 32 {
            digits.chunks(2).zip(&mut id).for_each(|(pair, byte)| *byte = (pair[0] << 4 | pair[1]) as u8);
        } else {
            id[..8].copy_from_slice(&getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id())).to_le_bytes());
        }
        id
    });
    *BOOT
}

impl JournalFile {
    /// Open it; `None` where there is none.
    pub fn open(common_dir: &Path, write: bool) -> Result<Option<Self>, Error> {
        let path = path_in(common_dir);
        match File::options().read(true).write(write).open(&path) {
            Ok(file) => Ok(Some(Self { file, path })),
            Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(err) => Err(Error::io(format!("opening {}", path.display()))(err)),
        }
    }

    /// Open it for writing; make it where there is none, durably.
    pub fn open_or_create(_: &RepositoryLock, places: &Places) -> Result<Self, Error> {
        let path = path_in(&places.common_dir);
        let make = || -> io::Result<File> {
            let file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
            if file.metadata()?.len() <= HEADER_BYTES as u64 && read_header(&file)?.is_none() {
                let generation = getrandom::u64().map_err(|err| io::Error::other(err.to_string()))?;
                file.write_all_at(&new_header(generation).encode(), 0)?;
                file.sync_all()?;
                owner::sync_folder(&places.common_dir)?;
            }
            Ok(file)
        };
        let file = make().map_err(Error::io(format!("making {}", path.display())))?;
        Ok(Self { file, path })
    }

    /// What went wrong, with the path.
    pub fn failed(&self, doing: &str) -> impl FnOnce(io::Error) -> Error + use<> {
        Error::io(format!("{doing} {}", self.path.display()))
    }

    /// The header; `None`: there is none yet.
    pub fn header(&self) -> Result<Option<Header>, Error> {
        let header = read_header(&self.file).map_err(self.failed("reading"))?;
        if header.is_none() && self.file.metadata().map_err(self.failed("reading"))?.len() > HEADER_BYTES as u64 {
            let mut bytes = [0; HEADER_BYTES];
            self.file.read_exact_at(&mut bytes, 0).map_err(self.failed("reading"))?;
            let path = self.path.display();
            return Err(Error::Corrupt(match Header::version(&bytes) {
                Some(_) => format!("{path} was written by a later version of packmule: use that one"),
                None => format!("{path} is damaged: look over the refs that were pushed last, then remove it"),
            }));
        }
        Ok(header)
    }

    /// What stands behind the byte `from`, and behind the header; `None`: there is no header yet.
    pub fn tail(&self, from: impl FnOnce(&Header) -> u64) -> Result<Option<Tail>, Error> {
        let Some(header) = self.header()? else { return Ok(None) };
        let start = from(&header).max(HEADER_BYTES as u64);
        let bytes = self.read_from(start)?;
        let mut tail = Tail { header, found: vec![], end: start, torn: false, durable_upto: start };
        let mut at = 0;
        while let Some((frame, len)) = frame::decode(header.generation, &bytes[at..]) {
            let (begin, end) = (start + at as u64, start + (at + len) as u64);
            match frame {
                Frame::Commit(commit) => tail.found.push(Found { at: begin, end, commit, durable: false, applied: None }),
                Frame::Durable(upto) => tail.durable_upto = tail.durable_upto.max(upto),
                Frame::Applied { at, but } => {
                    if let Some(found) = tail.found.iter_mut().rev().find(|found| found.at == at) {
                        found.applied = Some(but);
                    }
                }
            }
            (at, tail.end) = (at + len, end);
        }
        tail.found.iter_mut().for_each(|found| found.durable = found.end <= tail.durable_upto);
        tail.torn = at < bytes.len();
        Ok(Some(tail))
    }

    /// What is not settled yet.
    pub fn unsettled(&self) -> Result<Option<Tail>, Error> {
        self.tail(|header| header.settled)
    }

    /// All of it.
    pub fn whole(&self) -> Result<Option<Tail>, Error> {
        self.tail(|_| 0)
    }

    fn read_from(&self, start: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![];
        let mut chunk = vec![0; 16 << 10];
        loop {
            match self.file.read_at(&mut chunk, start + bytes.len() as u64) {
                Ok(0) => return Ok(bytes),
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) => return Err(self.failed("reading")(err)),
            }
            if bytes.len() as u64 > TAIL_BYTES_MAX {
                return Err(Error::Corrupt(format!("{} is too long", self.path.display())));
            }
            chunk.resize((bytes.len().next_power_of_two()).clamp(16 << 10, 4 << 20), 0);
        }
    }

    /// Write `bytes` behind the last whole frame; what a dead writer left there goes.
    pub fn append(&self, _: &RepositoryLock, tail: &Tail, bytes: &[u8]) -> Result<(), Error> {
        let write = || {
            if tail.torn {
                self.file.set_len(tail.end)?;
            }
            self.file.write_all_at(bytes, tail.end)
        };
        write().map_err(|err| {
            // Half a frame counts for nothing; that it takes no room is all that matters.
            let _ = self.file.set_len(tail.end);
            self.failed("writing")(err)
        })
    }

    /// Begin to count the age of what is there.
    pub fn begin_to_age(&self, lock: &RepositoryLock, header: &Header) -> Result<(), Error> {
        self.set_header(lock, &Header { since_s: now_s(), ..*header })
    }

    /// Write the header anew.
    pub fn set_header(&self, _: &RepositoryLock, header: &Header) -> Result<(), Error> {
        self.file.write_all_at(&header.encode(), 0).map_err(self.failed("writing"))
    }

    /// Nothing in it is needed any more: begin the next generation.
    pub fn begin_anew(&self, lock: &RepositoryLock, generation: u64) -> Result<(), Error> {
        // In this order, so that a reader who finds nothing there also finds another generation.
        self.set_header(lock, &new_header(generation))?;
        self.file.set_len(HEADER_BYTES as u64).map_err(self.failed("cutting"))
    }

    /// Remove what somebody who died while replacing it left.
    pub fn remove_half_made(&self) {
        // Where it cannot be removed it is written over later.
        let _ = std::fs::remove_file(self.path.with_extension("new"));
    }

    /// Put a new file in this one's place: the next generation, with `commits` in it, durable and not applied.
    pub fn replace(&self, lock: &RepositoryLock, generation: u64, commits: &[&Commit]) -> Result<(), Error> {
        let mut bytes = new_header(generation).encode().to_vec();
        commits.iter().for_each(|commit| frame::encode_commit(generation, commit, &mut bytes));
        let upto = bytes.len() as u64;
        bytes.extend(frame::encode_durable(generation, upto));
        let new = self.path.with_extension("new");
        let write = || {
            let file = File::create(&new)?;
            file.write_all_at(&bytes, 0)?;
            file.sync_all()?;
            std::fs::rename(&new, &self.path)?;
            owner::sync_folder(self.path.parent().unwrap_or(&self.path))
        };
        write().map_err(self.failed("replacing"))?;
        // Whoever still has the old file open sees that it is over.
        self.set_header(lock, &new_header(generation))
    }
}

fn new_header(generation: u64) -> Header {
    Header { generation, settled: HEADER_BYTES as u64, since_s: now_s(), failed: false, boot: boot() }
}

fn read_header(file: &File) -> io::Result<Option<Header>> {
    let mut bytes = [0; HEADER_BYTES];
    for _ in 0..HEADER_TRIES_MAX {
        match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => {}
            Err(err) if err.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(err) => return Err(err),
        }
        if let Some(header) = Header::decode(&bytes) {
            return Ok(Some(header));
        }
        std::thread::yield_now(); // it is being written this moment
    }
    Ok(None)
}

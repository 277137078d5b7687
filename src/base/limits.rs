//! Named bounds with their units. Settings may lower or raise those that `config.toml` shows.

/// Longest pkt-line, header included (gitprotocol-common: "pkt-line Format").
pub const PKT_BYTES_MAX: usize = 65_520;
/// Longest payload of a pkt-line.
pub const PKT_PAYLOAD_BYTES_MAX: usize = PKT_BYTES_MAX - 4;
/// `have` lines in one request: memory for them stays below 40 MB.
pub const HAVES_MAX: usize = 1_000_000;
/// `want` lines in one request: a mirror of a repository with a million refs asks for each tip.
pub const WANTS_MAX: usize = 4_000_000;
/// `shallow` lines in one request.
pub const SHALLOW_MAX: usize = 1_000_000;
/// `deepen-not` or `want-ref` lines in one request.
pub const DEEPEN_NOT_MAX: usize = 65_536;
/// `oid` lines in one `object-info`.
pub const OBJECT_INFO_MAX: usize = 1_000_000;
/// The deepest `tree:<depth>` filter of `serve`: below it a walk would cost more than it saves.
pub const TREE_FILTER_DEPTH_MAX: u64 = 64;
/// `ref-prefix` lines above which the filter is ignored, as in git (`ls-refs.c`: `TOO_MANY_PREFIXES`).
pub const REF_PREFIXES_MAX: usize = 65_536;
/// Bytes of all `ref-prefix` lines, above which the filter is ignored too.
pub const REF_PREFIX_BYTES_MAX: usize = 8 << 20;
/// Bytes of all commands in one push: a mirror of a million refs with names of a hundred bytes takes 180 MB.
pub const PUSH_COMMAND_BYTES_MAX: usize = 256 << 20;
/// Commands in one push.
pub const PUSH_COMMANDS_MAX: usize = 1_000_000;
/// Refused commands of one push that are remembered with their reasons; further ones are counted.
pub const REFUSALS_KEPT_MAX: usize = 100;
/// Longest ref name taken from the wire, in bytes.
pub const REF_NAME_BYTES_MAX: usize = 4_096;
/// Words that `git archive --remote` may send (`builtin/upload-archive.c`: `MAX_ARGS`).
pub const ARCHIVE_ARGUMENTS_MAX: usize = 64;
/// Bytes of all those words.
pub const ARCHIVE_ARGUMENT_BYTES_MAX: usize = 1 << 20;
/// Entries of trees looked at for one archive, however often the same tree comes.
pub const ARCHIVE_ENTRIES_MAX: u64 = 50_000_000;
/// Bytes of the directory at the end of a zip file, which is held until then.
pub const ZIP_DIRECTORY_BYTES_MAX: usize = 256 << 20;
/// Paths that an edit of a push may change, where rules are about paths.
pub const CHANGED_PATHS_MAX: usize = 1_000_000;
/// Bytes of all those paths.
pub const CHANGED_PATH_BYTES_MAX: usize = 256 << 20;
/// Folders within folders that an archive or changed paths are made of (git-config, `core.maxTreeDepth`).
pub const TREE_DEPTH_MAX: usize = 2_048;
/// A blob from this size on goes into an archive in pieces, where it is stored whole in a pack and nothing is to be replaced in it.
pub const ARCHIVE_STREAM_BYTES_MIN: u64 = 8 << 20;
/// Longest file of attributes that is looked at, in bytes.
pub const ATTRIBUTES_BYTES_MAX: usize = 4 << 20;
/// `server-option` and `push-option` lines, bytes in all.
pub const OPTION_BYTES_MAX: usize = 1 << 20;
/// Push options: each is a variable in the environment of hooks, which the system bounds.
pub const PUSH_OPTIONS_MAX: usize = 1_000;
/// Refs read before a chain of symbolic ones counts as a loop, the one at its end among them (`refs.h`: `SYMREF_MAXDEPTH`).
pub const SYMREF_DEPTH_MAX: usize = 5;
/// Quiet time after which a keep-alive packet or a progress line is sent, in milliseconds.
pub const KEEPALIVE_MS: u64 = 5_000;
/// How often the thread that owns the peer looks up from waiting, in milliseconds.
pub const TICK_MS: u64 = 250;
/// Bytes of object buffers held at one time while deltas of a received pack are resolved, over all threads.
pub const RESOLVE_BYTES_HELD_MAX: u64 = 256 << 20;
/// Bytes that any received pack may inflate to, deltas applied, however small it is itself.
pub const INFLATED_BYTES_FREE: u64 = 16 << 30;
/// Bytes more that a received pack may inflate to for each of its own: histories of folders with ten thousand names reach some hundreds.
pub const INFLATED_BYTES_PER_PACK_BYTE_MAX: u64 = 4_096;
/// Bytes of views, answers, sets and plans that a server keeps between requests.
pub const SHARED_BYTES_MAX: usize = 128 << 20;
/// Things that requests share and that are kept when none needs them.
pub const SHARED_ENTRIES_MAX: usize = 4_096;
/// Messages of one kind about one object of a push.
pub const FSCK_MESSAGES_MAX: usize = 16;
/// Warnings about objects that a pusher is told; further ones are counted.
pub const FSCK_WARNINGS_MAX: usize = 100;
/// Different `.gitmodules` files in one push, and as many `.gitattributes` files: memory for each stays below 16 MB.
pub const FSCK_MEANINGS_MAX: usize = 200_000;
/// Longest file of objects that checks let pass, in bytes (`receive.fsck.skipList`).
pub const FSCK_SKIP_LIST_BYTES_MAX: u64 = 16 << 20;
/// Longest list of keys that may sign pushes, in bytes.
pub const SIGNERS_BYTES_MAX: u64 = 16 << 20;

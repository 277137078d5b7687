//! The command line into values. Help texts are the documentation of the commands.

use super::edit::args::{GrantArgs, KeysArgs, RulesArgs, UsersArgs};
use clap::{Parser, Subcommand};
use std::path::PathBuf;

#[cfg(target_feature = "crt-static")]
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (statically linked)");
#[cfg(not(target_feature = "crt-static"))]
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (dynamically linked)");

/// A git server in one static binary that never starts a git process.
#[derive(Debug, Parser)]
#[command(name = "packmule", version = VERSION)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve the repositories in a folder over SSH; a push makes the ones that are not there yet.
    Serve(ServeArgs),
    /// Write config.toml with every setting at its default, and your keys as its first user's. Overwrites nothing.
    Init(InitArgs),
    /// Is a configuration right? Tells everything that is wrong with it.
    Check(CheckArgs),
    /// May somebody do something, and which rule says so?
    Why(WhyArgs),
    /// Show, add and remove the public keys with which users log in.
    Keys(KeysArgs),
    /// Let somebody do something: adds a rule that answers just this, and says what it changes.
    Grant(GrantArgs),
    /// Take back what somebody may do.
    Revoke(GrantArgs),
    /// Show, add and remove users, and set their passwords.
    Users(UsersArgs),
    /// Test the rules.
    Rules(RulesArgs),
    /// Write what another server's configuration says of users and rights as a config.toml, and tell what has no equal.
    #[command(subcommand)]
    Import(Import),
    /// Serve one fetch on standard input and output, in place of git-upload-pack.
    UploadPack(UploadPackArgs),
    /// Take one push on standard input and output, in place of git-receive-pack.
    ReceivePack(ReceivePackArgs),
    /// Send one archive of a tree on standard output, in place of git-upload-archive.
    UploadArchive(UploadArchiveArgs),
}

#[derive(Debug, Default, clap::Args)]
pub(super) struct ServeArgs {
    /// Folder of the repositories; made if it is not there [default: .]
    pub(super) root: Option<PathBuf>,
    /// Address and port to listen on [default: 127.0.0.1:2222]
    #[arg(long, value_name = "ADDR")]
    pub(super) ssh: Option<String>,
    /// File with public keys, one per line, that may read and write everything; may be given more than once
    #[arg(long, value_name = "FILE")]
    pub(super) admin_key: Vec<PathBuf>,
    /// Folder with .htpasswd, .repoperms and .rsakeys of GitServerGlue: they alone say who may do what; also the root, unless ROOT is
    #[arg(long, value_name = "FOLDER")]
    pub(super) files: Option<PathBuf>,
    /// Settings; the command line wins over them
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// What is logged: error, warn, info, debug, trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub(super) log: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct InitArgs {
    /// Folder of the repositories; made if it is not there
    #[arg(default_value = ".")]
    pub(super) root: PathBuf,
    /// File with public keys of further first users, one per line; may be given more than once
    #[arg(long, value_name = "FILE")]
    pub(super) admin_key: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// The file
    #[arg(long, value_name = "FILE", default_value = "config.toml")]
    pub(super) config: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct WhyArgs {
    /// The file with the rules
    #[arg(long, value_name = "FILE", default_value = "config.toml")]
    pub(super) config: PathBuf,
    /// Who
    pub(super) user: String,
    /// In which repository
    pub(super) repository: String,
    /// To which ref, if to a certain one (main is refs/heads/main), and then the verb: read, write (create and update),
    /// create, update, rewind, delete, create-repository, admin
    #[arg(value_name = "[REF] VERB", num_args = 1..=2, required = true)]
    pub(super) words: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Import {
    /// A gitolite.conf with its folder of keys.
    Gitolite(ImportArgs),
    /// The configuration of gitosis-lite or gitosis with its folder of keys.
    GitosisLite(ImportArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// The configuration
    pub(super) conf: PathBuf,
    /// The folder with its users' keys; without it nobody has one
    #[arg(value_name = "KEYDIR")]
    pub(super) key_folder: Option<PathBuf>,
    /// A role beside READERS and WRITERS, as in ROLES of gitolite.rc; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub(super) role: Vec<String>,
    /// Write this file instead of standard output; one that is there is not overwritten
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct UploadPackArgs {
    /// Take DIR as it is; do not try DIR/.git, DIR.git and the like
    #[arg(long, overrides_with = "no_strict")]
    pub(super) strict: bool,
    /// Try DIR/.git, DIR.git and the like [the default]
    #[arg(long, overrides_with = "strict")]
    pub(super) no_strict: bool,
    /// Give up after this many seconds in which nothing moved; 0: never
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(super) timeout: u64,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct ReceivePackArgs {
    /// Say less to the pusher
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Taken for git's sake; connectivity is checked all the same
    #[arg(long, hide = true)]
    pub(super) skip_connectivity_check: bool,
    /// Taken to say that it cannot be had: a thin pack is always completed
    #[arg(long, hide = true)]
    pub(super) reject_thin_pack_for_testing: bool,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct UploadArchiveArgs {
    /// The repository
    #[arg(value_name = "DIR")]
    pub(super) dir: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct CommonArgs {
    /// Serve a single request and end, as behind HTTP
    #[arg(long)]
    pub(super) stateless_rpc: bool,
    /// Say only what is here, as for HTTP's info/refs
    #[arg(long, alias = "advertise-refs")]
    pub(super) http_backend_info_refs: bool,
    /// The repository
    #[arg(value_name = "DIR")]
    pub(super) dir: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_hold_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn gits_flags_are_taken() {
        for line in [
            "packmule upload-pack --strict --no-strict --timeout=5 --stateless-rpc --http-backend-info-refs x",
            "packmule upload-pack --advertise-refs x",
            "packmule receive-pack -q --stateless-rpc --advertise-refs --skip-connectivity-check --reject-thin-pack-for-testing x",
            "packmule receive-pack --quiet --http-backend-info-refs x",
            "packmule serve --ssh 127.0.0.1:0 --admin-key a --admin-key b --config c --log debug root",
        ] {
            Args::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn the_last_of_strict_and_no_strict_counts() {
        let strict = |line: &str| match Args::try_parse_from(line.split(' ')).expect("parsed").command {
            Command::UploadPack(args) => args.strict && !args.no_strict,
            _ => panic!("another command"),
        };
        assert!(strict("packmule upload-pack --no-strict --strict x"));
        assert!(!strict("packmule upload-pack --strict --no-strict x"));
    }
}

//! The words of the commands that edit and test `config.toml`. Help texts are their documentation.

use clap::Subcommand;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct KeysArgs {
    /// The file
    #[arg(long, global = true, value_name = "FILE", default_value = "config.toml")]
    pub(in crate::cli) config: PathBuf,
    #[command(subcommand)]
    pub(in crate::cli) command: KeysCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum KeysCommand {
    /// Let somebody log in with public keys; whoever is not there yet is made
    Add {
        /// Whose they are
        user: String,
        /// File of public keys, - for standard input, or one key as it stands in a .pub file
        #[arg(value_name = "FILE|-|KEY", default_value = "-", num_args = 1..)]
        keys: Vec<String>,
    },
    /// Show keys: whose, fingerprint, type, comment, and where each stands
    List {
        /// Those of one user
        user: Option<String>,
    },
    /// Take a key away from somebody
    Remove {
        /// Whose it is
        user: String,
        /// Its fingerprint or comment, or a file with the public key
        #[arg(value_name = "FINGERPRINT|COMMENT|FILE")]
        key: String,
        /// Where it stands in a file of its own or among others, take it out of that file too
        #[arg(long)]
        file: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct GrantArgs {
    /// User, @group, "*" for everybody who has logged in, or anonymous
    pub(in crate::cli) user: String,
    /// A repository's name or a glob such as "libs/*", then what they may do: read, write, create, update, rewind, delete,
    /// create-repository, admin
    #[arg(value_name = "REPOSITORY VERB", num_args = 2.., required = true)]
    pub(in crate::cli) words: Vec<String>,
    /// Only on this ref, or on those of a glob (main is refs/heads/main) [default: every ref]
    #[arg(long = "ref", value_name = "REF")]
    pub(in crate::cli) name: Option<String>,
    /// A rule that denies it: grant makes one, revoke takes it away
    #[arg(long)]
    pub(in crate::cli) deny: bool,
    /// The file
    #[arg(long, value_name = "FILE", default_value = "config.toml")]
    pub(in crate::cli) config: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct RulesArgs {
    /// The file
    #[arg(long, global = true, value_name = "FILE", default_value = "config.toml")]
    pub(in crate::cli) config: PathBuf,
    #[command(subcommand)]
    pub(in crate::cli) command: RulesCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RulesCommand {
    /// Hold what the file says under [[test]] against its rules; ends with 1 where they do not agree
    Test,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct UsersArgs {
    /// The file
    #[arg(long, global = true, value_name = "FILE", default_value = "config.toml")]
    pub(in crate::cli) config: PathBuf,
    /// One JSON object per user
    #[arg(long)]
    pub(in crate::cli) json: bool,
    #[command(subcommand)]
    pub(in crate::cli) command: Option<UsersCommand>,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum UsersCommand {
    /// Make a user without keys
    Add {
        /// The name
        name: String,
    },
    /// Take a user out of users, groups, rules and tests
    Remove {
        /// The name
        name: String,
        /// Delete their file in key_folder, too
        #[arg(long)]
        file: bool,
    },
    /// Keep a hash (argon2id) of a password, which is asked for, or read from standard input
    Password {
        /// Whose
        name: String,
        /// Take the password away
        #[arg(long)]
        remove: bool,
    },
}

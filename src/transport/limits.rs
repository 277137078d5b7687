//! Bounds of the SSH front end: every one has a default, and `config.toml` may set it.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::time::Duration;

/// Bytes that a channel's peer may send before it must wait for us: 16 MiB makes OpenSSH clients push 8 times slower.
pub(super) const WINDOW_BYTES: u32 = 2 << 20;
/// Payload of one SSH packet.
pub(super) const PACKET_BYTES: u32 = 32 << 10;
/// Buffer round the socket.
pub(super) const SOCKET_BUFFER_BYTES: usize = 256 << 10;
/// Messages from our tasks that wait for russh's loop.
pub(super) const EVENT_BUFFER: usize = 64;
/// Messages from russh's loop per channel; we take them in callbacks, so none waits.
pub(super) const CHANNEL_BUFFER: usize = 16;
/// Bytes from the peer that wait for the engine, per channel.
pub(super) const INPUT_BYTES_MAX: usize = WINDOW_BYTES as usize;
/// Bytes of one piece from the engine to the peer: two SSH packets.
pub(super) const OUTPUT_CHUNK_BYTES: usize = 64 << 10;
/// Pieces from the engine that wait for the peer, per channel.
pub(super) const OUTPUT_CHUNKS: usize = 8;
/// Longest command line taken.
pub(super) const COMMAND_BYTES_MAX: usize = 4_096;
/// Longest value of `GIT_PROTOCOL` taken.
pub(super) const GIT_PROTOCOL_BYTES_MAX: usize = 256;
/// Longest password taken: no hash looks at more than some of it, and each costs.
pub(super) const PASSWORD_BYTES_MAX: usize = 1_024;
/// How often a connection's watchdog looks, in milliseconds.
pub(super) const WATCH_MS: u64 = 500;
/// Time a client has to close its side after it was told goodbye, in milliseconds.
pub(super) const GOODBYE_MS: u64 = 2_000;
/// Time a client has to send its first line, in milliseconds.
pub(super) const IDENTIFICATION_MS: u64 = 10_000;
/// Connections from one address that has a penalty and that have not logged in, and how long each of them and each of their tries waits, in
/// milliseconds.
pub(super) const PENALISED_LOGINS_MAX: usize = 2;
pub(super) const PENALTY_PAUSE_MS: u64 = 1_000;
/// Sockets of those who were turned away unheard that are held for as long; further ones are closed at once.
pub(super) const TURNED_AWAY_MAX: usize = 256;
/// Keys that a client may ask about, for each that it may try.
pub(super) const OFFERS_PER_ATTEMPT_MAX: usize = 8;
/// Connections from one address that have not logged in: this part of all such, and no fewer than the next number.
pub(super) const LOGINS_PER_ADDRESS_PART: usize = 4;
pub(super) const LOGINS_PER_ADDRESS_MIN: usize = 10;
/// Largest bound that may be set: times stay within every clock, numbers within every counter.
const SETTING_MAX: u64 = 1_000_000_000;
/// Largest number of commands at once that may be set.
const COMMANDS_MAX: u64 = 16_000;
/// Unanswered keep-alives after which a client counts as gone.
pub(super) const KEEPALIVES_MAX: usize = 3;
/// Refs of one push that its line in the audit log shows.
pub(super) const REFS_SHOWN_MAX: usize = 100;
/// Refusals of one connection, at login and later, that the audit log shows one by one.
pub(super) const REFUSALS_WRITTEN_MAX: u64 = 50;
/// Greetings and hints that are made at once.
pub(super) const DESCRIPTIONS_MAX: usize = 2;
/// Names shown in greetings and hints.
pub(super) const NAMES_SHOWN_MAX: usize = 20;

/// Bounds of the SSH front end that may be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SshLimits {
    /// Connections at once; further ones wait in the system's queue.
    #[serde(deserialize_with = "at_least_one")]
    pub connections_max: usize,
    /// Connections at once from one address; further ones are closed.
    #[serde(deserialize_with = "at_least_one")]
    pub connections_per_address_max: usize,
    /// Connections at once of one user; nobody logs in to further ones.
    #[serde(deserialize_with = "at_least_one")]
    pub connections_per_user_max: usize,
    /// Connections at once that have not logged in yet; further ones are closed.
    #[serde(deserialize_with = "at_least_one")]
    pub logins_max: usize,
    /// Time to log in, in seconds.
    #[serde(deserialize_with = "at_least_one")]
    pub login_grace_s: u64,
    /// Keys that a client may try.
    #[serde(deserialize_with = "at_least_one")]
    pub auth_attempts_max: usize,
    /// Channels of one connection.
    #[serde(deserialize_with = "at_least_one")]
    pub channels_max: usize,
    /// Commands at once over all connections; further ones wait.
    #[serde(deserialize_with = "commands")]
    pub commands_max: usize,
    /// Commands of one user at once; further ones wait.
    #[serde(deserialize_with = "at_least_one")]
    pub commands_per_user_max: usize,
    /// Time a command may take from its place to its end, in seconds; 0: any.
    #[serde(deserialize_with = "any_time")]
    pub command_max_s: u64,
    /// Time a command waits for its place among those, in seconds.
    #[serde(deserialize_with = "at_least_one")]
    pub queue_s: u64,
    /// Time a connection may stay without a command, in seconds.
    #[serde(deserialize_with = "at_least_one")]
    pub idle_s: u64,
    /// Time a fetch waits for the client's first byte, in seconds.
    #[serde(deserialize_with = "at_least_one")]
    pub request_s: u64,
    /// Time a command waits for the client's next byte, in seconds.
    #[serde(deserialize_with = "at_least_one")]
    pub input_idle_s: u64,
    /// Time a client may take no byte while we have some for it, in seconds.
    #[serde(deserialize_with = "at_least_one")]
    pub output_stall_s: u64,
    /// Quiet time after which a client is asked whether it lives, in seconds.
    #[serde(deserialize_with = "any_time")]
    pub keepalive_s: u64,
}

/// A bound of nothing would let nothing through.
pub(super) fn at_least_one<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<T, D::Error> {
    within(deserializer, 1, SETTING_MAX)
}

/// Every command at once has a thread.
fn commands<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    within(deserializer, 1, COMMANDS_MAX)
}

pub(super) fn any_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    within(deserializer, 0, SETTING_MAX)
}

fn within<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D, least: u64, most: u64) -> Result<T, D::Error> {
    let value = u64::deserialize(deserializer)?;
    if value < least {
        return Err(D::Error::custom(format!("this must be at least {least}")));
    }
    let value = if value <= most { T::try_from(value).ok() } else { None };
    value.ok_or_else(|| D::Error::custom(format!("this must be at most {most}")))
}

impl Default for SshLimits {
    fn default() -> Self {
        Self {
            connections_max: 512,
            connections_per_address_max: 256,
            connections_per_user_max: 256,
            logins_max: 100,
            login_grace_s: 120,
            auth_attempts_max: 6,
            channels_max: 10,
            commands_max: 128,
            commands_per_user_max: 96,
            command_max_s: 86_400,
            queue_s: 60,
            idle_s: 600,
            request_s: 120,
            input_idle_s: 1_800,
            output_stall_s: 60,
            keepalive_s: 30,
        }
    }
}

impl SshLimits {
    pub(super) fn login_grace(&self) -> Duration {
        Duration::from_secs(self.login_grace_s)
    }

    /// None where a command may take any time.
    pub(super) fn command(&self) -> Option<Duration> {
        (self.command_max_s > 0).then(|| Duration::from_secs(self.command_max_s))
    }

    pub(super) fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_s)
    }

    pub(super) fn queue(&self) -> Duration {
        Duration::from_secs(self.queue_s)
    }

    pub(super) fn request(&self) -> Duration {
        Duration::from_secs(self.request_s)
    }

    pub(super) fn input_idle(&self) -> Duration {
        Duration::from_secs(self.input_idle_s)
    }

    pub(super) fn output_stall(&self) -> Duration {
        Duration::from_secs(self.output_stall_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_that_nothing_could_keep_is_refused() {
        for (line, says) in [
            ("connections_max = 0", "at least 1"),
            ("connections_max = 9000000000000000000", "at most 1000000000"),
            ("logins_max = 9000000000000000000", "at most 1000000000"),
            ("commands_max = 16001", "at most 16000"),
            ("output_stall_s = 9000000000000000000", "at most 1000000000"),
            ("keepalive_s = 9000000000000000000", "at most 1000000000"),
            ("idle_s = -1", "invalid value"),
        ] {
            let refused = toml::from_str::<SshLimits>(line).expect_err(line).to_string();
            assert!(refused.contains(says), "{line}: {refused}");
        }
        assert_eq!(toml::from_str::<SshLimits>("keepalive_s = 0").expect("taken").keepalive_s, 0);
    }
}

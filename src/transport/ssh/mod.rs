//! One SSH connection into commands and their answers, on russh with what git does not need switched off.
//!
//! | file | turns what into what |
//! |---|---|
//! | `guarded` | a socket into one that can be shut from outside and counts its bytes |
//! | `identification` | the client's first line into the ciphers that it is offered |
//! | `algorithms` | ciphers and limits into russh's configuration |
//! | `connection` | a socket into a conversation with deadlines; ends it from outside when russh cannot |
//! | `handler` | russh's callbacks into channels, environment and commands |
//! | `command` | the text of an `exec` request into a service and a path |
//! | `conversation` | one command into its answer: authorise, locate, engine, exit status |
//! | `reply` | sentences into packets, standard error and greetings |
//!
//! Traps of russh that are designed out here: a handler that waits stops the whole connection, timers included,
//! so none waits for anything without an end; a peer that answers keep-alives and never reads would be kept for
//! ever, so every write has a deadline; and a watchdog outside closes the socket where nothing inside moves.

mod algorithms;
mod command;
mod connection;
mod conversation;
mod guarded;
mod handler;
mod identification;
mod reply;

pub(super) use algorithms::{Algorithms, Configs};
pub(super) use connection::{Phase, Shared, serve};

//! One SSH connection into commands and their answers, on russh with what git does not need switched off.
//!
//! | file | turns what into what |
//! |---|---|
//! | `guarded` | a socket into one that can be shut from outside and counts its bytes |
//! | `identification` | the client's first line into the ciphers that it is offered |
//! | `algorithms` | ciphers and limits into russh's configuration |
//! | `connection` | a socket into a conversation with deadlines; ends it from outside when russh cannot |
//! | `handler` | russh's callbacks into channels, environment and commands |
//! | `command` | the text of an `exec` request into a service and a path, or into an errand |
//! | `errand` | the words of a command that is none of git's into what is asked for |
//! | `conversation` | one command into its answer: who is it, may they, where is it |
//! | `service` | one of git's commands into the engine's work |
//! | `errands` | every other one into lines or a sentence |
//! | `last_words` | bytes into the channel in time, and how a command ends |
//! | `reply` | sentences into packets, standard error and greetings |
//!
//! Traps of russh that are designed out here: a handler that waits stops the whole connection, timers included,
//! so none waits for anything without an end; a peer that answers keep-alives and never reads would be kept for
//! ever, so every write has a deadline; and a watchdog outside closes the socket where nothing inside moves.

mod algorithms;
mod command;
mod connection;
mod conversation;
mod errand;
mod errands;
mod guarded;
mod handler;
mod identification;
mod last_words;
mod reply;
mod service;

pub(super) use algorithms::{Algorithms, Configs};
pub(super) use connection::{Phase, Shared, serve};
pub(super) use conversation::descriptions;

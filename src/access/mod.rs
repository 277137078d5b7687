//! Who are you, what may you do, what repository is this path: the callbacks and the built-in drivers behind them.
//!
//! A [`Driver`] answers four questions about one command of one client, in this order:
//!
//! | callback | turns what into what |
//! |---|---|
//! | [`Driver::authenticate`] | [`Credentials`], whose signature has been verified where there is one, into a [`UserId`] |
//! | [`Driver::user`] | a [`UserId`] into the driver's own type of user |
//! | [`Driver::authorise`] | user, [`Command`], [`RequestPath`] and [`Transport`] into a [`Grant`] or a [`Refusal`] |
//! | [`Driver::locate`] | a [`RequestPath`] and a [`Transport`] into a [`Location`], asked only after the third said yes |
//!
//! What a transport offers besides git goes the same way: making, renaming and deleting are [`Command`]s like fetching and pushing, and a
//! driver may say more than it must: what there is ([`Driver::roots`]), in words ([`Driver::describe`]), and why ([`Driver::why`]).
//!
//! The [`Grant`] then judges refs: it becomes the [`Gate`](crate::serve::Gate) through which alone the engine
//! sees them. The first is asked when somebody logs in, and again before a later command on the same connection: a key may
//! have been taken away meanwhile. Every callback has a deadline; one that fails, panics or is late denies. A [`Door`] asks them in
//! this order, for every transport; a [`Chain`] is several drivers in a row.
//!
//! [`Keys`] is the driver that needs no configuration: some keys may do everything beneath one root, nobody else anything.
//! [`rules::Rules`] follows people, groups and rules as `config.toml` has them, [`files::Files`] the three files of GitServerGlue;
//! [`http::Api`] and [`http::Gitmouth`] ask a server. [`import`] makes such rules of what gitolite and gitosis had.

mod administer;
mod certificate;
mod command;
mod credentials;
mod door;
mod driver;
mod erased;
mod error;
pub mod files;
mod gate;
mod grant;
pub mod http;
pub mod import;
mod keys;
mod location;
mod password;
mod path;
mod public_key;
mod question;
pub mod rules;
mod text;
mod transport;
mod turns;

pub use certificate::Certificate;
pub(crate) use certificate::{is_network, network_holds};
pub use command::Command;
pub use credentials::{
    AnonymousCredentials, AuthMethods, Authentication, CertificateCredentials, Credentials, KeyCredentials, PasswordCredentials, Secret,
    UserId,
};
pub use door::{Admission, Caller, Chain, Door, Granted, LogIn, Session};
pub use driver::{Decision, Description, Driver, Refusal};
pub use error::{BoxError, Error};
pub use grant::{Grant, PushProposal, RefRules};
pub use keys::Keys;
pub use location::{Location, Place};
pub use password::{PasswordHash, PasswordPool};
pub use path::RequestPath;
pub use public_key::{PublicKey, PublicKeyError};
pub use question::{Explanation, Question};
pub(crate) use text::is_deceptive;
pub use text::printable;
pub use transport::{Transport, TransportKind};
pub(crate) use turns::{Turn, Turns};

/// The hash of a repository's objects.
pub use gix_hash::Kind as HashKind;

/// Time that one callback may take, in milliseconds.
pub const CALLBACK_TIMEOUT_MS: u64 = 10_000;

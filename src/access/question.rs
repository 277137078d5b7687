//! "Why may they, or may they not?": the question and its answer.

use super::{Refusal, RequestPath, UserId};

/// May somebody do something, and why?
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Question {
    /// About whom, if about another one than who asks: whether they may ask so is the driver's to decide.
    pub about: Option<UserId>,
    /// In which repository.
    pub path: RequestPath,
    /// To which ref, by its full name, if to a certain one.
    pub name: Option<String>,
    /// The verb in the driver's own words, such as `read`.
    pub verb: String,
}

impl Question {
    /// About whoever asks, and any ref.
    pub fn new(path: RequestPath, verb: impl Into<String>) -> Self {
        Self { about: None, path, name: None, verb: verb.into() }
    }

    /// About somebody else.
    #[must_use]
    pub fn about(mut self, user: UserId) -> Self {
        self.about = Some(user);
        self
    }

    /// About this ref; a short name is a branch's.
    #[must_use]
    pub fn to_ref(mut self, name: &str) -> Self {
        self.name = Some(if name.starts_with("refs/") { name.to_owned() } else { format!("refs/heads/{name}") });
        self
    }
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Explanation {
    /// They may, because of this.
    Yes(String),
    /// They may not, because of this.
    No(String),
    /// Who asks may not have an answer; a hidden refusal looks as if there were no such repository.
    Refused(Refusal),
}

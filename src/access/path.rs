//! The path of a request as the client sent it, and the repository name that it usually means.

use crate::store::{self, RepositoryName};

/// What stands behind the host in a clone URL, unchanged.
///
/// `ssh://host/a/b.git` sends `/a/b.git`, `host:a/b.git` sends `a/b.git`: [`RequestPath::name`] makes both the
/// same name. A driver that maps paths in another way looks at [`RequestPath::as_str`] itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestPath(String);

impl RequestPath {
    /// Take a path as it came.
    pub fn new(path: impl Into<String>) -> Self {
        Self(path.into())
    }

    /// As the client sent it: with leading slash, `.git`, `..` and all.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of a repository beneath a root that this path means; further leading slashes mean no more than one.
    ///
    /// # Errors
    /// [`store::Error::BadName`] for a path that no repository may have.
    pub fn name(&self) -> Result<RepositoryName, store::Error> {
        RepositoryName::parse(self.0.trim_start_matches('/'))
    }
}

impl std::fmt::Display for RequestPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&super::printable(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_an_address_is_one_name() {
        for path in ["a/b", "/a/b", "//a/b", "a/b.git", "/a/b.git", "/a/b/"] {
            assert_eq!(RequestPath::new(path).name().expect(path).as_str(), "a/b", "{path}");
        }
        for path in ["", "/", "//", "../a", "a//b", "/a/../b", "/.packmule/x"] {
            assert!(RequestPath::new(path).name().is_err(), "{path}");
        }
    }
}

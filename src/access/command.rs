//! What a client wants, in one word each: git's two services, and the administration of repositories.

use crate::serve::Service;
use std::fmt;

/// What a client wants to do with the repository of a path.
///
/// Git's own commands come through every transport; the others administer whole repositories. A driver is asked about all of
/// them through [`Driver::authorise`](super::Driver::authorise), and a yes to one that administers counts only with a grant that
/// says so ([`Grant::and_administer`](super::Grant::and_administer)): who has not thought of these commands lets nobody use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Command {
    /// Fetch from it, or have an archive of it.
    UploadPack,
    /// Push to it.
    ReceivePack,
    /// Make it, empty; asked for the new name of one that is renamed, too.
    Create,
    /// Give it another name.
    Rename,
    /// Move it to the trash.
    Delete,
    /// Take back from the trash what had this name.
    Restore,
    /// Show it in lists for administrators, that of the trash among them.
    List,
    /// See and change who has which role there.
    Roles,
}

impl Command {
    /// The word for it in logs and in questions to other programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UploadPack => "upload-pack",
            Self::ReceivePack => "receive-pack",
            Self::Create => "create",
            Self::Rename => "rename",
            Self::Delete => "delete",
            Self::Restore => "restore",
            Self::List => "list",
            Self::Roles => "roles",
        }
    }

    /// Git's service, unless it is about a whole repository.
    pub fn service(self) -> Option<Service> {
        match self {
            Self::UploadPack => Some(Service::UploadPack),
            Self::ReceivePack => Some(Service::ReceivePack),
            _ => None,
        }
    }

    /// Whether it is about a whole repository.
    pub fn administers(self) -> bool {
        self.service().is_none()
    }
}

impl From<Service> for Command {
    fn from(service: Service) -> Self {
        match service {
            Service::UploadPack => Self::UploadPack,
            Service::ReceivePack => Self::ReceivePack,
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

//! git's fsck messages: their ids, as they stand in reports and in settings, and how severe each is unless told otherwise.
//!
//! Source: git-fsck, "FSCK MESSAGES" (`fsck-msgids`); `fsck.h`. Those about refs are listed because settings may name
//! them; nothing here reports them.

/// What a message does to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    /// An error that no setting can make less of.
    Fatal,
    /// Refused.
    Error,
    /// Told, and refused when strict.
    Warn,
    /// Told.
    Info,
    /// Not even told.
    Ignore,
}

use Severity::{Error, Fatal, Ignore, Info, Warn};

macro_rules! messages {
    ($($name:ident $text:literal $severity:ident,)*) => {
        /// One kind of message.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Message {
            $($name,)*
        }

        /// Each message's id and severity, in the order of the enum.
        const TABLE: &[(&str, Severity, Message)] = &[$(($text, $severity, Message::$name),)*];
    };
}

messages! {
    NulInHeader "nulInHeader" Fatal,
    UnterminatedHeader "unterminatedHeader" Fatal,
    BadHeaderContinuation "badHeaderContinuation" Error,
    BadDate "badDate" Error,
    BadDateOverflow "badDateOverflow" Error,
    BadEmail "badEmail" Error,
    BadGpgsig "badGpgsig" Error,
    BadHeadTarget "badHeadTarget" Error,
    BadName "badName" Error,
    BadObjectSha1 "badObjectSha1" Error,
    BadPackedRefEntry "badPackedRefEntry" Error,
    BadPackedRefHeader "badPackedRefHeader" Error,
    BadParentSha1 "badParentSha1" Error,
    BadReferentName "badReferentName" Error,
    BadRefContent "badRefContent" Error,
    BadRefFiletype "badRefFiletype" Error,
    BadRefName "badRefName" Error,
    BadRefOid "badRefOid" Error,
    BadTimezone "badTimezone" Error,
    BadTree "badTree" Error,
    BadTreeSha1 "badTreeSha1" Error,
    BadType "badType" Error,
    DuplicateEntries "duplicateEntries" Error,
    GitattributesBlob "gitattributesBlob" Error,
    GitattributesLarge "gitattributesLarge" Error,
    GitattributesLineLength "gitattributesLineLength" Error,
    GitattributesMissing "gitattributesMissing" Error,
    GitmodulesBlob "gitmodulesBlob" Error,
    GitmodulesLarge "gitmodulesLarge" Error,
    GitmodulesMissing "gitmodulesMissing" Error,
    GitmodulesName "gitmodulesName" Error,
    GitmodulesPath "gitmodulesPath" Error,
    GitmodulesSymlink "gitmodulesSymlink" Error,
    GitmodulesUpdate "gitmodulesUpdate" Error,
    GitmodulesUrl "gitmodulesUrl" Error,
    MissingAuthor "missingAuthor" Error,
    MissingCommitter "missingCommitter" Error,
    MissingEmail "missingEmail" Error,
    MissingNameBeforeEmail "missingNameBeforeEmail" Error,
    MissingObject "missingObject" Error,
    MissingSpaceBeforeDate "missingSpaceBeforeDate" Error,
    MissingSpaceBeforeEmail "missingSpaceBeforeEmail" Error,
    MissingTag "missingTag" Error,
    MissingTagEntry "missingTagEntry" Error,
    MissingTree "missingTree" Error,
    MissingType "missingType" Error,
    MissingTypeEntry "missingTypeEntry" Error,
    MultipleAuthors "multipleAuthors" Error,
    PackedRefEntryNotTerminated "packedRefEntryNotTerminated" Error,
    PackedRefUnsorted "packedRefUnsorted" Error,
    TreeNotSorted "treeNotSorted" Error,
    UnknownType "unknownType" Error,
    ZeroPaddedDate "zeroPaddedDate" Error,
    BadReftableTableName "badReftableTableName" Warn,
    EmptyName "emptyName" Warn,
    FullPathname "fullPathname" Warn,
    HasDot "hasDot" Warn,
    HasDotdot "hasDotdot" Warn,
    HasDotgit "hasDotgit" Warn,
    LargePathname "largePathname" Warn,
    NullSha1 "nullSha1" Warn,
    NulInCommit "nulInCommit" Warn,
    ZeroPaddedFilemode "zeroPaddedFilemode" Warn,
    BadFilemode "badFilemode" Info,
    BadTagName "badTagName" Info,
    EmptyPackedRefsFile "emptyPackedRefsFile" Info,
    GitattributesSymlink "gitattributesSymlink" Info,
    GitignoreSymlink "gitignoreSymlink" Info,
    GitmodulesParse "gitmodulesParse" Info,
    MailmapSymlink "mailmapSymlink" Info,
    MissingTaggerEntry "missingTaggerEntry" Info,
    RefMissingNewline "refMissingNewline" Info,
    SymlinkRef "symlinkRef" Info,
    SymrefTargetIsNotARef "symrefTargetIsNotARef" Info,
    TrailingRefContent "trailingRefContent" Info,
    ExtraHeaderEntry "extraHeaderEntry" Ignore,
}

/// How many messages there are.
pub(super) const COUNT: usize = TABLE.len();

impl Message {
    /// All of them.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.2)
    }

    /// The id, as reports show it.
    pub(super) fn id(self) -> &'static str {
        TABLE[self as usize].0
    }

    /// How severe it is unless told otherwise.
    pub(super) fn severity(self) -> Severity {
        TABLE[self as usize].1
    }

    /// The message that a setting names; case does not count.
    pub(super) fn find(id: &str) -> Option<Self> {
        Self::all().find(|message| message.id().eq_ignore_ascii_case(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_found_by_its_id_whatever_the_case() {
        for message in Message::all() {
            assert_eq!(Message::find(message.id()), Some(message));
            assert_eq!(Message::find(&message.id().to_uppercase()), Some(message));
        }
        assert_eq!(Message::find("whatEver"), None);
    }
}

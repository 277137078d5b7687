//! A file into the key with which the server proves who it is: ed25519 in OpenSSH's form, made once and kept.

use super::Error;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{HashAlg, PrivateKey};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// A server's private key. Its `Debug` shows the public half only.
#[derive(Clone)]
pub struct HostKey(PrivateKey);

impl HostKey {
    /// The key in the file `path`; where there is none, a new one is made and kept there. True: it is new.
    ///
    /// # Errors
    /// [`Error::HostKey`] when others than the owner can read the file, or it holds no unencrypted private key.
    pub fn load_or_create(path: &Path) -> Result<(Self, bool), Error> {
        match File::open(path) {
            Ok(file) => Ok((Self::load(path, file)?, false)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key = Self::generate()?;
                key.keep(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
                Ok((key, true))
            }
            Err(source) => Err(Error::Io { path: path.to_owned(), source }),
        }
    }

    /// A new key that is kept nowhere.
    ///
    /// # Errors
    /// [`Error::Io`] when the system gives no random numbers.
    pub fn generate() -> Result<Self, Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)
            .map_err(|error| Error::Io { path: "random numbers".into(), source: std::io::Error::other(error.to_string()) })?;
        Ok(Self(PrivateKey::from(Ed25519Keypair::from_seed(&seed))))
    }

    /// `SHA256:` and base64, as a client shows it when it connects for the first time.
    pub fn fingerprint(&self) -> String {
        self.0.public_key().fingerprint(HashAlg::Sha256).to_string()
    }

    /// The public half, as a line of `known_hosts` holds it behind the host's name.
    pub fn public_openssh(&self) -> String {
        self.0.public_key().to_openssh().unwrap_or_default()
    }

    pub(super) fn private(&self) -> &PrivateKey {
        &self.0
    }

    fn load(path: &Path, file: File) -> Result<Self, Error> {
        let wrong = |why: String| Error::HostKey { path: path.to_owned(), why };
        let io = |source| Error::Io { path: path.to_owned(), source };
        let mode = file.metadata().map_err(io)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(wrong(format!("others than its owner may use this host key (mode {:03o}); chmod 600 it", mode & 0o777)));
        }
        let text = std::io::read_to_string(file).map_err(io)?;
        let key = PrivateKey::from_openssh(&text).map_err(|error| wrong(format!("not a private key in OpenSSH's form: {error}")))?;
        if key.is_encrypted() {
            return Err(wrong("the host key is encrypted; a server cannot ask for its passphrase".to_owned()));
        }
        Ok(Self(key))
    }

    /// Written aside and renamed: a crash leaves no half key behind that would be refused at the next start.
    fn keep(&self, path: &Path) -> std::io::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let text = self.0.to_openssh(LineEnding::LF).map_err(std::io::Error::other)?;
        let mut aside = path.as_os_str().to_owned();
        aside.push(".new");
        let aside = Path::new(&aside);
        match fs::remove_file(aside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(aside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(aside, path)?;
        File::open(folder)?.sync_all()
    }
}

impl std::fmt::Debug for HostKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HostKey").field(&self.fingerprint()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept_for_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state/host_key");
        let (made, new) = HostKey::load_or_create(&path).expect("made");
        assert!(new);
        assert_eq!(fs::metadata(&path).expect("kept").permissions().mode() & 0o777, 0o600);
        let (kept, new) = HostKey::load_or_create(&path).expect("loaded");
        assert!(!new);
        assert_eq!(made.fingerprint(), kept.fingerprint());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("host_key");
        HostKey::load_or_create(&path).expect("made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
        let refused = HostKey::load_or_create(&path).expect_err("refused").to_string();
        assert!(refused.contains("mode 640") && refused.contains("chmod 600"), "{refused}");
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_and_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("host_key");
        fs::write(&path, "hello").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        assert!(HostKey::load_or_create(&path).is_err());
        assert_eq!(fs::read_to_string(&path).expect("still there"), "hello");
    }
}

//! An identity counts only after its signature over this very session was verified: clients that offer what they cannot sign for.

use packmule::access::{
    AuthMethods, Authentication, BoxError, Command, Credentials, Decision, Driver, Location, PublicKey as Known, Refusal, RequestPath,
    Transport, UserId,
};
use packmule::transport::{HostKey, Server};
use russh::client::{self, AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_key::certificate::Builder;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::ssh_key::public::{KeyData, SkEd25519};
use russh::keys::{Certificate, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

/// What a driver was asked about, by the fingerprints and words of what was shown.
type Asked = Arc<Mutex<Vec<String>>>;

/// Could know every key, and lets in whoever has proved anything, under the name of the proof.
struct Credulous {
    asked: Asked,
    methods: AuthMethods,
}

impl Driver for Credulous {
    type User = ();

    async fn methods(&self, _: &Transport) -> Result<AuthMethods, BoxError> {
        Ok(self.methods)
    }

    async fn authenticate(&self, credentials: &Credentials) -> Result<Authentication, BoxError> {
        let key = match credentials {
            Credentials::PublicKey(shown) => shown.key.fingerprint(),
            Credentials::Certificate(shown) => shown.certificate.key.fingerprint(),
            other => other.proof(),
        };
        self.asked.lock().expect("no panic").push(key.clone());
        Ok(Authentication::Accepted(UserId::new(key)))
    }

    async fn user(&self, _: &UserId) -> Result<(), BoxError> {
        Ok(())
    }

    async fn authorise(&self, (): &(), _: Command, _: &RequestPath, _: &Transport) -> Result<Decision, BoxError> {
        Ok(Decision::Refused(Refusal::hidden("nobody may do anything")))
    }

    async fn locate(&self, _: &RequestPath, _: &Transport) -> Result<Location, BoxError> {
        Ok(Location::NotFound)
    }
}

/// A client that takes every host key.
struct Client;

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

/// Signs with its own key, whichever was asked for; `changes` spoils what it signs.
struct Signing {
    key: PrivateKey,
    changes: bool,
}

impl russh::Signer for Signing {
    type Error = russh::SendError;

    async fn auth_sign(&mut self, _: &AgentIdentity, _: Option<HashAlg>, mut to_sign: Vec<u8>) -> Result<Vec<u8>, russh::SendError> {
        // As if it had been signed for another session, whose id stands first.
        let mut signed = to_sign.clone();
        signed[8] ^= u8::from(self.changes);
        let signature = self.key.try_sign(&signed).expect("ed25519 signs anything");
        let string = |bytes: &[u8]| [&u32::try_from(bytes.len()).expect("short").to_be_bytes()[..], bytes].concat();
        let blob = [string(signature.algorithm().as_str().as_bytes()), string(signature.as_bytes())].concat();
        to_sign.extend(string(&blob));
        Ok(to_sign)
    }
}

fn key(seed: u8) -> PrivateKey {
    Ed25519Keypair::from_seed(&[seed; 32]).into()
}

fn fingerprint(key: &PrivateKey) -> String {
    Known::from_openssh(&key.public_key().to_openssh().expect("a line")).expect("a key").fingerprint()
}

/// A certificate for `of`, signed by key 9.
fn certificate(of: &PrivateKey) -> Certificate {
    let mut builder = Builder::new([7; 16], of.public_key().key_data().clone(), 0, u64::MAX - 1).expect("a builder");
    builder.valid_principal("ann").expect("a name");
    builder.sign(&key(9)).expect("signed")
}

async fn serve(methods: AuthMethods) -> (SocketAddr, Asked) {
    serve_with(methods, |builder| builder).await
}

async fn serve_with(
    methods: AuthMethods,
    change: impl FnOnce(packmule::transport::Builder) -> packmule::transport::Builder,
) -> (SocketAddr, Asked) {
    let asked = Asked::default();
    let driver = Credulous { asked: asked.clone(), methods };
    let builder = Server::builder().driver(driver).host_key(HostKey::generate().expect("a key"));
    let bound = change(builder).bind("127.0.0.1:0").await;
    let server = bound.expect("a port");
    let address = server.local_addr();
    tokio::spawn(server.serve(std::future::pending()));
    (address, asked)
}

async fn connect(address: SocketAddr) -> Handle<Client> {
    client::connect(Arc::default(), address, Client).await.expect("connected")
}

fn taken(asked: &Asked) -> Vec<String> {
    std::mem::take(&mut *asked.lock().expect("no panic"))
}

fn everything() -> AuthMethods {
    AuthMethods::KEYS.and_certificates().and_passwords().and_anonymous()
}

#[tokio::test]
async fn a_key_that_is_offered_and_signed_for_with_another_is_nobodys() {
    for methods in [AuthMethods::KEYS, AuthMethods::KEYS.and_certificates()] {
        let (address, asked) = serve(methods).await;
        let (ann, eve) = (key(1), key(2));
        let mut client = connect(address).await;
        let public = ann.public_key().clone();
        for mut thief in [Signing { key: eve.clone(), changes: false }, Signing { key: ann.clone(), changes: true }] {
            let said = client.authenticate_publickey_with("ann", public.clone(), None, &mut thief).await.expect("an answer");
            assert!(matches!(said, AuthResult::Failure { .. }), "{said:?}");
            assert_eq!(taken(&asked), [""; 0], "nobody was asked about a key that was not proved");
        }
        // The same connection, and a key that it has: it is that key's owner, not the first one's.
        let said = client.authenticate_publickey("ann", PrivateKeyWithHashAlg::new(Arc::new(eve.clone()), None)).await;
        assert!(matches!(said, Ok(AuthResult::Success)), "{said:?}");
        assert_eq!(taken(&asked), [fingerprint(&eve)]);
        let mut honest = Signing { key: ann.clone(), changes: false };
        let said = connect(address).await.authenticate_publickey_with("ann", public, None, &mut honest).await.expect("an answer");
        assert!(matches!(said, AuthResult::Success) && taken(&asked) == [fingerprint(&ann)], "{said:?}");
    }
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_of_no_use() {
    let (address, asked) = serve(AuthMethods::KEYS.and_certificates()).await;
    let (ann, eve) = (key(1), key(2));
    for (signer, is_let_in) in [(&eve, false), (&ann, true)] {
        let said = connect(address).await.authenticate_openssh_cert("ann", Arc::new(signer.clone()), certificate(&ann)).await;
        assert_eq!(matches!(said, Ok(AuthResult::Success)), is_let_in, "{said:?}");
        assert_eq!(taken(&asked).len(), usize::from(is_let_in));
    }
    let (address, asked) = serve(AuthMethods::KEYS).await;
    let said = connect(address).await.authenticate_openssh_cert("ann", Arc::new(ann.clone()), certificate(&ann)).await;
    assert!(!matches!(said, Ok(AuthResult::Success)), "a driver that takes no certificates lets in nobody for one: {said:?}");
    assert_eq!(taken(&asked), [""; 0]);
}

#[tokio::test]
async fn what_a_driver_does_not_take_never_reaches_it() {
    let (address, asked) = serve(AuthMethods::KEYS).await;
    let mut client = connect(address).await;
    for said in [client.authenticate_none("anonymous").await, client.authenticate_password("ann", "canary").await] {
        let offered = match said {
            Ok(AuthResult::Failure { remaining_methods, .. }) => remaining_methods,
            other => panic!("{other:?}"),
        };
        assert_eq!(offered, russh::MethodSet::from(&[russh::MethodKind::PublicKey][..]));
    }
    assert_eq!(taken(&asked), [""; 0]);
    let (address, asked) = serve(everything()).await;
    let long = "x".repeat(1_025);
    let said = connect(address).await.authenticate_password("ann", long).await;
    assert!(matches!(said, Ok(AuthResult::Failure { .. })) && taken(&asked).is_empty(), "{said:?}");
    let said = connect(address).await.authenticate_password("ann", "x".repeat(1_024)).await;
    assert!(matches!(said, Ok(AuthResult::Success)) && taken(&asked) == ["password"], "{said:?}");
}

/// A security key that nobody touches, and its owner: ed25519 over hashes of application and message (PROTOCOL.u2f of OpenSSH).
struct Untouched(PrivateKey);

impl Untouched {
    fn public(&self) -> PublicKey {
        let key = self.0.public_key().key_data().ed25519().expect("such a key");
        KeyData::SkEd25519(SkEd25519::new(*key, "ssh:")).into()
    }
}

impl russh::Signer for Untouched {
    type Error = russh::SendError;

    async fn auth_sign(&mut self, _: &AgentIdentity, _: Option<HashAlg>, mut to_sign: Vec<u8>) -> Result<Vec<u8>, russh::SendError> {
        let hash = |bytes: &[u8]| HashAlg::Sha256.digest(bytes);
        let (flags, counter) = ([0], [0, 0, 0, 7]);
        let signed = [&hash(b"ssh:")[..], &flags, &counter, &hash(&to_sign)].concat();
        let signature = self.0.try_sign(&signed).expect("ed25519 signs anything");
        let string = |bytes: &[u8]| [&u32::try_from(bytes.len()).expect("short").to_be_bytes()[..], bytes].concat();
        let blob = [&string(b"sk-ssh-ed25519@openssh.com")[..], &string(signature.as_bytes()), &flags, &counter].concat();
        to_sign.extend(string(&blob));
        Ok(to_sign)
    }
}

#[tokio::test]
async fn a_security_key_that_nobody_touched_is_taken_only_where_that_is_said() {
    for counts in [false, true] {
        let (address, asked) = serve_with(AuthMethods::KEYS, |builder| builder.keys_without_touch(counts)).await;
        let mut key = Untouched(key(3));
        let said = connect(address).await.authenticate_publickey_with("ann", key.public(), None, &mut key).await.expect("an answer");
        assert_eq!(matches!(said, AuthResult::Success), counts, "{said:?}");
        assert_eq!(taken(&asked).len(), usize::from(counts));
    }
}

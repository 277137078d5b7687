//! A transport of HTTP's kind within this process: passwords and strangers, stateless requests over byte buffers, the real engines.
//!
//! Nothing that a driver implements has to change for it: the same four callbacks, asked through the same door.

use crate::common::pkt::{self, Pkt};
use crate::common::{Sandbox, check};
use packmule::access::files::{FileBook, Files};
use packmule::access::{
    Admission, AuthMethods, Authentication, BoxError, Command, Credentials, Decision, Door, Driver, Grant, Location, LogIn, Place,
    PushProposal, RefRules, Refusal, RequestPath, Secret, Transport, TransportKind, UserId,
};
use packmule::base::Cancel;
use packmule::serve::{self, Options, Protocol, Verdict, Wants};
use packmule::store::Repositories;
use std::path::PathBuf;
use std::sync::Arc;

/// Ann writes with her password, everybody reads what is not secret; the host that a client names is a folder.
struct Hosts {
    folder: PathBuf,
}

struct Reader {
    is_ann: bool,
}

struct Refs {
    is_ann: bool,
}

impl Driver for Hosts {
    type User = Reader;

    async fn methods(&self, transport: &Transport) -> Result<AuthMethods, BoxError> {
        let open = AuthMethods::NONE.and_anonymous();
        // A password that others can read on the way proves nothing.
        Ok(if transport.is_encrypted() { open.and_passwords() } else { open })
    }

    async fn authenticate(&self, credentials: &Credentials) -> Result<Authentication, BoxError> {
        Ok(match credentials {
            Credentials::Password(said) if said.user_name == "ann" && said.password.expose() == "canary" => {
                Authentication::Accepted(UserId::new("ann"))
            }
            Credentials::Password(said) if said.user_name == "eve" => Authentication::Refused(Refusal::told("eve has left")),
            Credentials::Anonymous(_) => Authentication::Accepted(UserId::new("anybody")),
            _ => Authentication::Unknown,
        })
    }

    async fn user(&self, id: &UserId) -> Result<Reader, BoxError> {
        Ok(Reader { is_ann: id.as_str() == "ann" })
    }

    async fn authorise(&self, user: &Reader, command: Command, _: &RequestPath, transport: &Transport) -> Result<Decision, BoxError> {
        assert_eq!(transport.kind(), TransportKind::Http);
        Ok(match command {
            Command::ReceivePack if !user.is_ann => Decision::Refused(Refusal::told("who pushes says who they are")),
            _ => Decision::Granted(Grant::new(Refs { is_ann: user.is_ann })),
        })
    }

    async fn locate(&self, path: &RequestPath, transport: &Transport) -> Result<Location, BoxError> {
        let (Some(host), Ok(name)) = (transport.host(), path.name()) else { return Ok(Location::NotFound) };
        Ok(Location::Place(Place::at(self.folder.join(host).join(format!("{}.git", name.as_str())))))
    }
}

impl RefRules for Refs {
    fn may_read(&self, name: &bstr::BStr) -> bool {
        self.is_ann || name != "refs/heads/secret"
    }

    async fn judge(&self, push: &PushProposal) -> Result<Vec<Verdict>, BoxError> {
        Ok(vec![Verdict::Allow; push.edits.len()])
    }
}

/// One request, as an HTTP server has it when head and body are read.
struct Request<'a> {
    credentials: Credentials,
    service: Command,
    path: &'a str,
    /// `GET …/info/refs`, whose body is empty.
    is_advertisement: bool,
    body: &'a [u8],
}

/// The answer: HTTP's status and the body.
fn answer(runtime: &tokio::runtime::Runtime, door: &Door, request: Request<'_>) -> (u16, Vec<u8>) {
    let session = match runtime.block_on(door.log_in(request.credentials)) {
        Ok(LogIn::Accepted(session)) => session,
        Ok(LogIn::Unknown) => return (401, vec![]),
        Ok(LogIn::Refused(why)) => return (403, why.for_peer().unwrap_or_default().into()),
        Err(error) => return (503, error.for_peer().into()),
    };
    let asked = runtime.block_on(async { session.caller().await?.ask(request.service, &RequestPath::new(request.path)).await });
    let granted = match asked {
        Ok(Admission::Granted(granted)) => granted,
        Ok(Admission::Refused(why)) => return (403, why.for_peer().unwrap_or_default().into()),
        Ok(Admission::NotFound) => return (404, vec![]),
        Err(error) => return (503, error.for_peer().into()),
    };
    let Some(repository) = granted.open().expect("a repository or nothing") else { return (404, vec![]) };
    let gate = granted.into_gate(runtime.handle().clone());
    let options = Options {
        protocol: if request.service == Command::UploadPack { Protocol::V2 } else { Protocol::V0 },
        stateless: true,
        advertise_only: request.is_advertisement,
        wants: Wants::ReachableFromVisible,
        ..Options::default()
    };
    let (mut output, cancel) = (Vec::new(), Cancel::new());
    let served = match request.service {
        Command::UploadPack => serve::upload_pack(&repository, &*gate, &options, request.body, &mut output, &cancel).map(|_| ()),
        Command::ReceivePack => serve::receive_pack(&repository, &*gate, &options, request.body, &mut output, &cancel).map(|_| ()),
        other => panic!("{other} is none of git's"),
    };
    served.expect("served");
    (200, output)
}

struct House {
    sandbox: Sandbox,
    repository: PathBuf,
    seed: PathBuf,
    door: Door,
    runtime: tokio::runtime::Runtime,
}

impl House {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let repository = sandbox.bare("git.example/plans.git", "sha1");
        let seed = sandbox.work_tree("seed", "sha1");
        sandbox.git(&seed, ["checkout", "-q", "-b", "secret", "main"]);
        sandbox.commit_file(&seed, "secret", "secret");
        sandbox.git(&seed, ["push", "-q", &repository.to_string_lossy(), "main", "secret"]);
        let door = Door::new(Hosts { folder: sandbox.path("") });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        Self { sandbox, repository, seed, door, runtime }
    }

    fn ask(&self, credentials: Credentials, service: Command, path: &str, body: Option<&[u8]>) -> (u16, Vec<u8>) {
        let request = Request { credentials, service, path, is_advertisement: body.is_none(), body: body.unwrap_or_default() };
        answer(&self.runtime, &self.door, request)
    }

    fn id(&self, what: &str) -> String {
        self.sandbox.git(&self.seed, ["rev-parse", what])
    }
}

fn way(is_encrypted: bool) -> Transport {
    Transport::http(Some(([192, 0, 2, 7], 4711).into()), is_encrypted).to_host("git.example")
}

fn stranger() -> Credentials {
    Credentials::anonymous("", way(true))
}

fn ann(password: &str, is_encrypted: bool) -> Credentials {
    Credentials::password("ann", Secret::new(password), way(is_encrypted))
}

/// A request of protocol 2: a command, then its arguments.
fn command(name: &str, arguments: &[String]) -> Vec<u8> {
    let mut body = [pkt::data(format!("command={name}\n")), b"0001".to_vec()].concat();
    arguments.iter().for_each(|argument| body.extend(pkt::data(format!("{argument}\n"))));
    [body, b"0000".to_vec()].concat()
}

/// What the packets of `answer` hold on side-band 1, behind `packfile`.
fn pack_of(mut answer: &[u8]) -> Vec<u8> {
    let (mut pack, mut has_begun) = (vec![], false);
    while let Some(packet) = pkt::take(&mut answer).expect("packets") {
        match packet {
            Pkt::Data(line) if line == b"packfile\n" => has_begun = true,
            Pkt::Data(line) if has_begun && line[0] == 1 => pack.extend_from_slice(&line[1..]),
            _ => {}
        }
    }
    pack
}

#[test]
fn a_stranger_sees_and_fetches_what_everybody_may() {
    let house = House::new();
    let (status, advertised) = house.ask(stranger(), Command::UploadPack, "/plans.git", None);
    assert!(status == 200 && advertised.windows(9).any(|word| word == b"version 2"), "{status}");
    let (_, listed) = house.ask(stranger(), Command::UploadPack, "plans", Some(&command("ls-refs", &[])));
    let listed = String::from_utf8_lossy(&listed).into_owned();
    assert!(listed.contains("refs/heads/main") && !listed.contains("secret"), "{listed}");
    let want = |what: &str| command("fetch", &[format!("want {}", house.id(what)), "done".to_owned()]);
    let (status, fetched) = house.ask(stranger(), Command::UploadPack, "plans", Some(&want("main")));
    let copy = house.sandbox.bare("copy.git", "sha1");
    house.sandbox.git_with_input(&copy, ["index-pack", "--stdin", "--strict"], &pack_of(&fetched));
    house.sandbox.git(&copy, ["update-ref", "refs/heads/main", &house.id("main")]);
    check::sound(&house.sandbox, &copy);
    assert_eq!(status, 200);
    let (_, hidden) = house.ask(ann("canary", true), Command::UploadPack, "plans", Some(&command("ls-refs", &[])));
    assert!(String::from_utf8_lossy(&hidden).contains("refs/heads/secret"));
}

#[test]
fn who_shows_no_password_does_not_push_and_who_does_pushes() {
    let house = House::new();
    house.sandbox.commit_file(&house.seed, "new", "new");
    let (null, new) = ("0".repeat(40), house.id("HEAD"));
    let mut pack = house.sandbox.git_command(&house.seed, ["pack-objects", "--revs", "--stdout", "-q"]);
    let packed = crate::common::run_with_input(&mut pack, format!("{new}\n^{}\n", house.id("main")).as_bytes());
    assert!(packed.status.success());
    let line = pkt::data(format!("{null} {new} refs/heads/new\0report-status"));
    let body = [&line[..], b"0000", &packed.stdout].concat();
    let push = |credentials| house.ask(credentials, Command::ReceivePack, "/plans", Some(&body));
    for (credentials, status) in [
        (stranger(), 403),
        (ann("wrong", true), 401),
        // Where others listen the driver takes no passwords, and so is not even asked.
        (ann("canary", false), 401),
        (Credentials::password("eve", Secret::new("canary"), way(true)), 403),
    ] {
        let shown = format!("{credentials:?}");
        let (said, text) = push(credentials);
        assert_eq!(said, status, "{shown}: {}", String::from_utf8_lossy(&text));
        assert!(!shown.contains("canary") && !shown.contains("wrong"), "{shown}");
    }
    assert_eq!(check::ref_value(&house.sandbox, &house.repository, "refs/heads/new"), "");
    let (status, said) = push(ann("canary", true));
    assert!(status == 200 && String::from_utf8_lossy(&said).contains("ok refs/heads/new"), "{}", String::from_utf8_lossy(&said));
    assert_eq!(check::ref_value(&house.sandbox, &house.repository, "refs/heads/new"), new);
    check::sound(&house.sandbox, &house.repository);
}

#[test]
fn the_way_decides_which_repository_a_path_means() {
    let house = House::new();
    let elsewhere = Credentials::anonymous("", Transport::http(None, true).to_host("other.example"));
    let nowhere = Credentials::anonymous("", Transport::http(None, true));
    for (credentials, path, status) in
        [(stranger(), "/plans.git", 200), (stranger(), "/../plans", 404), (elsewhere, "/plans.git", 404), (nowhere, "/plans.git", 404)]
    {
        assert_eq!(house.ask(credentials, Command::UploadPack, path, None).0, status, "{path}");
    }
}

/// The same requests under GitServerGlue's files: `ann` writes with her password, everybody reads `website`.
#[test]
fn gitserverglues_files_answer_a_transport_of_https_kind() {
    let sandbox = Sandbox::new();
    let website = sandbox.bare("served/website.git", "sha1");
    let seed = sandbox.work_tree("seed", "sha1");
    sandbox.git(&seed, ["push", "-q", &website.to_string_lossy(), "main"]);
    sandbox.bare("served/plans.git", "sha1");
    let write = |name: &str, text: &str| std::fs::write(sandbox.path("served").join(name), text).expect("written");
    write(".htpasswd", "ann:{SHA}tH3f1q/SqcODlHyJjVtD/w71Drg=\nbob:$apr1$saltsalt$cNZdDqnjzv5AQ91SLlegY.\n");
    write(".repoperms", "[website.git]\nann = rw\nbob = r\nanonymous = r\n[plans.git]\nann = r\n");
    let book = FileBook::read(&sandbox.path("served"), None).expect("three files");
    let repositories = Arc::new(Repositories::open(&sandbox.path("served")).expect("a root"));
    let door = Door::new(Files::new(book, repositories));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let ask = |credentials: Credentials, service, path, body: Option<&[u8]>| {
        let request = Request { credentials, service, path, is_advertisement: body.is_none(), body: body.unwrap_or_default() };
        answer(&runtime, &door, request)
    };
    let by_password = |user: &str, password: &str, is_encrypted| Credentials::password(user, Secret::new(password), way(is_encrypted));
    for (credentials, service, path, status) in [
        (stranger(), Command::UploadPack, "/website.git", 200),
        (stranger(), Command::UploadPack, "/plans.git", 403),
        (stranger(), Command::ReceivePack, "/website.git", 403),
        (by_password("ann", "canary", true), Command::UploadPack, "/plans.git", 200),
        (by_password("ann", "canary", true), Command::ReceivePack, "/plans.git", 403),
        (by_password("ann", "canard", true), Command::UploadPack, "/website.git", 401),
        (by_password("eve", "canary", true), Command::UploadPack, "/website.git", 401),
        // Where others listen no password is taken.
        (by_password("ann", "canary", false), Command::UploadPack, "/website.git", 401),
        (by_password("bob", "canary", true), Command::ReceivePack, "/website.git", 403),
        (by_password("bob", "canary", true), Command::UploadPack, "/website.git/info/refs", 200),
    ] {
        let shown = format!("{credentials:?} {service:?} {path}");
        assert_eq!(ask(credentials, service, path, None).0, status, "{shown}");
    }
    sandbox.commit_file(&seed, "new", "new");
    let (null, new) = ("0".repeat(40), sandbox.git(&seed, ["rev-parse", "HEAD"]));
    let mut pack = sandbox.git_command(&seed, ["pack-objects", "--revs", "--stdout", "-q"]);
    let packed = crate::common::run_with_input(&mut pack, format!("{new}\n^{new}~1\n").as_bytes());
    let line = pkt::data(format!("{null} {new} refs/heads/new\0report-status"));
    let (status, said) =
        ask(by_password("ann", "canary", true), Command::ReceivePack, "/website.git", Some(&[&line[..], b"0000", &packed.stdout].concat()));
    assert!(status == 200 && String::from_utf8_lossy(&said).contains("ok refs/heads/new"), "{}", String::from_utf8_lossy(&said));
    check::sound(&sandbox, &website);
}

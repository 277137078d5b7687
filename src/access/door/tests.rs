//! Who is asked what, in which order, and what follows from every kind of answer and from none.

use super::*;
use crate::access::{BoxError, CertificateCredentials, Secret};
use std::sync::Mutex;

/// Far more than an answer takes; what waits for it waits in vain.
const PATIENCE: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(100);

type Asked = Arc<Mutex<Vec<String>>>;

/// How a callback gives no answer.
#[derive(Clone, Copy, Debug)]
enum Failing {
    Error,
    Panic,
    Silence,
}

/// Writes down what it is asked, and answers as it was told to.
struct Scripted {
    name: &'static str,
    asked: Asked,
    /// What it says of whoever comes, now.
    says: Arc<Mutex<Authentication>>,
    methods: AuthMethods,
    fails: Option<(&'static str, Failing)>,
}

impl Scripted {
    fn new(name: &'static str, asked: &Asked, says: Authentication) -> Self {
        let methods = AuthMethods::KEYS.and_passwords().and_certificates();
        Self { name, asked: asked.clone(), says: Arc::new(Mutex::new(says)), methods, fails: None }
    }

    async fn note(&self, callback: &'static str, of_whom: &str) -> Result<(), BoxError> {
        self.asked.lock().expect("no panic").push(format!("{}.{callback}({of_whom})", self.name));
        match self.fails {
            Some((fails, Failing::Error)) if fails == callback => Err("no database at /secret".into()),
            Some((fails, Failing::Panic)) if fails == callback => panic!("on purpose"),
            Some((fails, Failing::Silence)) if fails == callback => std::future::pending().await,
            _ => Ok(()),
        }
    }
}

impl Driver for Scripted {
    type User = String;

    async fn methods(&self, _: &Transport) -> Result<AuthMethods, BoxError> {
        if matches!(self.fails, Some(("methods", _))) {
            self.note("methods", "").await?;
        }
        Ok(self.methods)
    }

    async fn may_know(&self, _: &PublicKey) -> Result<bool, BoxError> {
        self.note("may_know", "").await.map(|()| false)
    }

    async fn authenticate(&self, credentials: &Credentials) -> Result<Authentication, BoxError> {
        self.note("authenticate", credentials.user_name()).await?;
        Ok(self.says.lock().expect("no panic").clone())
    }

    async fn user(&self, id: &UserId) -> Result<String, BoxError> {
        self.note("user", id.as_str()).await?;
        Ok(format!("{} of {}", id.as_str(), self.name))
    }

    async fn authorise(&self, user: &String, _: Command, path: &RequestPath, transport: &Transport) -> Result<Decision, BoxError> {
        self.note("authorise", &format!("{user}, {}, {}", path.as_str(), transport.kind())).await?;
        let is_closed = path.as_str() == "closed";
        Ok(if is_closed { Decision::Refused(Refusal::told("closed")) } else { Decision::Granted(Grant::everything()) })
    }

    async fn locate(&self, path: &RequestPath, transport: &Transport) -> Result<Location, BoxError> {
        self.note("locate", &format!("{}, {}", path.as_str(), transport.kind())).await?;
        Ok(if path.as_str() == "nowhere" { Location::NotFound } else { Location::Place(Place::at("/there")) })
    }

    async fn describe(&self, user: &String) -> Result<Description, BoxError> {
        self.note("describe", user).await?;
        Ok(Description::default())
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

fn accepted(name: &str) -> Authentication {
    Authentication::Accepted(UserId::new(name))
}

fn refused() -> Authentication {
    Authentication::Refused(Refusal::hidden("left the company"))
}

fn password(name: &str) -> Credentials {
    Credentials::password(name, Secret::new("x"), Transport::in_memory())
}

fn taken(asked: &Asked) -> Vec<String> {
    std::mem::take(&mut *asked.lock().expect("no panic"))
}

fn path(text: &str) -> RequestPath {
    RequestPath::new(text)
}

async fn session(door: &Door, credentials: Credentials) -> Session {
    match door.log_in(credentials).await.expect("an answer") {
        LogIn::Accepted(session) => session,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_callbacks_come_in_their_order_and_the_drivers_name_counts() {
    let asked = Asked::default();
    let door = Door::new(Scripted::new("d", &asked, accepted("ann")));
    run(async {
        let session = session(&door, password("claims")).await;
        assert_eq!((taken(&asked), session.user().as_str()), (vec!["d.authenticate(claims)".to_owned()], "ann"));
        let caller = session.caller().await.expect("an answer");
        assert_eq!(taken(&asked), ["d.user(ann)"]);
        assert!(matches!(caller.ask(Command::UploadPack, &path("/x.git")).await, Ok(Admission::Granted(_))));
        assert_eq!(taken(&asked), ["d.authorise(ann of d, /x.git, in-memory)", "d.locate(/x.git, in-memory)"]);
    });
}

#[test]
fn where_a_repository_lies_is_asked_only_after_a_yes() {
    let asked = Asked::default();
    let door = Door::new(Scripted::new("d", &asked, accepted("ann")));
    run(async {
        let caller = session(&door, password("ann")).await.caller().await.expect("an answer");
        taken(&asked);
        let closed = caller.ask(Command::ReceivePack, &path("closed")).await;
        assert!(matches!(closed, Ok(Admission::Refused(ref why)) if why.for_peer().as_deref() == Some("closed")), "{closed:?}");
        assert_eq!(taken(&asked), ["d.authorise(ann of d, closed, in-memory)"]);
        assert!(matches!(caller.ask(Command::UploadPack, &path("nowhere")).await, Ok(Admission::NotFound)));
    });
}

#[test]
fn the_first_driver_that_knows_somebody_owns_the_session_alone() {
    let asked = Asked::default();
    let driver = |name, says| Scripted::new(name, &asked, says);
    let chain = Chain::new().then(driver("a", Authentication::Unknown)).then(driver("b", accepted("ann"))).then(driver("c", refused()));
    run(async {
        let session = session(&chain.into(), password("ann")).await;
        let caller = session.caller().await.expect("an answer");
        caller.ask(Command::UploadPack, &path("x")).await.expect("an answer");
        caller.describe().await.expect("an answer");
        let of_b = ["b.user(ann)", "b.authorise(ann of b, x, in-memory)", "b.locate(x, in-memory)", "b.describe(ann of b)"];
        assert_eq!(taken(&asked), [&["a.authenticate(ann)", "b.authenticate(ann)"], &of_b[..]].concat());
    });
}

#[test]
fn a_refusal_is_final_and_an_error_stops() {
    let asked = Asked::default();
    let chain = Chain::new().then(Scripted::new("a", &asked, refused())).then(Scripted::new("b", &asked, accepted("ann")));
    let found = run(Door::from(chain).log_in(password("ann")));
    assert!(matches!(found, Ok(LogIn::Refused(ref why)) if why.to_string() == "left the company"), "{found:?}");
    assert_eq!(taken(&asked), ["a.authenticate(ann)"]);
    let failing = Scripted { fails: Some(("authenticate", Failing::Error)), ..Scripted::new("a", &asked, accepted("ann")) };
    let chain = Chain::new().then(failing).then(Scripted::new("b", &asked, accepted("ann")));
    let found = run(Door::from(chain).log_in(password("ann")));
    assert!(matches!(found, Err(Error::Failed { callback: "authenticate", .. })), "{found:?}");
    assert_eq!(taken(&asked), ["a.authenticate(ann)"]);
    assert!(matches!(run(Door::from(Chain::new()).log_in(password("ann"))), Ok(LogIn::Unknown)), "nobody is there to know them");
}

#[test]
fn a_driver_never_sees_what_it_does_not_take() {
    let asked = Asked::default();
    let keys_only = Scripted { methods: AuthMethods::KEYS, ..Scripted::new("a", &asked, accepted("ann")) };
    let chain = Chain::new().then(keys_only).then(Scripted::new("b", &asked, Authentication::Unknown));
    let door = Door::from(chain);
    run(async {
        assert!(matches!(door.log_in(password("ann")).await, Ok(LogIn::Unknown)));
        assert_eq!(taken(&asked), ["b.authenticate(ann)"]);
        let nobody = Credentials::anonymous("ann", Transport::http(None, true));
        assert!(matches!(door.log_in(nobody).await, Ok(LogIn::Unknown)));
        assert_eq!(taken(&asked), [""; 0]);
        let methods = door.methods(&Transport::in_memory()).await;
        assert!(methods.keys && methods.passwords && !methods.anonymous);
    });
}

#[test]
fn a_login_counts_as_long_as_the_same_driver_says_the_same() {
    let asked = Asked::default();
    let (first, second) = (Scripted::new("a", &asked, Authentication::Unknown), Scripted::new("b", &asked, accepted("ann")));
    let (of_first, of_second) = (first.says.clone(), second.says.clone());
    let door = Door::from(Chain::new().then(first).then(second));
    run(async {
        let session = session(&door, password("ann")).await;
        for (a, b, is_known) in [
            (Authentication::Unknown, accepted("ann"), true),
            (Authentication::Unknown, accepted("bob"), false),
            (Authentication::Unknown, Authentication::Unknown, false),
            (Authentication::Unknown, refused(), false),
            (refused(), accepted("ann"), false),
            // The same name, but another driver's: another person.
            (accepted("ann"), accepted("ann"), false),
        ] {
            (*of_first.lock().expect("no panic"), *of_second.lock().expect("no panic")) = (a.clone(), b.clone());
            assert_eq!(session.is_still_known().await.expect("an answer"), is_known, "{a:?} {b:?}");
        }
    });
}

#[test]
fn a_certificate_ends_while_its_connection_goes_on() {
    let asked = Asked::default();
    let now_s = Arc::new(Mutex::new(150));
    let clock = now_s.clone();
    let door = Door::new(Scripted::new("d", &asked, accepted("ann")))
        .with_clock(move || UNIX_EPOCH + Duration::from_secs(*clock.lock().expect("no panic")));
    let key = PublicKey::from_openssh("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ").expect("a key");
    let certificate = crate::access::Certificate {
        authority: key.clone(),
        key,
        key_id: String::new(),
        serial: 0,
        principals: vec![],
        valid_after_s: 100,
        valid_before_s: 200,
        critical_options: Default::default(),
        extensions: Default::default(),
    };
    let transport = Transport::ssh(([127, 0, 0, 1], 1).into());
    let shown = Credentials::Certificate(CertificateCredentials { certificate, user_name: "git".to_owned(), transport });
    run(async {
        let session = session(&door, shown.clone()).await;
        assert!(session.is_still_known().await.expect("an answer"));
        *now_s.lock().expect("no panic") = 200;
        taken(&asked);
        assert!(!session.is_still_known().await.expect("an answer"));
        assert!(matches!(door.log_in(shown).await, Ok(LogIn::Refused(_))));
        assert_eq!(taken(&asked), [""; 0], "the driver need not look at times");
    });
}

/// What comes of a whole command when the callback `fails` fails in this way.
async fn whole_command(fails: &'static str, how: Failing) -> Result<(), Error> {
    let driver = Scripted { fails: Some((fails, how)), ..Scripted::new("d", &Asked::default(), accepted("ann")) };
    let timeout = if matches!(how, Failing::Silence) { SOON } else { PATIENCE };
    let door = Door::from(Chain::new().within(timeout).then(driver));
    let LogIn::Accepted(session) = door.log_in(password("ann")).await? else { panic!("somebody") };
    let caller = session.caller().await?;
    caller.describe().await?;
    match caller.ask(Command::ReceivePack, &path("x")).await? {
        Admission::Granted(_) => Ok(()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_callback_that_fails_panics_or_is_silent_means_no() {
    for callback in ["methods", "authenticate", "user", "describe", "authorise", "locate"] {
        for how in [Failing::Error, Failing::Panic, Failing::Silence] {
            let error = run(whole_command(callback, how)).expect_err(callback);
            let is_told_apart = match (&error, how) {
                (Error::Failed { callback: found, .. }, Failing::Error)
                | (Error::Panicked { callback: found }, Failing::Panic)
                | (Error::Late { callback: found, timeout_ms: 100 }, Failing::Silence) => *found == callback,
                _ => false,
            };
            assert!(is_told_apart && !error.for_peer().contains("secret"), "{callback} {how:?}: {error}");
        }
    }
    run(whole_command("nothing", Failing::Error)).expect("a yes where nothing fails");
}

#[test]
fn a_driver_that_cannot_say_what_it_takes_takes_nothing_and_may_know_any_key() {
    for how in [Failing::Error, Failing::Panic, Failing::Silence] {
        let failing = |callback| Scripted { fails: Some((callback, how)), ..Scripted::new("d", &Asked::default(), accepted("ann")) };
        let door = |callback| Door::from(Chain::new().within(SOON).then(failing(callback)));
        let key = PublicKey::from_openssh("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ");
        let key = key.expect("a key");
        assert_eq!(run(door("methods").methods(&Transport::in_memory())), AuthMethods::NONE);
        assert!(run(door("may_know").may_know(&key)));
        assert!(!run(door("methods").may_know(&key)), "one that answers no is believed");
    }
}

#[test]
fn a_driver_that_has_not_thought_of_administration_lets_nobody_administer() {
    let asked = Asked::default();
    let door = Door::new(Scripted::new("d", &asked, accepted("ann")));
    run(async {
        let caller = session(&door, password("ann")).await.caller().await.expect("an answer");
        for command in [Command::Create, Command::Rename, Command::Delete, Command::Restore, Command::List, Command::Roles] {
            taken(&asked);
            let refused = caller.ask(command, &path("x")).await;
            assert!(matches!(refused, Ok(Admission::Refused(ref why)) if why.for_peer().is_none()), "{command}: {refused:?}");
            assert_eq!(taken(&asked), ["d.authorise(ann of d, x, in-memory)"], "{command}: it is never located");
        }
        assert_eq!(caller.why(Question::new(path("x"), "read")).await.expect("an answer"), None);
        assert_eq!(caller.roots().await.expect("an answer").len(), 0);
    });
}

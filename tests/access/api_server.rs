//! A small API server as packmule asks one: HTTP/1.1 with connections that stay open, over TCP, TLS or a unix socket, and faults to order.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No answer until the client gives up.
    Silent,
    /// This status with a right body.
    Status(u16),
    /// To an address where everything would be right.
    Redirect,
    /// Something that is not HTTP.
    Garbage,
    /// More bytes than anybody needs.
    Huge,
    /// The same in the head.
    HugeHead,
    /// Half of what it says that it sends.
    HangUp,
    /// A right body as `text/html`.
    WrongType,
    /// Something that is not JSON.
    NotJson,
    /// JSON that is nested without end.
    Nested,
    /// A right answer with a field more.
    Surprise,
}

/// One question as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Asked {
    /// The body, which is JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a body of JSON")
    }
}

type Answers = Box<dyn Fn(&Asked) -> (u16, String) + Send + Sync>;

struct State {
    answers: Answers,
    /// The fault, and how many questions it still meets.
    fault: Mutex<Option<(Fault, usize)>>,
    asked: Mutex<Vec<Asked>>,
    /// Ends connections that are open.
    ends: Mutex<Vec<Box<dyn Fn() + Send>>>,
    is_down: Mutex<bool>,
}

/// A server that answers while it exists.
pub struct ApiServer {
    /// As `url` in `[http]`.
    pub url: String,
    state: Arc<State>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ApiServer {
    /// Over TCP.
    pub fn tcp(answers: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        Self::start(url, answers, move |state| {
            while let Ok((stream, _)) = listener.accept() {
                if !state.takes(end_tcp(&stream)) {
                    return;
                }
                let state = state.clone();
                std::thread::spawn(move || state.converse(stream));
            }
        })
    }

    /// Over TLS.
    pub fn tls(config: ServerConfig, answers: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("https://{}", listener.local_addr().expect("an address"));
        let config = Arc::new(config);
        Self::start(url, answers, move |state| {
            while let Ok((stream, _)) = listener.accept() {
                if !state.takes(end_tcp(&stream)) {
                    return;
                }
                let (state, session) = (state.clone(), ServerConnection::new(config.clone()).expect("a session"));
                std::thread::spawn(move || state.converse(StreamOwned::new(session, stream)));
            }
        })
    }

    /// Over the unix socket `path`.
    pub fn unix(path: &Path, answers: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(path).expect("a socket");
        Self::start(format!("unix:{}", path.display()), answers, move |state| {
            while let Ok((stream, _)) = listener.accept() {
                let copy = stream.try_clone().expect("a copy");
                if !state.takes(Box::new(move || drop(copy.shutdown(Shutdown::Both)))) {
                    return;
                }
                let state = state.clone();
                std::thread::spawn(move || state.converse(stream));
            }
        })
    }

    fn start(
        url: String,
        answers: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static,
        serve: impl FnOnce(Arc<State>) + Send + 'static,
    ) -> Self {
        let state = Arc::new(State {
            answers: Box::new(answers),
            fault: Mutex::default(),
            asked: Mutex::default(),
            ends: Mutex::default(),
            is_down: Mutex::default(),
        });
        let served = state.clone();
        std::thread::spawn(move || serve(served));
        Self { url, state }
    }

    /// Let the next `times` questions meet `fault`.
    pub fn fail(&self, fault: Fault, times: usize) {
        *lock(&self.state.fault) = Some((fault, times));
    }

    /// Answer rightly again.
    pub fn mend(&self) {
        *lock(&self.state.fault) = None;
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.state.asked).clone()
    }

    /// How often something was asked at `path`.
    pub fn times(&self, path: &str) -> usize {
        self.asked().iter().filter(|asked| asked.target == path).count()
    }

    /// Take no connections any more, and end those that are open.
    pub fn go_down(&self) {
        *lock(&self.state.is_down) = true;
        lock(&self.state.ends).drain(..).for_each(|end| end());
        // Whoever waits for a connection gets one, and stops.
        match self.url.split_once("://") {
            Some((_, address)) => drop(TcpStream::connect(address)),
            None => drop(UnixStream::connect(self.url.trim_start_matches("unix:"))),
        }
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.go_down();
    }
}

fn end_tcp(stream: &TcpStream) -> Box<dyn Fn() + Send> {
    let copy = stream.try_clone().expect("a copy");
    Box::new(move || drop(copy.shutdown(Shutdown::Both)))
}

impl State {
    fn takes(&self, end: Box<dyn Fn() + Send>) -> bool {
        // Under its lock, so that a server that goes down meanwhile ends this one as well.
        let mut ends = lock(&self.ends);
        let is_down = *lock(&self.is_down);
        if is_down {
            end()
        } else {
            ends.push(end)
        }
        !is_down
    }

    /// What the next question meets.
    fn next_fault(&self) -> Option<Fault> {
        let mut fault = lock(&self.fault);
        let (fault, times) = fault.as_mut().filter(|(_, times)| *times > 0)?;
        *times -= 1;
        Some(*fault)
    }

    /// One question after the other, until the client or a fault ends it.
    fn converse(&self, stream: impl Read + Write) {
        let mut stream = BufReader::new(stream);
        while let Some(asked) = read_question(&mut stream) {
            lock(&self.asked).push(asked.clone());
            let fault = self.next_fault();
            let (status, body) = (self.answers)(&asked);
            let stays = match fault {
                Some(fault) => misbehave(&mut stream, fault, &body),
                None => send(stream.get_mut(), status, "application/json", "", body.as_bytes()),
            };
            if !stays {
                return;
            }
        }
    }
}

fn read_question(stream: &mut BufReader<impl Read>) -> Option<Asked> {
    let mut line = String::new();
    let mut next = |stream: &mut BufReader<_>| {
        line.clear();
        stream.read_line(&mut line).ok().filter(|read| *read > 0).map(|_| line.trim_end().to_owned())
    };
    let first = next(stream)?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let line = next(stream)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let mut body = vec![0; headers.get("content-length").map_or(0, |length| length.parse().expect("a length"))];
    stream.read_exact(&mut body).ok()?;
    Some(Asked { method, target, headers, body: String::from_utf8(body).expect("text") })
}

/// Whether the connection may go on.
fn send(stream: &mut impl Write, status: u16, content_type: &str, more: &str, body: &[u8]) -> bool {
    let head = format!("HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n{more}\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).and_then(|()| stream.flush()).is_ok()
}

fn misbehave<S: Read + Write>(stream: &mut BufReader<S>, fault: Fault, body: &str) -> bool {
    let json = "application/json";
    let out = stream.get_mut();
    match fault {
        Fault::Silent => {
            let _ = out.read(&mut [0]);
            false
        }
        Fault::Status(status) => send(out, status, json, "", body.as_bytes()),
        Fault::Redirect => send(out, 307, json, "location: /right\r\n", body.as_bytes()),
        Fault::Garbage => {
            let _ = out.write_all(b"SSH-2.0-canary\r\n");
            false
        }
        Fault::Huge => send(out, 200, json, "", format!("{body}{}", " ".repeat(2 << 20)).as_bytes()),
        Fault::HugeHead => send(out, 200, json, &format!("x: {}\r\n", "x".repeat(1 << 20)), body.as_bytes()),
        Fault::HangUp => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {json}\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = out.write_all(&[head.as_bytes(), &body.as_bytes()[..body.len() / 2]].concat());
            false
        }
        Fault::WrongType => send(out, 200, "text/html", "", body.as_bytes()),
        Fault::NotJson => send(out, 200, json, "", b"<html>canary</html>"),
        Fault::Nested => send(out, 200, json, "", format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)).as_bytes()),
        Fault::Surprise => {
            let mut answer: Value = serde_json::from_str(body).expect("a right answer");
            answer["canary"] = json!(true);
            send(out, 200, json, "", answer.to_string().as_bytes())
        }
    }
}

//! The monitors, silences and receivers behind the server.

use std::sync::{Arc, Mutex, mpsc};

use watchkeeper_core::{
    Event, EventKind, Finding, Severity, Timestamp,
    author::{Numbers, SessionStart},
    embed::EngineConfig,
};
use watchkeeper_http::{
    Backend, ChangeRefusal, MonitorState, NewSilence, OtlpReceiver, OtlpRefusal, Server,
    SilenceRow, SilenceStore, StartError, Token,
};
use watchkeeper_page::{Board, BoardLimits, BudgetDetectors};
use watchkeeper_sources::otlp::{Accepted, Encoding, Signal};

use crate::{LONG, SESSION, TOKEN};

/// A monitor that runs and is not ready.
pub(crate) struct Monitor;

impl MonitorState for Monitor {
    fn is_running(&self) -> bool {
        true
    }

    fn is_ready(&self) -> bool {
        false
    }

    fn numbers(&self) -> Numbers {
        let mut numbers = Numbers::default();
        numbers.engine.events = 7;
        numbers
    }
}

/// A state of a program that waits until the test releases it, as on a disk that does not answer.
pub(crate) struct Stalled {
    entered: mpsc::SyncSender<()>,
    released: Mutex<mpsc::Receiver<()>>,
}

impl Stalled {
    /// Returns the state, a channel with an element for each call, and a channel that releases
    /// one call for each element.
    pub(crate) fn new() -> (Arc<Self>, mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (entered, calls) = mpsc::sync_channel(100);
        let (release, released) = mpsc::channel();
        (Arc::new(Self { entered, released: Mutex::new(released) }), calls, release)
    }

    fn wait(&self) {
        self.entered.send(()).unwrap();
        // An error means that the test has failed.
        let _ = self.released.lock().unwrap().recv_timeout(LONG);
    }
}

impl MonitorState for Stalled {
    fn is_running(&self) -> bool {
        true
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn numbers(&self) -> Numbers {
        self.wait();
        Numbers::default()
    }
}

impl SilenceStore for Stalled {
    fn active(&self) -> Result<Vec<SilenceRow>, ChangeRefusal> {
        self.wait();
        Ok(Vec::new())
    }

    fn add(&self, _: NewSilence) -> Result<SilenceRow, ChangeRefusal> {
        Err(ChangeRefusal::Busy("in use".to_owned()))
    }

    fn expire(&self, _: &str) -> Result<SilenceRow, ChangeRefusal> {
        Err(ChangeRefusal::Unknown)
    }
}

/// Keeps the bodies that it receives. Refuses those that begin with a word for a refusal.
#[derive(Default)]
pub(crate) struct Bodies(Mutex<Vec<(Signal, Encoding, Vec<u8>)>>);

impl Bodies {
    pub(crate) fn take(&self) -> Vec<(Signal, Encoding, Vec<u8>)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl OtlpReceiver for Bodies {
    fn receive(
        &self,
        signal: Signal,
        encoding: Encoding,
        body: &[u8],
    ) -> Result<Accepted, OtlpRefusal> {
        match body {
            b"malformed" => return Err(OtlpRefusal::Malformed("not OTLP".to_owned())),
            b"busy" => return Err(OtlpRefusal::Busy),
            b"panic" => panic!("a receiver that panics"),
            _ => {}
        }
        self.0.lock().unwrap().push((signal, encoding, body.to_vec()));
        Ok(Accepted::new(signal))
    }
}

/// Keeps silences. Refuses those without a reason.
#[derive(Default)]
pub(crate) struct Silences(Mutex<Vec<SilenceRow>>);

impl SilenceStore for Silences {
    fn active(&self) -> Result<Vec<SilenceRow>, ChangeRefusal> {
        Ok(self.0.lock().unwrap().clone())
    }

    fn add(&self, silence: NewSilence) -> Result<SilenceRow, ChangeRefusal> {
        let NewSilence { conditions, until, author, reason } = silence;
        if reason.is_empty() {
            return Err(ChangeRefusal::Invalid("no reason".to_owned()));
        }
        let created = Timestamp::UNIX_EPOCH;
        let id = "a1".to_owned();
        let silence = SilenceRow { id, conditions, created, until, author, reason };
        self.0.lock().unwrap().push(silence.clone());
        Ok(silence)
    }

    fn expire(&self, id: &str) -> Result<SilenceRow, ChangeRefusal> {
        let mut silences = self.0.lock().unwrap();
        let mut ended = silences.extract_if(.., |silence| silence.id == id);
        ended.next().ok_or(ChangeRefusal::Unknown)
    }
}

pub(crate) fn empty_board() -> Board {
    Board::new(BudgetDetectors::default(), EngineConfig::default(), BoardLimits::default())
}

pub(crate) fn start() -> Server {
    start_with(None)
}

pub(crate) fn start_with(otlp: Option<Arc<dyn OtlpReceiver>>) -> Server {
    start_at("127.0.0.1:0", otlp).unwrap()
}

/// Starts a server with a session and a finding about it.
pub(crate) fn start_at(
    address: &str,
    otlp: Option<Arc<dyn OtlpReceiver>>,
) -> Result<Server, StartError> {
    let board = empty_board();
    board.observe(&Event {
        at: Timestamp::UNIX_EPOCH,
        session: SESSION.into(),
        agent: None,
        origin: None,
        kind: EventKind::SessionStart(SessionStart::default()),
    });
    let at = Timestamp::UNIX_EPOCH;
    board.report(&Finding::new(at, "loop", SESSION, Severity::High, "a loop"));
    let backend = Backend {
        board: Arc::new(board),
        monitor: Arc::new(Monitor),
        silences: Some(Arc::new(Silences::default())),
        acknowledgements: None,
        history: None,
        otlp,
    };
    start_backend(address, backend)
}

pub(crate) fn start_backend(address: &str, backend: Backend) -> Result<Server, StartError> {
    Server::start(&address.parse().unwrap(), Token::new(TOKEN).unwrap(), backend)
}

/// Starts a server of a program that waits when it is asked for numbers or silences.
pub(crate) fn start_stalled(stalled: &Arc<Stalled>) -> Server {
    let backend = Backend {
        board: Arc::new(empty_board()),
        monitor: stalled.clone(),
        silences: Some(stalled.clone()),
        acknowledgements: None,
        history: None,
        otlp: Some(Arc::new(Bodies::default())),
    };
    start_backend("127.0.0.1:0", backend).unwrap()
}

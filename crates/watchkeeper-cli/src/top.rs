//! The sessions of a board in a terminal, as in htop: `watch --top`.
//!
//! `app` has the state of the screen, and knows no terminal; `keys` maps keys to actions, `draw` draws
//! the state, and this file owns the terminal and its thread.

mod app;
mod columns;
mod draw;
mod held_lines;
mod keys;
#[cfg(test)]
mod tests;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor::Show,
        event::{self, Event, KeyEventKind},
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};
use watchkeeper_core::clock::{Clock as _, SystemClock};
use watchkeeper_page::Board;

use self::{app::App, draw::draw, held_lines::Hold, keys::action_of};
pub(crate) use self::{app::Messages, held_lines::hold};

/// The time between two looks at the board, and so the longest delay of a change.
const INTERVAL: Duration = Duration::from_millis(250);
/// The number of looks after which the screen is drawn again without a change: ages grow.
const LOOKS_PER_DRAW: u32 = 4;

/// A thread that draws a board until it is finished or dropped, or the user quits. Lines of the log
/// and of panics are written after it: a panic that ends the program leaves a usable terminal.
pub(crate) struct Screen {
    has_ended: Arc<AtomicBool>,
    /// `None` once the thread has ended.
    thread: Option<JoinHandle<io::Result<()>>>,
    /// Dropped after the thread has ended.
    _hold: Option<Hold>,
}

impl Screen {
    /// Takes over the terminal. `on_quit` is called once, when the screen ends in any way.
    pub(crate) fn start(
        board: Arc<Board>,
        messages: Messages,
        has_colors: bool,
        on_quit: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let hold = Hold::start();
        let taken = TakenTerminal::new()?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        let has_ended = Arc::new(AtomicBool::new(false));
        let ends = has_ended.clone();
        let run = move || {
            let _taken = taken;
            run(terminal, &board, App::new(messages, has_colors), &ends)
        };
        let run = || run_and_quit(run, on_quit);
        let thread = thread::Builder::new().name("watchkeeper-top".to_owned()).spawn(run)?;
        Ok(Self { has_ended, thread: Some(thread), _hold: hold })
    }

    /// Returns the terminal to the program.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        self.has_ended.store(true, Ordering::Release);
        let panicked = |_| io::Error::other("the thread of the screen panicked");
        self.thread.take().map_or(Ok(()), |thread| thread.join().map_err(panicked)?)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // After `finish`, nothing is left to do; otherwise the program panics.
        let _ = self.end();
    }
}

/// The terminal in the mode of a screen, until it is dropped.
struct TakenTerminal;

impl TakenTerminal {
    fn new() -> io::Result<Self> {
        enable_raw_mode()?;
        let taken = Self;
        execute!(io::stdout(), EnterAlternateScreen)?;
        Ok(taken)
    }
}

impl Drop for TakenTerminal {
    fn drop(&mut self) {
        // A terminal that is gone has no mode.
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

/// Calls a function, and then `on_quit`, also after a failure or a panic: nobody sees the monitor
/// any more.
fn run_and_quit<T>(run: impl FnOnce() -> T, on_quit: impl FnOnce()) -> T {
    let _quits = CallOnDrop(Some(on_quit));
    run()
}

struct CallOnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for CallOnDrop<F> {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call();
        }
    }
}

/// Draws until the screen is to end or the user quits.
fn run(
    mut terminal: Terminal<CrosstermBackend<io::Stdout>>,
    board: &Board,
    mut app: App,
    has_ended: &AtomicBool,
) -> io::Result<()> {
    let (mut drawn, mut n_looks) = (None, 0);
    while !has_ended.load(Ordering::Acquire) && !app.has_quit() {
        let version = (board.version(), app.messages().version());
        if drawn != Some(version) || LOOKS_PER_DRAW <= n_looks {
            app.refresh(board, SystemClock.now());
            terminal.draw(|frame| draw(frame, &mut app))?;
            (drawn, n_looks) = (Some(version), 0);
        }
        n_looks += 1;
        if !wait_for_input()? {
            // Nobody sees it: the terminal was closed, or its connection lost.
            return Ok(());
        }
        if !event::poll(Duration::ZERO)? {
            continue;
        }
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                if let Some(action) = action_of(key, app.is_typing()) {
                    app.apply(action);
                }
                drawn = None;
            }
            Event::Resize(..) => drawn = None,
            _ => {}
        }
    }
    Ok(())
}

/// Waits for input for at most [`INTERVAL`]. Returns `false` if the terminal is gone, at which
/// `event::poll` would never return.
#[cfg(unix)]
fn wait_for_input() -> io::Result<bool> {
    use std::os::fd::AsFd as _;

    use nix::{
        errno::Errno,
        poll::{PollFd, PollFlags, PollTimeout, poll},
    };

    let input = io::stdin();
    let mut waited = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(INTERVAL).map_err(io::Error::other)?;
    match poll(&mut waited, timeout) {
        // A signal: the size may have changed.
        Ok(_) | Err(Errno::EINTR) => {}
        Err(err) => return Err(err.into()),
    }
    let is_gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    Ok(!waited[0].revents().is_some_and(|events| events.intersects(is_gone)))
}

#[cfg(not(unix))]
fn wait_for_input() -> io::Result<bool> {
    event::poll(INTERVAL).map(|_| true)
}

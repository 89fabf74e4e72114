//! The sessions of a board in a terminal, as in htop: `watch --top`.
//!
//! `app` has the state of the screen, and knows no terminal; `keys` maps keys to actions, `draw` draws
//! the state, and this file owns the terminal and its thread.

mod app;
mod columns;
mod draw;
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

pub(crate) use self::app::Messages;
use self::{app::App, draw::draw, keys::action_of};

/// The time between two looks at the board, and so the longest delay of a change.
const INTERVAL: Duration = Duration::from_millis(250);
/// The number of looks after which the screen is drawn again without a change: ages grow.
const LOOKS_PER_DRAW: u32 = 4;

/// A thread that draws a board until it is finished, or the user quits.
pub(crate) struct Screen {
    has_ended: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<()>>,
}

impl Screen {
    /// Takes over the terminal. `on_quit` is called once if the user quits.
    pub(crate) fn start(
        board: Arc<Board>,
        messages: Messages,
        has_colors: bool,
        on_quit: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let taken = TakenTerminal::new()?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        let has_ended = Arc::new(AtomicBool::new(false));
        let ends = has_ended.clone();
        let run = move || {
            let outcome = run(terminal, &board, App::new(messages, has_colors), &ends);
            drop(taken);
            // Also after a failure: nobody sees the monitor any more.
            on_quit();
            outcome
        };
        let thread = thread::Builder::new().name("watchkeeper-top".to_owned()).spawn(run)?;
        Ok(Self { has_ended, thread })
    }

    /// Returns the terminal to the program.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.has_ended.store(true, Ordering::Release);
        let panicked = |_| io::Error::other("the thread of the screen panicked");
        self.thread.join().map_err(panicked)?
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
        if !event::poll(INTERVAL)? {
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

use std::io::Write as _;

use insta::assert_snapshot;
use proptest::prelude::*;
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};
use watchkeeper_core::{
    Event, Finding, Severity, SignedDuration, Timestamp, author::is_unsafe, embed::EngineConfig,
};
use watchkeeper_page::{Board, BoardLimits};
use watchkeeper_testing::Trace;

use super::{
    app::{App, Messages},
    draw::draw,
    keys::{Action, action_of},
};

fn board() -> Board {
    Board::new(EngineConfig::default(), BoardLimits::default())
}

/// Adds the events of a trace as a session. Returns the time of the last one.
fn add(board: &Board, session: &str, trace: &str) -> Timestamp {
    let trace: Trace = trace.parse().unwrap();
    let mut last = Timestamp::MIN;
    for event in trace.events() {
        let event = Event { session: session.into(), ..event.clone() };
        last = event.at;
        board.observe(&event);
    }
    last
}

/// Returns a board with a session that loops, one that waits for a person, and one that has ended.
fn sample() -> (Board, Timestamp) {
    let board = board();
    add(
        &board,
        "ended-0001",
        "0s session_start cwd=/home/ada/shop model=gpt-5
0s prompt hello
1s usage model=gpt-5 input=1200 output=30
2s turn_end
3s session_end",
    );
    add(
        &board,
        "waits-0002",
        "0s session_start cwd=/home/ada/blog
0s prompt deploy it
4s call Bash {\"command\": \"deploy\"}
5s wait permission",
    );
    let now = add(
        &board,
        "loops-0003",
        "0s session_start cwd=/home/ada/api
0s prompt fix the build
5s call Bash {\"command\": \"make\"}
7s result fail no rule to make target
10s usage model=claude-sonnet-4-5 input=150000 output=1000
11s call Bash {\"command\": \"make\"}
13s result fail no rule to make target
20s usage model=claude-sonnet-4-5 input=150000 output=1000
21s call Bash {\"command\": \"make\"}",
    );
    let mut finding = Finding::new(
        now,
        "repeated_call",
        "loops-0003",
        Severity::High,
        "`Bash` returned the same result for the same call 2 times",
    );
    finding.class = "runaway".into();
    board.report(&finding);
    (board, now + SignedDuration::from_secs(42))
}

fn app(board: &Board, now: Timestamp) -> App {
    let mut app = App::new(Messages::default(), false);
    app.refresh(board, now);
    app
}

/// Returns the text of a screen.
fn screen(app: &mut App, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, app)).unwrap();
    terminal.backend().to_string().replace('"', "")
}

#[test]
fn the_screen_fits_80_columns_and_starts_with_whom_needs_a_person() {
    let (board, now) = sample();
    let mut app = app(&board, now);
    app.apply(Action::Move(1));
    assert_snapshot!(screen(&mut app, 80, 24), @"
    watchkeeper  3 sessions  1 waiting for you  1 looping               00:01:03 UTC
    $0.93  303k tokens  1 open of 1 finding                                         
    vSTATE         SINCE SESSION                CALLS TOKENS     COST  CTX FINDINGS 
    permission?      58s blog waits-00              1      0    $0.00               
    looping          42s api loops-00               3   302k    $0.93  75% 1H*      
    ended         1m 00s shop ended-00              0  1.23k    $0.00   0%          
                                                                                    
                                                                                    
                                                                                    
                                                                                    
                                                                                    
                                                                                    
                                                                                    
                                                                                    
     api loops-00 ──────────────────────────────────────────────────────────────────
    looping for 42s, since 00:00:21 UTC; proof: tool_call                           
    unknown source, claude-sonnet-4-5, 9 events, loops-0003                         
    open  high   repeated_call: `Bash` returned the same result for the same call 2 
                                                                                    
                                                                                    
                                                                                    
                                                                                    
                                                                                    
    F1 help  F4 filter  F6 sort  e ended  F10 quit
    ");
}

#[test]
fn a_low_terminal_has_the_table_only() {
    let (board, now) = sample();
    assert_snapshot!(screen(&mut app(&board, now), 60, 8), @"
    watchkeeper  3 sessions  1 waiting for you  1 looping       
    $0.93  303k tokens  1 open of 1 finding                     
    vSTATE         SINCE SESSION                  COST FINDINGS 
    permission?      58s blog waits-00           $0.00          
    looping          42s api loops-00            $0.93 1H*      
    ended         1m 00s shop ended-00           $0.00          
                                                                
    F1 help  F4 filter  F6 sort  e ended  F10 quit
    ");
}

#[test]
fn an_empty_board_says_what_it_waits_for() {
    let text = screen(&mut app(&board(), Timestamp::UNIX_EPOCH), 80, 8);
    assert!(text.contains("No session yet."), "{text}");
}

#[test]
fn a_filter_selects_by_folder_and_is_removed_by_escape() {
    let (board, now) = sample();
    let mut app = app(&board, now);
    app.apply(Action::StartFilter);
    "BLOG".chars().for_each(|c| app.apply(Action::Type(c)));
    let ids = |app: &App| app.rows.iter().map(|row| row.session.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&app), ["waits-0002"]);
    app.apply(Action::KeepFilter);
    assert!(!app.is_typing());
    app.apply(Action::Cancel);
    assert_eq!(ids(&app), ["waits-0002", "loops-0003", "ended-0001"]);
    app.apply(Action::ToggleEnded);
    assert_eq!(ids(&app), ["waits-0002", "loops-0003"]);
}

#[test]
fn rows_sort_by_each_column_and_the_selected_session_stays_selected() {
    let (board, now) = sample();
    let mut app = app(&board, now);
    app.apply(Action::Move(1));
    let selected = |app: &App| app.selected().unwrap().session.clone();
    assert_eq!(selected(&app), "loops-0003");
    for _ in 0..9 {
        app.apply(Action::SortByNext);
        assert_eq!(selected(&app), "loops-0003");
        app.apply(Action::Reverse);
        assert_eq!(selected(&app), "loops-0003");
    }
    app.apply(Action::SortByPrevious);
    app.apply(Action::First);
    let first = selected(&app);
    app.apply(Action::Last);
    assert_ne!(selected(&app), first);
}

#[test]
fn every_key_of_the_help_has_an_effect() {
    let key = |code| action_of(KeyEvent::new(code, KeyModifiers::NONE), false);
    let effect = |code| key(code).unwrap_or_else(|| panic!("{code:?}"));
    for c in ['j', 'k', 'g', 'G', '>', '<', 'I', '/', 'e', 'h', 'q'] {
        effect(KeyCode::Char(c));
    }
    for code in [KeyCode::Up, KeyCode::Down, KeyCode::PageUp, KeyCode::PageDown, KeyCode::Esc] {
        effect(code);
    }
    for n in [1, 4, 6, 10] {
        effect(KeyCode::F(n));
    }
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(action_of(control_c, false), Some(Action::Quit));
    assert_eq!(action_of(control_c, true), Some(Action::Quit));
    // A filter may contain the letters of the other keys.
    let q = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
    assert_eq!(action_of(q, true), Some(Action::Type('q')));
}

#[test]
fn messages_are_kept_within_limits_and_shown() {
    let messages = Messages::default();
    for n in 0..200 {
        writeln!(messages.clone(), "policy: change {n} {}", "x".repeat(10_000)).unwrap();
    }
    write!(messages.clone(), "no end of line").unwrap();
    let (board, now) = sample();
    let mut app = App::new(messages.clone(), false);
    app.refresh(&board, now);
    assert!(screen(&mut app, 80, 24).contains("policy: change 199 xxx"));
    let lines = messages.take();
    assert_eq!(lines.len(), 100);
    assert!(lines.iter().all(|line| line.len() <= 4096));
}

proptest! {
    #[test]
    fn hostile_names_never_reach_the_terminal(
        name in "\\PC{0,20}|.{0,20}",
        size in (1_u16..120, 1_u16..40),
    ) {
        let board = board();
        let hostile = format!("{name}\u{1b}[31m\u{202e}\u{9b}\n");
        let mut event = Event::new(Timestamp::UNIX_EPOCH, &*hostile, watchkeeper_core::EventKind::AgentStart);
        event.agent = Some(hostile.as_str().into());
        board.observe(&event);
        let mut app = app(&board, Timestamp::UNIX_EPOCH);
        let text = screen(&mut app, size.0, size.1);
        prop_assert!(text.chars().filter(|c| *c != '\n').all(|c| !is_unsafe(c)), "{text:?}");
    }
}

use std::{
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
};

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
use watchkeeper_page::{Board, BoardLimits, BudgetDetectors};
use watchkeeper_testing::Trace;

use super::{
    app::{App, Messages},
    columns::Column,
    draw::draw,
    keys::{Action, KEYS, action_of},
    run_and_quit,
};

fn board() -> Board {
    Board::new(BudgetDetectors::default(), EngineConfig::default(), BoardLimits::default())
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
fn a_filter_finds_names_with_capital_letters() {
    let board = board();
    let now = add(&board, "A1-session", "0s session_start cwd=/home/ada/Shop\n0s prompt hello");
    let mut app = app(&board, now);
    for (filter, n_rows) in [("shop a1", 1), ("SHOP A1", 1), ("shop b1", 0)] {
        app.apply(Action::StartFilter);
        filter.chars().for_each(|c| app.apply(Action::Type(c)));
        assert_eq!(app.rows.len(), n_rows, "{filter}");
        app.apply(Action::Cancel);
    }
}

#[test]
fn rows_sort_by_each_column_and_the_selected_session_stays_selected() {
    let (board, now) = sample();
    let mut app = app(&board, now);
    app.apply(Action::Move(1));
    // The first letters of the sessions. Equal ones are in the order of their latest events.
    let order = |app: &App| app.rows.iter().map(|row| &row.session[..1]).collect::<String>();
    for (column, expected, reversed) in [
        (Column::State, "wle", "elw"),
        (Column::Age, "ewl", "lwe"),
        (Column::Session, "lwe", "ewl"),
        (Column::Calls, "lwe", "ewl"),
        (Column::Failed, "lwe", "wel"),
        (Column::Tokens, "lew", "wel"),
        (Column::Cost, "lew", "wel"),
        (Column::Context, "lew", "wel"),
        (Column::Findings, "lwe", "wel"),
    ] {
        assert_eq!((app.sort, &*order(&app)), (column, expected));
        app.apply(Action::Reverse);
        assert_eq!((app.sort, &*order(&app)), (column, reversed));
        app.apply(Action::Reverse);
        assert_eq!(app.selected().unwrap().session, "loops-0003");
        app.apply(Action::SortByNext);
    }
    assert_eq!(app.sort, Column::State);
    app.apply(Action::SortByPrevious);
    assert_eq!(app.sort, Column::Findings);
    app.apply(Action::Last);
    assert_eq!(app.selected().unwrap().session, "ended-0001");
    app.apply(Action::First);
    assert_eq!(app.selected().unwrap().session, "loops-0003");
}

#[test]
fn every_key_of_the_help_has_its_effect() {
    for (key, action) in KEYS.iter().flat_map(|line| line.keys) {
        assert_eq!(action_of(*key, false), Some(*action), "{key:?}");
    }
    let capital = KeyEvent::new(KeyCode::Char('G'), KeyModifiers::SHIFT);
    assert_eq!(action_of(capital, false), Some(Action::Last));
    let (board, now) = sample();
    let mut app = app(&board, now);
    app.apply(Action::ToggleHelp);
    assert_snapshot!(screen(&mut app, 70, 18), @r"
    wa┌ help ──────────────────────────────────────────────────────────┐TC
    $0│Up Down k j PgUp PgDn select a session                          │  
    vS│Home g End G          select the first or the last session      │S 
    pe│F6 > . < ,            sort by the next or the previous column   │  
    lo│I                     reverse the order                         │  
    en│F3 F4 / \             type a filter: id, folder, model or source│  
      │Esc                   remove the filter                         │  
      │e                     show or hide sessions that have ended     │  
      │F1 h ?                this help                                 │  
      │F10 q Ctrl-C          quit; the monitor stops                   │  
      │                                                                │  
      │STATE     permission?, waits: you: a person is needed           │  
      │          looping: a finding about a loop is open               │  
      │SINCE     the time since the state began                        │  
      │CTX       the fill of the context window                        │  
      │FINDINGS  H high, M medium, L low; * one of them is open        │  
      └────────────────────────────────────────────────────────────────┘  
    F1 help  F4 filter  F6 sort  e ended  F10 quit
    ");
}

#[test]
fn a_filter_may_contain_the_letters_of_keys() {
    for (key, action) in KEYS.iter().flat_map(|line| line.keys) {
        let expected = match (key.code, action) {
            (KeyCode::Char(c), _) if key.modifiers.is_empty() => Some(Action::Type(c)),
            (_, Action::Quit | Action::Cancel | Action::Move(_)) => Some(*action),
            _ => None,
        };
        assert_eq!(action_of(*key, true), expected, "{key:?}");
    }
}

#[test]
fn a_panic_of_the_screen_ends_the_monitor() {
    let mut has_quit = false;
    let panics = || panic!("a screen that panics");
    let run = AssertUnwindSafe(|| run_and_quit(panics, || has_quit = true));
    assert!(catch_unwind(run).is_err());
    assert!(has_quit);
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
        let mut event = Event::new(Timestamp::UNIX_EPOCH, &*hostile, watchkeeper_core::EventKind::AgentStart { parent: None });
        event.agent = Some(hostile.as_str().into());
        board.observe(&event);
        let mut app = app(&board, Timestamp::UNIX_EPOCH);
        let text = screen(&mut app, size.0, size.1);
        prop_assert!(text.chars().filter(|c| *c != '\n').all(|c| !is_unsafe(c)), "{text:?}");
    }
}

use std::sync::Arc;

use watchkeeper_core::{
    Context, Detector, DetectorKind, Event, EventKind, Fingerprint, InvalidOption, Level, Report,
    Severity, SignedDuration, Subscription, Timestamp, Unit,
    embed::{EngineConfig, Per},
};
use watchkeeper_testing::{Trace, detector};

use super::BudgetDetectors;
use crate::{Board, BoardLimits, BudgetRow};

/// Counts tokens as percent of 100. The budget ends an hour after its first model call.
#[derive(Clone, Debug, Default)]
struct Tokens(u64);

impl DetectorKind for Tokens {
    const KIND: &'static str = "tokens";
    const DOCS: &'static str = "# tokens";
    const CLASS: &'static str = "budget";
    const UNIT: Unit = Unit::Percent;
    const LEVELS: &'static [Level] =
        &[Level::new(50, Severity::Medium), Level::new(100, Severity::High)];
    type Options = serde_json::Map<String, serde_json::Value>;

    fn new(_: Self::Options) -> Result<Self, InvalidOption> {
        Ok(Self::default())
    }
}

impl Detector for Tokens {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        let EventKind::ModelCall(call) = &event.kind else { return };
        if self.0 == 0 {
            cx.wake_after(SignedDuration::from_hours(1));
        }
        if call.model.as_deref() == Some("unknown") {
            let report = || Report::new("the price is unknown").unmeasured();
            return cx.report(Fingerprint::of("price"), 50, report);
        }
        self.0 += call.tokens.input;
        cx.report(Fingerprint::NONE, self.0, || Report::new(format!("{} used", self.0)));
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        self.0 = 0;
        cx.resolve(Fingerprint::NONE, || Report::new("starts again"));
    }

    fn subscription(&self) -> Subscription {
        Subscription::to(watchkeeper_core::EventSet::of(&["model_call"])).per_session()
    }

    fn is_idle(&self) -> bool {
        self.0 == 0
    }
}

/// Returns a board with a budget of each session, and one of each team.
fn board() -> Arc<Board> {
    let of_session = detector::<Tokens>("");
    let mut of_team = of_session.clone();
    (of_team.id, of_team.per) = ("team".into(), Some(Per::Label("team".to_owned())));
    let mut other = of_session.clone();
    (other.id, other.class) = ("other".into(), "runaway".into());
    let detectors = BudgetDetectors::new(&[of_session, of_team, other], |_| Some(Unit::Percent));
    Arc::new(Board::new(detectors, EngineConfig::default(), BoardLimits::default()))
}

fn observe(board: &Board, session: &str, trace: &str) {
    for event in trace.parse::<Trace>().unwrap().events() {
        board.observe(&Event { session: session.into(), ..event.clone() });
    }
}

fn at(mins: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_mins(mins)
}

const STEADY: &str = "
    0m  session_start label.team=ops
    0m  usage input=10
    5m  usage input=10
    10m usage input=10";

fn line(row: &BudgetRow) -> String {
    let owner = row.session.as_deref().or(row.group.as_deref()).unwrap_or("nobody");
    let ended = if row.has_ended { ", ended" } else { "" };
    format!("{} of {owner}: {}%, {}{ended}", row.detector, row.measure, row.message)
}

fn lines(rows: &[BudgetRow]) -> Vec<String> {
    rows.iter().map(line).collect()
}

#[test]
fn a_budget_has_a_rate_and_a_time_for_each_level_ahead() {
    let board = board();
    observe(&board, "a", STEADY);
    let [session, team] = &board.budgets()[..] else { panic!("two budgets") };
    assert_eq!(line(session), "tokens of a: 30%, 30 used");
    assert_eq!(line(team), "team of ops: 30%, 30 used");
    assert_eq!((team.per.as_deref(), team.session.as_deref()), (Some("label:team"), None));
    assert_eq!(session.per_hour, Some(120.0));
    let reached: Vec<_> = session.levels.iter().map(|level| level.reached_at).collect();
    assert_eq!(reached, [Some(at(20)), Some(at(45))]);
    observe(&board, "a", "11m usage input=40");
    assert_eq!(board.budgets()[0].levels[0].reached_at, None, "the level is reached");
}

#[test]
fn a_report_about_something_else_is_no_budget() {
    let board = board();
    observe(&board, "a", "0m usage model=unknown input=5");
    assert_eq!(lines(&board.budgets()), [""; 0]);
}

#[test]
fn sessions_share_the_budget_of_a_group() {
    let board = board();
    observe(&board, "a", STEADY);
    let version = board.version();
    observe(&board, "b", "10m session_start label.team=ops\n11m usage input=5");
    let changes = board.changes_since(version);
    assert_eq!(lines(&changes.budgets), ["tokens of b: 5%, 5 used", "team of ops: 35%, 35 used"]);
}

#[test]
fn a_budget_ends_with_its_time_and_with_its_session() {
    let board = board();
    observe(&board, "a", STEADY);
    observe(&board, "b", "30m usage input=5\n31m session_end");
    let ended = ["tokens of b: 5%, 5 used, ended"];
    assert_eq!(lines(&board.budgets()[2..]), ended);
    assert_eq!(board.next_wakeup().map(|wakeup| wakeup <= at(60)), Some(true));
    let version = board.version();
    board.advance(at(59));
    assert!(board.changes_since(version).budgets.is_empty());
    board.advance(at(61));
    assert_eq!(
        lines(&board.changes_since(version).budgets),
        ["tokens of a: 30%, starts again, ended", "team of ops: 30%, starts again, ended"]
    );
    observe(&board, "a", "62m usage input=1");
    let [session, _] = &board.changes_since(version).budgets[..] else { panic!("two budgets") };
    assert_eq!((session.measure, session.has_ended, session.per_hour), (1, false, None));
}

#[test]
fn a_changed_policy_measures_its_own_budgets() {
    let board = board();
    observe(&board, "a", STEADY);
    let version = board.version();
    let mut detector = detector::<Tokens>("");
    detector.id = "renamed".into();
    let detectors = BudgetDetectors::new(&[detector], |_| None);
    board.reconfigure(detectors, EngineConfig::default(), at(11));
    let changes = board.changes_since(version);
    assert!(changes.is_complete && changes.budgets.is_empty());
    observe(&board, "a", "12m usage input=1");
    assert_eq!(lines(&board.budgets()), ["renamed of a: 1%, 1 used"]);
}

#[test]
fn a_dropped_session_has_no_budgets() {
    let detectors = BudgetDetectors::new(&[detector::<Tokens>("")], |_| Some(Unit::Percent));
    let limits = BoardLimits { sessions: 1, ..BoardLimits::default() };
    let board = Board::new(detectors, EngineConfig::default(), limits);
    observe(&board, "a", "0m usage input=1");
    observe(&board, "b", "1m usage input=2");
    assert_eq!(lines(&board.budgets()), ["tokens of b: 2%, 2 used"]);
}

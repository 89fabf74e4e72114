//! Labels of recorded sessions: the stretches in which a person found an agent stuck.

mod step_counter;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use watchkeeper_core::{Severity, quote};

pub use self::step_counter::StepCounter;

/// The columns that a file of labels must have. Others are ignored, except `why`.
const COLUMNS: [&str; 6] = ["file", "verdict", "kind", "from_step", "to_step", "tell_step"];

/// The number of steps after the end of a stretch in which a report still counts for the
/// stretch: see [`Stretch::includes`].
pub const GRACE: u64 = 5;

/// The verdict of a session without trouble.
const QUIET: &str = "quiet";

/// Labels of recorded sessions, as a table with one row for each stretch of a session.
///
/// In text form, the columns are separated by tabs, and the first line names them:
///
/// ```text
/// file        verdict  kind           from_step  to_step  tell_step  why
/// a/1.jsonl   quiet                                                  each red build has a new cause
/// a/2.jsonl   medium   repeated_call  12         40       15         the same search 28 times
/// a/2.jsonl   low      same_error     61         66       63         the edit does not apply
/// ```
///
/// The verdict is `quiet`, or the severity of the finding that is due. A [`StepCounter`]
/// counts the steps of the file, from 1: the stretch begins at `from_step`, ends at
/// `to_step`, and its owner should be notified at `tell_step`. A quiet session has one row
/// without kind and steps. The column `why` and the order of the columns are free.
/// Quotation marks around a value are removed, and doubled ones in it become single:
/// spreadsheets add them. Empty lines and lines that start with `#` are skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    sessions: Vec<LabelledSession>,
}

/// The labels of one session file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledSession {
    file: PathBuf,
    line: usize,
    stretches: Vec<Stretch>,
    why: String,
}

/// A stretch of a session in which the agent was stuck.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The number of its row in the table, counted from 1.
    pub line: usize,
    /// The severity of the finding that is due.
    pub severity: Severity,
    /// The kind of trouble, such as `repeated_call`.
    pub kind: String,
    /// The first tool call of the stretch, counted from 1.
    pub from_step: u64,
    /// The last tool call of the stretch.
    pub to_step: u64,
    /// The tool call after which the owner should be notified.
    pub tell_step: u64,
    /// The reason, in the words of the person.
    pub why: String,
}

/// The error of a text that is not a table of labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelsError {
    line: usize,
    problem: Problem,
}

/// The problem of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    NoHeader,
    MissingColumn(&'static str),
    MissingValue(&'static str),
    UnknownVerdict(String),
    NotAStep { column: &'static str, value: String },
    Order { from: u64, tell: u64, to: u64 },
    QuietAndNot { file: String },
}

impl Labels {
    /// Returns the labelled sessions, in the order of their first rows.
    pub fn sessions(&self) -> &[LabelledSession] {
        &self.sessions
    }
}

impl LabelledSession {
    /// Returns the path of the session file, as the table contains it.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Returns the number of the first row of the session in the table, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Returns the stretches, in the order of the table; none for a quiet session.
    pub fn stretches(&self) -> &[Stretch] {
        &self.stretches
    }

    /// Returns the highest severity of its stretches; `None` for a quiet session.
    pub fn severity(&self) -> Option<Severity> {
        self.stretches.iter().map(|stretch| stretch.severity).max()
    }

    /// Returns whether a finding of `medium` or above is due, so that a person is notified.
    pub fn is_due(&self) -> bool {
        self.due().next().is_some()
    }

    /// Returns the stretches in which a finding of `medium` or above is due.
    pub fn due(&self) -> impl Iterator<Item = &Stretch> {
        self.stretches.iter().filter(|stretch| Severity::Medium <= stretch.severity)
    }

    /// Returns the reason of its most severe stretch, or of the quiet verdict.
    pub fn why(&self) -> &str {
        // Of several stretches of one severity, `max_by_key` returns the last.
        let worst = self.stretches.iter().rev().max_by_key(|stretch| stretch.severity);
        worst.map_or(&self.why, |stretch| &stretch.why)
    }
}

impl Stretch {
    /// Returns whether a report at a step counts for the stretch: the step is in the stretch,
    /// or at most [`GRACE`] steps after its end.
    pub fn includes(&self, step: u64) -> bool {
        self.from_step <= step && step <= self.to_step.saturating_add(GRACE)
    }
}

impl FromStr for Labels {
    type Err = LabelsError;

    fn from_str(text: &str) -> Result<Self, LabelsError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let is_row = |(_, row): &(usize, &str)| !row.trim().is_empty() && !row.starts_with('#');
        let mut rows = (1..).zip(text.lines()).filter(is_row);
        let (line, header) =
            rows.next().ok_or(LabelsError { line: 1, problem: Problem::NoHeader })?;
        let columns = Columns::new(header).map_err(|problem| LabelsError { line, problem })?;

        let mut labels = Self::default();
        let mut positions: BTreeMap<String, usize> = BTreeMap::new();
        for (line, row) in rows {
            let at_line = |problem| LabelsError { line, problem };
            let row = columns.row(line, row).map_err(at_line)?;
            match positions.get(&row.file) {
                None => {
                    positions.insert(row.file.clone(), labels.sessions.len());
                    labels.sessions.push(LabelledSession {
                        file: row.file.into(),
                        line,
                        stretches: row.stretch.into_iter().collect(),
                        why: row.why,
                    });
                }
                Some(position) => {
                    let stretches = &mut labels.sessions[*position].stretches;
                    let is_quiet = (stretches.is_empty(), row.stretch.is_none());
                    if is_quiet.0 != is_quiet.1 {
                        let file = quote(&row.file);
                        return Err(at_line(Problem::QuietAndNot { file }));
                    }
                    stretches.extend(row.stretch);
                }
            }
        }
        Ok(labels)
    }
}

/// The positions of the columns.
struct Columns {
    required: [usize; COLUMNS.len()],
    why: Option<usize>,
}

/// The values of one row.
struct Row {
    file: String,
    /// `None` for a quiet session.
    stretch: Option<Stretch>,
    why: String,
}

impl Columns {
    fn new(header: &str) -> Result<Self, Problem> {
        let names: Vec<&str> = header.split('\t').map(str::trim).collect();
        let position = |name| names.iter().position(|it| *it == name);
        let mut required = [0; COLUMNS.len()];
        for (idx, name) in required.iter_mut().zip(COLUMNS) {
            *idx = position(name).ok_or(Problem::MissingColumn(name))?;
        }
        Ok(Self { required, why: position("why") })
    }

    fn row(&self, line: usize, row: &str) -> Result<Row, Problem> {
        let values: Vec<Cow<'_, str>> = row.split('\t').map(unquoted).collect();
        let value = |idx: usize| values.get(idx).map(Cow::as_ref).unwrap_or_default();
        let [file, verdict, kind, from, to, tell] = self.required.map(value);
        let (file, why) = (file.to_owned(), self.why.map(value).unwrap_or_default().to_owned());
        if file.is_empty() {
            return Err(Problem::MissingValue("file"));
        }
        if verdict == QUIET {
            return Ok(Row { file, stretch: None, why });
        }
        let severity = Severity::ALL.into_iter().find(|severity| severity.name() == verdict);
        let severity = severity.ok_or_else(|| Problem::UnknownVerdict(quote(verdict)))?;
        if kind.is_empty() {
            return Err(Problem::MissingValue("kind"));
        }
        let [from_step, to_step, tell_step] =
            [step("from_step", from)?, step("to_step", to)?, step("tell_step", tell)?];
        if tell_step < from_step || to_step < tell_step {
            return Err(Problem::Order { from: from_step, tell: tell_step, to: to_step });
        }
        let (kind, reason) = (kind.to_owned(), why.clone());
        let stretch = Stretch { line, severity, kind, from_step, to_step, tell_step, why: reason };
        Ok(Row { file, stretch: Some(stretch), why })
    }
}

/// Returns a value without the quotation marks that spreadsheets add.
fn unquoted(value: &str) -> Cow<'_, str> {
    let value = value.trim();
    match value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\"").into(),
        None => value.into(),
    }
}

/// Parses the number of a step.
fn step(column: &'static str, value: &str) -> Result<u64, Problem> {
    if value.is_empty() {
        return Err(Problem::MissingValue(column));
    }
    let step = value.parse().ok().filter(|step| 0 < *step);
    step.ok_or_else(|| Problem::NotAStep { column, value: quote(value) })
}

impl LabelsError {
    /// Returns the number of the invalid line, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }
}

impl fmt::Display for LabelsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeader => {
                write!(f, "no header; name the columns, separated by tabs: {}", COLUMNS.join(", "))
            }
            Self::MissingColumn(name) => write!(
                f,
                "no column `{name}`; the first line names the columns, separated by tabs: {}",
                COLUMNS.join(", ")
            ),
            Self::MissingValue(column) => write!(f, "no value in the column `{column}`"),
            Self::UnknownVerdict(verdict) => {
                write!(f, "unknown verdict {verdict}; write `quiet`, `low`, `medium` or `high`")
            }
            Self::NotAStep { column, value } => {
                write!(f, "`{column}` is {value}; write the number of a tool call, counted from 1")
            }
            Self::Order { from, tell, to } => write!(
                f,
                "the steps are out of order: `from_step` is {from}, `tell_step` {tell} and \
                 `to_step` {to}"
            ),
            Self::QuietAndNot { file } => {
                write!(f, "{file} is `quiet` in one row and has a stretch in another")
            }
        }
    }
}

impl std::error::Error for LabelsError {}

#[cfg(test)]
mod tests {
    use watchkeeper_core::Severity;

    use super::{LabelledSession, Labels, Stretch};

    const HEADER: &str = "file\tverdict\tkind\tfrom_step\tto_step\ttell_step\twhy\n";

    fn parse(rows: &str) -> Labels {
        format!("{HEADER}{rows}").parse().expect("the labels should be valid")
    }

    #[test]
    fn joins_the_rows_of_a_session() {
        let labels = parse(
            "# invented\n\
             b.jsonl\tlow\tstall\t3\t3\t3\tslow\n\
             a.jsonl\tquiet\t\t\t\t\tfine\n\
             \n\
             b.jsonl\thigh\tcycle\t5\t9\t7\tround and round\n",
        );
        let [b, a] = labels.sessions() else { panic!("{labels:?}") };
        assert_eq!((b.file().to_str(), b.line(), b.why()), (Some("b.jsonl"), 3, "round and round"));
        assert_eq!(b.severity(), Some(Severity::High));
        let cycle = Stretch {
            line: 6,
            severity: Severity::High,
            kind: "cycle".to_owned(),
            from_step: 5,
            to_step: 9,
            tell_step: 7,
            why: "round and round".to_owned(),
        };
        assert_eq!(b.stretches()[1], cycle);
        assert_eq!((a.severity(), a.stretches().len(), a.why()), (None, 0, "fine"));
    }

    #[test]
    fn a_report_counts_until_some_steps_after_the_end() {
        let labels = parse(
            "a.jsonl\tlow\tstall\t3\t3\t3\tslow\n\
             a.jsonl\tmedium\tcycle\t5\t9\t7\tround and round\n\
             b.jsonl\tlow\tstall\t3\t3\t3\tslow\n\
             c.jsonl\tquiet\n",
        );
        assert_eq!(
            labels.sessions().iter().map(LabelledSession::is_due).collect::<Vec<_>>(),
            [true, false, false]
        );
        let due: Vec<_> = labels.sessions()[0].due().collect();
        assert_eq!(due.iter().map(|stretch| stretch.from_step).collect::<Vec<_>>(), [5]);
        assert_eq!(
            [4, 5, 9, 14, 15].map(|step| due[0].includes(step)),
            [false, true, true, true, false]
        );
    }

    #[test]
    fn accepts_columns_in_any_order_without_reasons_and_with_carriage_returns() {
        let text = "\u{feff}verdict\tauthor\tfile\tto_step\ttell_step\tfrom_step\tkind\r\n\
                    medium\tme\ta.jsonl\t9\t7\t5\tcycle\r\nquiet\tme\tb.jsonl\r\n";
        let labels: Labels = text.parse().expect("the labels should be valid");
        let [a, b] = labels.sessions() else { panic!("{labels:?}") };
        let cycle = &a.stretches()[0];
        assert_eq!([cycle.from_step, cycle.tell_step, cycle.to_step], [5, 7, 9]);
        assert_eq!((b.severity(), b.why()), (None, ""));
    }

    #[test]
    fn removes_the_quotation_marks_of_spreadsheets() {
        for (why, expected) in [
            (r#""says ""done"" twice""#, r#"says "done" twice"#),
            (r#"says "done" twice"#, r#"says "done" twice"#),
            ("\"", "\""),
            ("\"\"", ""),
        ] {
            let labels = parse(&format!("\"a.jsonl\"\tquiet\t\t\t\t\t{why}\n"));
            let session = &labels.sessions()[0];
            assert_eq!((session.file().to_str(), session.why()), (Some("a.jsonl"), expected));
        }
    }

    #[test]
    fn errors_name_the_line_and_the_problem() {
        let required = "file, verdict, kind, from_step, to_step, tell_step";
        for (text, expected) in [
            ("", format!("line 1: no header; name the columns, separated by tabs: {required}")),
            (
                "# labels\nfile\tverdict\tfrom_step\tto_step\ttell_step\n",
                format!(
                    "line 2: no column `kind`; the first line names the columns, separated by \
                     tabs: {required}"
                ),
            ),
        ] {
            let err = text.parse::<Labels>().expect_err("the labels should be invalid");
            assert_eq!(err.to_string(), expected);
        }
        for (row, expected) in [
            ("\tquiet\t\t\t\t\t", "no value in the column `file`"),
            (
                "a\tfine\t\t\t\t\t",
                "unknown verdict `fine`; write `quiet`, `low`, `medium` or `high`",
            ),
            ("a\tlow\t\t1\t2\t1\t", "no value in the column `kind`"),
            ("a\tlow\tcycle\t1\t\t1\t", "no value in the column `to_step`"),
            (
                "a\tlow\tcycle\t0\t2\t1\t",
                "`from_step` is `0`; write the number of a tool call, counted from 1",
            ),
            (
                "a\tlow\tcycle\t1\t2\tsoon\t",
                "`tell_step` is `soon`; write the number of a tool call, counted from 1",
            ),
            (
                "a\tlow\tcycle\t4\t9\t3\t",
                "the steps are out of order: `from_step` is 4, `tell_step` 3 and `to_step` 9",
            ),
        ] {
            let err = format!("{HEADER}b\tquiet\t\t\t\t\t\n{row}\n")
                .parse::<Labels>()
                .expect_err("the labels should be invalid");
            assert_eq!((err.line(), err.to_string()), (3, format!("line 3: {expected}")));
        }
        for rows in ["a\tquiet\na\tlow\tcycle\t1\t2\t1", "a\tlow\tcycle\t1\t2\t1\na\tquiet"] {
            let err = format!("{HEADER}{rows}").parse::<Labels>().expect_err("a contradiction");
            let expected = "line 3: `a` is `quiet` in one row and has a stretch in another";
            assert_eq!(err.to_string(), expected);
        }
    }
}

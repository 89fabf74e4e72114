//! The causes of recent failures, such as a missing program, whatever the calls were.

#[cfg(test)]
mod tests;

use std::{num::NonZeroU32, sync::Arc};

use watchkeeper_core::{
    Context, ErrorCause, ErrorClass, Fingerprint, Purpose, Report, Timestamp, ToolClass,
    ToolResult,
    author::{Call, Place, runs_program},
    quote,
};

use crate::{
    commands::contains_word,
    failure::{Failure, Weight},
    pace::{OutputChange, spaced_weight, survived_weight},
};

/// The largest number of causes that one agent has at a time.
const MAX_CAUSES: usize = 4;
/// The most results after a failure until the next one. With another result, the cause is
/// dropped: the agent has moved on.
const MOVED_ON: u32 = 20;
/// The fewest other results after which a failure has a quarter of its weight.
const MANY_OTHERS: u32 = 5;

/// The causes of the recent failures of one agent, in the order of their first failure.
#[derive(Clone, Debug, Default)]
pub(crate) struct Causes {
    rows: Vec<CauseRow>,
}

/// The failures with one cause.
#[derive(Clone, Debug)]
struct CauseRow {
    /// The subject of the finding.
    key: Fingerprint,
    class: ErrorClass,
    subject: Fingerprint,
    name: Option<Box<str>>,
    n_failures: u64,
    /// The sum of the weights of the failures.
    weight: u64,
    /// The number of results since the first failure, which is one of them.
    n_steps: u64,
    /// The number of results since the latest failure.
    n_others: u32,
    /// True if a change succeeded after the latest failure.
    is_edited: bool,
    /// The number of failures after a change.
    n_survived: u32,
    output: Option<NonZeroU32>,
    call: Fingerprint,
    tool: Arc<str>,
    response: Option<Fingerprint>,
    since: Timestamp,
    first: Option<Place>,
}

impl Causes {
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Counts a result of any kind. Drops the causes from which the agent has moved on.
    pub(crate) fn count_step(&mut self, cx: &mut Context<'_>) {
        for row in &mut self.rows {
            row.n_steps += 1;
            row.n_others = row.n_others.saturating_add(1);
        }
        self.end(cx, "the agent does other work", |row| MOVED_ON < row.n_others);
    }

    /// Adds a result that reports a cause.
    pub(crate) fn add(
        &mut self,
        result: &ToolResult,
        cause: ErrorCause<'_>,
        failure: &Failure<'_>,
        cx: &mut Context<'_>,
    ) {
        let call = cx.call();
        let response = call.and_then(|call| call.response);
        let row = self.row(cause, cx);
        // Parallel calls are one attempt.
        if response.is_some() && row.response == response {
            row.n_others = 0;
            return;
        }
        let key = call.map_or(Fingerprint::NONE, |call| call.fingerprint);
        let output = result.fingerprint.map(Fingerprint::brief);
        row.n_failures += 1;
        let is_poll =
            call.is_some_and(|call| matches!(call.purpose, Purpose::Poll | Purpose::Wait));
        let is_same_call = row.call == key && 1 < row.n_failures;
        // Such a call takes its time again and again, which gives no service time to recover.
        let times_out_again = row.class == ErrorClass::Timeout && is_same_call && !is_poll;
        let waits = is_poll || failure.weight == Weight::Third && !times_out_again;
        let spaced = spaced_weight(row.n_failures, row.since, failure, cx).filter(|_| waits);
        row.weight += spaced.unwrap_or_else(|| {
            let full =
                if times_out_again { Weight::UNIT } else { failure.weight.of_call(is_same_call) };
            row.eased(full, output)
        });
        row.call = key;
        row.output = output;
        row.response = response;
        row.is_edited = false;
        row.n_others = 0;
        if let Some(call) = call {
            row.tool = call.tool.clone();
        }
        row.report(failure, cx);
    }

    /// Ends the causes that a successful call disproves.
    pub(crate) fn add_success(&mut self, cx: &mut Context<'_>) {
        let Some(call) = cx.call() else { return };
        let changes = call.class == ToolClass::Write && cx.agent().has_new_change();
        for row in &mut self.rows {
            row.is_edited |= changes;
        }
        self.end(cx, "a tool succeeded", |row| row.ends_with(call, changes));
    }

    pub(crate) fn end_all(&mut self, cx: &mut Context<'_>, reason: &str) {
        self.end(cx, reason, |_| true);
    }

    fn end(
        &mut self,
        cx: &mut Context<'_>,
        reason: &str,
        mut is_over: impl FnMut(&CauseRow) -> bool,
    ) {
        self.rows.retain(|row| {
            let ends = is_over(row);
            if ends {
                row.resolve(cx, reason);
            }
            !ends
        });
    }

    /// Returns the row of a cause. A new one replaces the one whose latest failure is the
    /// longest ago, if there are many.
    fn row(&mut self, cause: ErrorCause<'_>, cx: &mut Context<'_>) -> &mut CauseRow {
        if let Some(idx) = self.rows.iter().position(|row| row.includes(cause)) {
            return &mut self.rows[idx];
        }
        if self.rows.len() == MAX_CAUSES {
            let oldest = (0..MAX_CAUSES).max_by_key(|idx| self.rows[*idx].n_others).unwrap_or(0);
            self.rows.remove(oldest).resolve(cx, "other errors occurred");
        }
        self.rows.push(CauseRow {
            key: cause.fingerprint(),
            class: cause.class,
            subject: cause.subject,
            name: cause.name.map(Box::from),
            n_failures: 0,
            weight: 0,
            n_steps: 1,
            n_others: 0,
            is_edited: false,
            n_survived: 0,
            output: None,
            call: Fingerprint::NONE,
            tool: Arc::default(),
            response: None,
            since: cx.now(),
            first: cx.place(),
        });
        let last = self.rows.len() - 1;
        &mut self.rows[last]
    }
}

impl CauseRow {
    /// Returns true if a failure with this cause is one of these. A file that does not exist
    /// is the same as the missing program of that name.
    fn includes(&self, cause: ErrorCause<'_>) -> bool {
        let is_same_class = self.class == cause.class
            || self.class == ErrorClass::MissingProgram && cause.class == ErrorClass::MissingPath;
        is_same_class && self.subject == cause.subject
    }

    /// Returns the weight of the latest failure, after other results and edits.
    fn eased(&mut self, full: u64, output: Option<NonZeroU32>) -> u64 {
        if self.n_failures == 1 {
            return full;
        }
        if self.is_edited && is_removed_by_edits(self.class) {
            self.n_survived = self.n_survived.saturating_add(1);
            let is_equal = self.output == output;
            let change = if is_equal { OutputChange::None } else { OutputChange::AtKnownPlace };
            return survived_weight(full, self.n_survived, change);
        }
        // No edit removes the cause, so that an edit is a little progress at most.
        let full = if self.is_edited { full * 2 / 3 } else { full };
        // `n_others` contains the result of this failure.
        match self.n_others {
            0 | 1 => full,
            2..=MANY_OTHERS => full / 2,
            _ => full / 4,
        }
    }

    /// Returns true if a successful call shows that the cause is gone.
    fn ends_with(&self, call: &Call, changes: bool) -> bool {
        let name = self.name.as_deref().unwrap_or_default();
        let command = call.command().unwrap_or_default();
        let only_looks = matches!(call.purpose, Purpose::Read | Purpose::Search);
        let is_same_tool = call.class != ToolClass::Run && call.tool == self.tool;
        let names = || !name.is_empty() && contains_word(command, name);
        self.call == call.fingerprint
            || call.class == ToolClass::Ask
            || match self.class {
                ErrorClass::MissingProgram => !name.is_empty() && runs_program(command, name),
                ErrorClass::MissingModule => !only_looks && names(),
                ErrorClass::RejectedEdit => changes,
                ErrorClass::InvalidArguments => {
                    is_same_tool || *call.tool == *name || runs_program(command, name)
                }
                ErrorClass::MissingPath | ErrorClass::Denied | ErrorClass::Unreachable => names(),
                _ => false,
            }
    }

    fn resolve(&self, cx: &mut Context<'_>, reason: &str) {
        cx.resolve(self.key, || {
            let n = self.n_failures;
            Report::new(format!("no further failures after {n}: {reason}")).with("failures", n)
        });
    }

    fn report(&self, failure: &Failure<'_>, cx: &mut Context<'_>) {
        let took = cx.within(cx.now().duration_since(self.since));
        cx.report(self.key, self.weight / Weight::UNIT, || {
            let (n, n_steps) = (self.n_failures, self.n_steps);
            let line = failure.line.map(quote);
            let tool = quote(&self.tool);
            let name = self.name.as_deref().map(quote);
            let message = match self.class.condition(name.as_deref()) {
                Some(condition) if n == 1 => format!("{condition}: a call failed for it"),
                Some(condition) => {
                    format!("{condition}: {n} calls failed for it in {n_steps} steps")
                }
                None => {
                    let mut message = match n {
                        1 => "an error occurred once".to_owned(),
                        _ => format!("the same error occurred {n} times{took}"),
                    };
                    if !self.tool.is_empty() {
                        message.push_str(if n == 1 { ", from " } else { ", the last from " });
                        message.push_str(&tool);
                    }
                    if let Some(line) = &line {
                        message.push_str(": ");
                        message.push_str(line);
                    }
                    message
                }
            };
            let mut report = Report::new(message).with("cause", self.class.name());
            if let Some(name) = &name {
                report = report.with("subject", name.trim_matches('`'));
            }
            if let Some(line) = &line {
                report = report.with("error", line.trim_matches('`'));
            }
            if !self.tool.is_empty() {
                report = report.with("tool", tool.trim_matches('`'));
            }
            report.with("failures", n).since(self.first.as_ref().map(Place::evidence))
        });
    }
}

/// Returns true if an edit may remove a cause of this class. A program is still missing after
/// any edit.
fn is_removed_by_edits(class: ErrorClass) -> bool {
    matches!(class, ErrorClass::MissingModule | ErrorClass::MissingPath)
}

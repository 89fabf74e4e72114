//! The usage of model calls that only poll.

use std::sync::Arc;

use watchkeeper_core::{
    Context, EventKind, Purpose, Report, SignedDuration, Timestamp, ToolClass,
    author::{Place, Tokens, Usage, percent},
};

use crate::{
    limit::{Limit, nano_dollars},
    rules::Rules,
};

/// The number of other calls in a row that end a stretch, even if they change nothing.
const MAX_OTHER_CALLS: u8 = 4;

/// The polls of one agent.
#[derive(Clone, Debug)]
pub(crate) struct Polls {
    pub(crate) rules: Arc<Rules>,
    stretch: Option<Box<Stretch>>,
}

/// Polls without work in between.
#[derive(Clone, Debug)]
struct Stretch {
    /// The usage between polls that are close to each other.
    spent: Amounts,
    /// The usage since the latest poll.
    pending: Amounts,
    n_polls: u64,
    n_other_calls: u8,
    latest: Timestamp,
    since: Timestamp,
    first: Option<Place>,
}

/// An amount for each limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amounts {
    tokens: u64,
    nano_dollars: u64,
}

impl Polls {
    pub(crate) fn new(rules: Arc<Rules>) -> Self {
        Self { rules, stretch: None }
    }

    pub(crate) fn observe(&mut self, event: &EventKind, cx: &mut Context<'_>) {
        match event {
            EventKind::ToolCall(call) => match call.purpose {
                Purpose::Poll | Purpose::Wait if cx.session().has_times() => self.add_poll(cx),
                _ => self.add_other_call(call.class, call.purpose, cx),
            },
            EventKind::ModelCall(_) => self.add_usage(cx),
            EventKind::Prompt { synthetic: false, .. } => self.end("a person sent a prompt", cx),
            EventKind::TurnEnd => self.end("the turn ended", cx),
            _ => {}
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.stretch.is_none()
    }

    fn add_usage(&mut self, cx: &Context<'_>) {
        let (Some(stretch), Some(Usage { tokens, cost_usd, .. })) = (&mut self.stretch, cx.usage())
        else {
            return;
        };
        stretch.pending.add(Amounts::of(tokens, *cost_usd, &self.rules));
    }

    fn add_poll(&mut self, cx: &mut Context<'_>) {
        let now = cx.now();
        let is_close = |stretch: &Stretch| now.duration_since(stretch.latest) < least_gap();
        let stretch = match &mut self.stretch {
            Some(stretch) if is_close(stretch) || stretch.spent != Amounts::default() => stretch,
            stretch => {
                // The first of several polls.
                *stretch = Some(Box::new(Stretch::new(now, cx.place())));
                return;
            }
        };
        let (pending, is_close) = (std::mem::take(&mut stretch.pending), is_close(stretch));
        (stretch.latest, stretch.n_other_calls) = (now, 0);
        if !is_close {
            return;
        }
        stretch.n_polls += 1;
        stretch.spent.add(pending);
        let took = cx.within(now.duration_since(stretch.since));
        let rules = &*self.rules;
        for limit in rules.limits() {
            let n = stretch.spent.of_limit(limit, rules);
            let percent = percent(n, limit.max);
            cx.report(limit.subject, percent, || {
                let (share, n_polls) = (limit.share(n, limit.max), stretch.n_polls);
                let gap = least_gap().as_secs();
                Report::new(format!(
                    "{share} used to poll, {percent}%: {n_polls} polls{took}, each less than \
                     {gap}s after the previous one"
                ))
                .with("percent", percent)
                .with("polls", n_polls)
                .since(stretch.first.as_ref().map(Place::evidence))
            });
        }
    }

    /// Adds a call that is no poll. A few reads in between, such as of what a worker has
    /// changed, belong to the stretch.
    fn add_other_call(&mut self, class: ToolClass, purpose: Purpose, cx: &mut Context<'_>) {
        let Some(stretch) = &mut self.stretch else { return };
        let is_read = class == ToolClass::Read
            || matches!(purpose, Purpose::Read | Purpose::Search | Purpose::Other);
        stretch.n_other_calls += 1;
        if !is_read || MAX_OTHER_CALLS <= stretch.n_other_calls {
            self.end("the agent did other work", cx);
        }
    }

    fn end(&mut self, reason: &str, cx: &mut Context<'_>) {
        let Some(stretch) = self.stretch.take() else { return };
        for limit in self.rules.limits() {
            cx.resolve(limit.subject, || {
                let amount = limit.amount_text(stretch.spent.of_limit(limit, &self.rules));
                let n_polls = stretch.n_polls;
                Report::new(format!("no further polls after {n_polls} with {amount}: {reason}"))
                    .with("polls", n_polls)
            });
        }
    }
}

impl Stretch {
    fn new(now: Timestamp, first: Option<Place>) -> Self {
        Self {
            spent: Amounts::default(),
            pending: Amounts::default(),
            n_polls: 1,
            n_other_calls: 0,
            latest: now,
            since: now,
            first,
        }
    }
}

impl Amounts {
    fn of(tokens: &Tokens, cost_usd: Option<f64>, rules: &Rules) -> Self {
        Self { tokens: rules.counted(tokens), nano_dollars: cost_usd.map_or(0, nano_dollars) }
    }

    fn add(&mut self, other: Self) {
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.nano_dollars = self.nano_dollars.saturating_add(other.nano_dollars);
    }

    fn of_limit(self, limit: &Limit, rules: &Rules) -> u64 {
        let is_tokens = rules.tokens.as_ref().is_some_and(|it| it.subject == limit.subject);
        if is_tokens { self.tokens } else { self.nano_dollars }
    }
}

/// Returns the time between two polls from which on they cost nothing avoidable: the polled
/// work can proceed in it.
fn least_gap() -> SignedDuration {
    Purpose::Poll.weight().spaced.map_or(SignedDuration::ZERO, |spaced| spaced.gap)
}

//! The silence of a model that owes an answer.

use watchkeeper_core::{Activity, Context, Elapsed, Fingerprint, PackedTimestamp, Report, percent};

use crate::{
    Rules,
    elapsed::{Nanos, duration, report, since, wake_at_next_level},
};

/// What is to be remembered of it. Else it goes by when the agent was last heard
/// of, as the engine knows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Silence {
    /// When the silence began that was found.
    found: Option<PackedTimestamp>,
    /// It has a long time to wait, and any event may end that.
    is_amid_answer: bool,
}

impl Silence {
    pub(crate) fn observe(&mut self, rules: &Rules, cx: &mut Context<'_>) {
        let began_at = cx.agent().activity.as_ref().map(|it| it.at);
        if let Some(from) = self.found.take_if(|it| Some(*it) != began_at) {
            let elapsed = duration(since(from.into(), cx));
            cx.resolve(Fingerprint::NONE, || {
                let message = format!("the silence of the model ended after {}", Elapsed(elapsed));
                Report::new(message).with("elapsed_seconds", elapsed.as_secs())
            });
        }
        self.wait(rules, cx);
    }

    pub(crate) fn wake(&mut self, rules: &Rules, cx: &mut Context<'_>) {
        if let Some(Activity { at, place, is_amid_answer }) = owed(cx).cloned() {
            let max = max(is_amid_answer, rules);
            let elapsed = since(at.into(), cx);
            let percent = percent(elapsed, max);
            if cx.next_level(0).is_some_and(|it| it <= percent) {
                self.found = Some(at);
                cx.report(Fingerprint::NONE, percent, || {
                    let lasts = if is_amid_answer {
                        "the model has been silent amid an answer"
                    } else {
                        "the model has been silent"
                    };
                    report(lasts, elapsed, percent, max).since(Some(place.evidence()))
                });
            }
        }
        self.wait(rules, cx);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.found.is_none() && !self.is_amid_answer
    }

    fn wait(&mut self, rules: &Rules, cx: &mut Context<'_>) {
        let owed = owed(cx);
        self.is_amid_answer = owed.is_some_and(|it| it.is_amid_answer);
        match owed.map(|it| since(it.at.into(), cx)) {
            Some(elapsed) => wake_at_next_level(elapsed, max(self.is_amid_answer, rules), cx),
            None => cx.cancel_wake(),
        }
    }
}

/// Since when the model owes an answer, if it does.
fn owed<'a>(cx: &'a Context<'_>) -> Option<&'a Activity> {
    let agent = cx.agent();
    agent.activity.as_ref().filter(|_| agent.owes_answer())
}

/// A long answer takes its time.
fn max(is_amid_answer: bool, rules: &Rules) -> Nanos {
    if is_amid_answer { rules.max.saturating_mul(2) } else { rules.max }
}

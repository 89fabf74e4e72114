//! Equal prompts of the harness without a result in between.

use watchkeeper_core::{
    Context, EventKind, Fingerprint, Report, Timestamp,
    author::{Place, Start},
    quote,
};

/// The latest prompt of the harness, with its repetitions since the latest
/// result or prompt of a person.
#[derive(Clone, Debug, Default)]
pub(crate) struct RepeatedPrompts {
    latest: Option<Box<Repetition>>,
}

#[derive(Clone, Debug)]
struct Repetition {
    text: Fingerprint,
    n: u64,
    since: Timestamp,
    first: Option<Place>,
}

impl RepeatedPrompts {
    pub(crate) fn observe(&mut self, event: &EventKind, cx: &mut Context<'_>) {
        match event {
            EventKind::Prompt { text, synthetic } => {
                match cx.agent().start() {
                    Start::Continued => {}
                    Start::Restarted => self.end(cx, "the harness began another turn"),
                    start => self.end(cx, start.reason().unwrap_or_default()),
                }
                if *synthetic && !text.trim_ascii().is_empty() {
                    self.add(text, cx);
                }
            }
            EventKind::ToolResult(_) => self.end(cx, "a tool returned a result"),
            _ => {}
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.latest.is_none()
    }

    fn add(&mut self, prompt: &str, cx: &mut Context<'_>) {
        let text = Fingerprint::of_output(prompt);
        let is_same = |latest: &Repetition| latest.text == text;
        if !self.latest.as_deref().is_some_and(is_same) {
            self.end(cx, "the harness sent another prompt");
        }
        let latest = self.latest.get_or_insert_with(|| {
            Box::new(Repetition { text, n: 0, since: cx.now(), first: cx.place() })
        });
        latest.n += 1;
        let (n, took) = (latest.n, cx.within(cx.now().duration_since(latest.since)));
        cx.report(Fingerprint::NONE, n, || {
            let prompt = quote(prompt.trim());
            let message = match n {
                1 => format!("the harness sent a prompt: {prompt}"),
                _ => format!(
                    "the harness sent the same prompt {n} times{took}, without a result in between: {prompt}"
                ),
            };
            Report::new(message)
                .with("prompts", n)
                .since(latest.first.as_ref().map(Place::evidence))
        });
    }

    fn end(&mut self, cx: &mut Context<'_>, reason: &str) {
        let Some(latest) = self.latest.take() else { return };
        cx.resolve(Fingerprint::NONE, || {
            let n = latest.n;
            Report::new(format!("no further equal prompts after {n}: {reason}")).with("prompts", n)
        });
    }
}

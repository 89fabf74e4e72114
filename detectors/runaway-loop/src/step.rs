//! From calls and their answers to steps.

use std::{mem, num::NonZeroU32, sync::Arc};

use watchkeeper_core::{Call, Context, Fingerprint, ToolClass};

/// How many calls of one agent may wait for their answers.
const MAX_OWED: usize = 64;

/// A call and its answer; or a call alone that was left behind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step<'a> {
    pub(crate) symbol: u32,
    pub(crate) tool: &'a Arc<str>,
    pub(crate) class: ToolClass,
    /// Whether it began with the call that was answered, and not with its answer.
    pub(crate) is_at_call: bool,
}

/// What two steps that count as the same have in common: a call, in the upper
/// half, and its answer. A quarter of a fingerprint is enough for each: a cycle
/// needs many of them to be equal.
#[expect(clippy::cast_possible_truncation, reason = "half of it is kept")]
pub(crate) fn symbol(call: Fingerprint, answer: Option<Fingerprint>) -> u32 {
    let whole = answer.map_or(call, |it| call.and(it));
    (call.get() as u32 & 0xffff_0000) | (whole.get() as u32 & 0xffff)
}

/// What is not a step yet.
///
/// Most agents make one call at a time, and there are very many agents.
#[derive(Clone, Debug, Default)]
pub(crate) enum Open {
    #[default]
    Nothing,
    /// A call that may still be answered.
    One(OwedCall),
    Several(Box<Several>),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Several {
    /// The calls that may still be answered, oldest first.
    owed: Vec<OwedCall>,
    /// The model's answer whose calls run side by side.
    response: Option<NonZeroU32>,
    /// The answers to those calls so far.
    batch: Vec<KeptStep>,
}

/// A call that may still be answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwedCall {
    id: NonZeroU32,
    symbol: u32,
    response: Option<NonZeroU32>,
}

/// A step that waits for others.
#[derive(Clone, Debug)]
pub(crate) struct KeptStep {
    symbol: u32,
    tool: Arc<str>,
    class: ToolClass,
    is_at_call: bool,
}

/// What becomes a step as a call is answered.
pub(crate) enum Settled {
    /// This call alone.
    One,
    /// Other calls, or none yet.
    Several(Vec<KeptStep>),
}

impl Open {
    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    pub(crate) fn owe(&mut self, call: &Call, symbol: u32) {
        let call = OwedCall {
            id: call.id.brief(),
            symbol,
            response: call.response.map(Fingerprint::brief),
        };
        match self {
            Self::Nothing => *self = Self::One(call),
            Self::One(first) => {
                let owed = vec![*first, call];
                *self = Self::Several(Box::new(Several { owed, ..Several::default() }));
            }
            Self::Several(it) => it.owe(call),
        }
    }

    /// Takes the answer to a call. Gives back what it makes a step of, if the
    /// call is owed.
    pub(crate) fn answered(
        &mut self,
        step: Step<'_>,
        call: &Call,
        cx: &Context<'_>,
    ) -> Option<Settled> {
        match self {
            Self::Several(several) => {
                let steps = several.answered(step, call, cx)?;
                self.close();
                Some(Settled::Several(steps))
            }
            _ => self.forget(call).then_some(Settled::One),
        }
    }

    /// Forgets a call that is no step of the agent's. Gives back whether it was
    /// owed.
    pub(crate) fn forget(&mut self, call: &Call) -> bool {
        match self {
            Self::One(it) if it.id == call.id.brief() => *self = Self::Nothing,
            Self::Several(several) => {
                let Some(at) = several.position(call) else { return false };
                several.owed.remove(at);
                self.close();
            }
            _ => return false,
        }
        true
    }

    /// Gives back the room of what has become steps.
    fn close(&mut self) {
        if let Self::Several(it) = self
            && it.batch.is_empty()
        {
            match it.owed[..] {
                [] => *self = Self::Nothing,
                [only] => *self = Self::One(only),
                _ => {}
            }
        }
    }
}

impl Several {
    fn owe(&mut self, call: OwedCall) {
        if self.owed.len() == MAX_OWED {
            self.owed.remove(0);
        }
        self.owed.push(call);
    }

    fn position(&self, call: &Call) -> Option<usize> {
        let id = call.id.brief();
        self.owed.iter().position(|it| it.id == id)
    }

    fn answered(&mut self, step: Step<'_>, call: &Call, cx: &Context<'_>) -> Option<Vec<KeptStep>> {
        let at = self.position(call)?;
        let response = self.owed.remove(at).response;
        let is_beside = |it: &OwedCall| response.is_some() && it.response == response;
        // The answers to other calls come first.
        let mut res = Vec::new();
        if response.is_none() || self.response != response {
            res = in_order(mem::take(&mut self.batch));
        }
        // Whatever was called before, and not beside this one, was left behind.
        let left = self.owed.extract_if(..at, |it| !is_beside(it));
        res.extend(left.map(|it| {
            let left = cx.pending().find(|call| call.id.brief() == it.id);
            let (tool, class) =
                left.map_or((step.tool, step.class), |call| (&call.tool, call.class));
            KeptStep { symbol: it.symbol, tool: tool.clone(), class, is_at_call: true }
        }));
        // Calls that run side by side are answered in any order, and copies of
        // one call are one step.
        let is_owed = self.owed.iter().any(is_beside);
        if response.is_none() || !is_owed && self.batch.is_empty() {
            res.push(step.into());
            return Some(res);
        }
        self.response = response;
        if self.batch.iter().all(|it| it.symbol != step.symbol) {
            self.batch.push(step.into());
        }
        if !is_owed {
            res.extend(in_order(mem::take(&mut self.batch)));
        }
        Some(res)
    }
}

/// Puts the answers to calls that ran side by side in an order of their own.
fn in_order(mut batch: Vec<KeptStep>) -> Vec<KeptStep> {
    batch.sort_unstable_by_key(|it| it.symbol);
    batch
}

impl KeptStep {
    pub(crate) fn step(&self) -> Step<'_> {
        let Self { symbol, ref tool, class, is_at_call } = *self;
        Step { symbol, tool, class, is_at_call }
    }
}

impl From<Step<'_>> for KeptStep {
    fn from(step: Step<'_>) -> Self {
        let Step { symbol, tool, class, is_at_call } = step;
        Self { symbol, tool: tool.clone(), class, is_at_call }
    }
}

//! Steps: calls with their results, in a stable order.

use std::{mem, num::NonZeroU32, sync::Arc};

use watchkeeper_core::{
    Context, Fingerprint, Purpose, ToolClass,
    author::{Call, Change},
};

/// The largest number of open calls of one agent.
const MAX_OPEN: usize = 64;

/// A call and its result, or an abandoned call without a result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step<'a> {
    pub(crate) symbol: u32,
    pub(crate) tool: &'a Arc<str>,
    pub(crate) class: ToolClass,
    pub(crate) purpose: Purpose,
    /// True if the evidence of the step is the call, not the result.
    pub(crate) is_at_call: bool,
}

impl Step<'_> {
    /// Returns true if the step may have changed files without a known change.
    pub(crate) fn may_change_files(&self) -> bool {
        let only_reads = matches!(
            self.purpose,
            Purpose::Read
                | Purpose::Search
                | Purpose::Navigate
                | Purpose::Poll
                | Purpose::Ask
                | Purpose::Plan
        );
        !only_reads && !matches!(self.class, ToolClass::Read | ToolClass::Write)
    }
}

/// The bits of a symbol that contain the kind of the step. They are zero for most.
const KIND: u32 = 3;
/// A step that changed a text.
const CHANGE: u32 = 1;
/// A step that may be repeated on purpose: a poll, a key, or a change of something
/// that is not known to be a text.
const ON_PURPOSE: u32 = 2;
/// A step that replaced a text, which must have been restored before the step can
/// be repeated.
const REPLACEMENT: u32 = 3;

/// Returns the symbol of a call without a result, or with this one: the call in the
/// upper half, the call with its result in the lower half. Sixteen bits are enough
/// for each, because a cycle needs many equal symbols.
#[expect(clippy::cast_possible_truncation, reason = "half of the fingerprint is kept")]
fn symbol(call: Fingerprint, result: Option<Fingerprint>, kind: u32) -> u32 {
    let with_result = result.map_or(call, |result| call.and(result));
    let symbol = (call.get() as u32 & 0xffff_0000) | (with_result.get() as u32 & 0xffff);
    symbol & !KIND | kind
}

/// Returns the kind of a step that changes no text.
fn kind(purpose: Purpose) -> u32 {
    match purpose {
        Purpose::Poll | Purpose::Wait | Purpose::Navigate | Purpose::Write => ON_PURPOSE,
        _ => 0,
    }
}

/// Returns the symbol of a call with its result.
pub(crate) fn result_symbol(call: &Call, result: Option<Fingerprint>) -> u32 {
    symbol(call.fingerprint, result, kind(call.purpose))
}

/// Returns the symbol of a call without a result. `change` is the change that
/// the call makes.
pub(crate) fn call_symbol(call: &Call, change: Option<Change>) -> u32 {
    let fingerprint = change.map_or(call.fingerprint, |change| change.fingerprint);
    symbol(fingerprint, None, kind(call.purpose))
}

/// Returns the symbol of a successful change of a text, whatever its result.
fn change_symbol(change: Change) -> u32 {
    let kind = if change.is_replacement { REPLACEMENT } else { CHANGE };
    symbol(change.fingerprint, None, kind)
}

/// Returns true if a step changed a text.
pub(crate) fn is_change(symbol: u32) -> bool {
    matches!(symbol & KIND, CHANGE | REPLACEMENT)
}

/// Returns true if a step replaced a text that does not remain.
pub(crate) fn is_replacement(symbol: u32) -> bool {
    symbol & KIND == REPLACEMENT
}

/// Returns true if a step may be repeated on purpose.
pub(crate) fn repeats_on_purpose(symbol: u32) -> bool {
    symbol & KIND == ON_PURPOSE
}

/// The calls that are not steps yet. Small, because most agents make one call
/// at a time.
#[derive(Clone, Debug, Default)]
pub(crate) enum OpenCalls {
    #[default]
    None,
    One(OpenCall),
    Several(Box<Several>),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Several {
    /// The calls without results, oldest first.
    calls: Vec<OpenCall>,
    /// The model response whose parallel calls are in `batch`.
    response: Option<NonZeroU32>,
    /// The completed calls of that response.
    batch: Vec<OwnedStep>,
}

/// A call without a result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenCall {
    id: NonZeroU32,
    /// The symbol of the change if the call changes a text, otherwise the symbol of the
    /// call without a result.
    symbol: u32,
    response: Option<NonZeroU32>,
}

/// A step that is kept until all parallel calls have results.
#[derive(Clone, Debug)]
pub(crate) struct OwnedStep {
    symbol: u32,
    tool: Arc<str>,
    class: ToolClass,
    purpose: Purpose,
    is_at_call: bool,
}

/// The steps that a result completes.
pub(crate) enum Completed {
    /// The step of the result itself.
    This,
    /// These steps in this order, possibly none.
    Others(Vec<OwnedStep>),
}

impl OpenCalls {
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Adds a call that makes `change`.
    pub(crate) fn push(&mut self, call: &Call, change: Option<Change>) {
        let call = OpenCall {
            id: call.id.brief(),
            symbol: change.map_or_else(|| call_symbol(call, None), change_symbol),
            response: call.response.map(Fingerprint::brief),
        };
        match self {
            Self::None => *self = Self::One(call),
            Self::One(first) => {
                let calls = vec![*first, call];
                *self = Self::Several(Box::new(Several { calls, ..Several::default() }));
            }
            Self::Several(several) => several.push(call),
        }
    }

    /// Returns the symbol of the change that an open call makes; `None` if the call
    /// changes no text.
    pub(crate) fn change_of(&self, call: &Call) -> Option<u32> {
        let open = match self {
            Self::One(open) if open.id == call.id.brief() => open,
            Self::Several(several) => &several.calls[several.position(call)?],
            _ => return None,
        };
        Some(open.symbol).filter(|symbol| is_change(*symbol))
    }

    /// Handles the result of a call, and returns the steps that are now
    /// complete; `None` if the call is not open.
    pub(crate) fn complete(
        &mut self,
        step: Step<'_>,
        call: &Call,
        cx: &Context<'_>,
    ) -> Option<Completed> {
        match self {
            Self::Several(several) => {
                let steps = several.complete(step, call, cx)?;
                self.shrink();
                Some(Completed::Others(steps))
            }
            _ => self.remove(call).then_some(Completed::This),
        }
    }

    /// Removes a call that does not become a step. Returns false if the call is
    /// not open.
    pub(crate) fn remove(&mut self, call: &Call) -> bool {
        match self {
            Self::One(open) if open.id == call.id.brief() => *self = Self::None,
            Self::Several(several) => {
                let Some(at) = several.position(call) else { return false };
                several.calls.remove(at);
                self.shrink();
            }
            _ => return false,
        }
        true
    }

    /// Frees the allocation for several calls if at most one is open.
    fn shrink(&mut self) {
        if let Self::Several(several) = self
            && several.batch.is_empty()
        {
            match several.calls[..] {
                [] => *self = Self::None,
                [only] => *self = Self::One(only),
                _ => {}
            }
        }
    }
}

impl Several {
    fn push(&mut self, call: OpenCall) {
        if self.calls.len() == MAX_OPEN {
            self.calls.remove(0);
        }
        self.calls.push(call);
    }

    fn position(&self, call: &Call) -> Option<usize> {
        let id = call.id.brief();
        self.calls.iter().position(|open| open.id == id)
    }

    fn complete(
        &mut self,
        step: Step<'_>,
        call: &Call,
        cx: &Context<'_>,
    ) -> Option<Vec<OwnedStep>> {
        let at = self.position(call)?;
        let response = self.calls.remove(at).response;
        let is_parallel = |open: &OpenCall| response.is_some() && open.response == response;
        // The results of an earlier response come first.
        let mut steps = Vec::new();
        if response.is_none() || self.response != response {
            steps = in_stable_order(mem::take(&mut self.batch));
        }
        // Earlier calls that are not parallel to this one were abandoned.
        let abandoned = self.calls.extract_if(..at, |open| !is_parallel(open));
        steps.extend(abandoned.map(|open| {
            let call = cx.pending().find(|call| call.id.brief() == open.id);
            let known = (step.tool, step.class, step.purpose);
            let (tool, class, purpose) =
                call.map_or(known, |call| (&call.tool, call.class, call.purpose));
            let is_change = is_change(open.symbol);
            // Nobody knows if the text changed.
            let symbol = if is_change { open.symbol & !KIND | ON_PURPOSE } else { open.symbol };
            OwnedStep { symbol, tool: tool.clone(), class, purpose, is_at_call: true }
        }));
        // Parallel calls get their results in any order, and copies of one call
        // are one step.
        let has_parallel = self.calls.iter().any(is_parallel);
        if response.is_none() || !has_parallel && self.batch.is_empty() {
            steps.push(step.into());
            return Some(steps);
        }
        self.response = response;
        if self.batch.iter().all(|kept| kept.symbol != step.symbol) {
            self.batch.push(step.into());
        }
        if !has_parallel {
            steps.extend(in_stable_order(mem::take(&mut self.batch)));
        }
        Some(steps)
    }
}

/// Sorts the steps of parallel calls, so that the order of their results does
/// not matter.
fn in_stable_order(mut batch: Vec<OwnedStep>) -> Vec<OwnedStep> {
    batch.sort_unstable_by_key(|step| step.symbol);
    batch
}

impl OwnedStep {
    pub(crate) fn as_step(&self) -> Step<'_> {
        let Self { symbol, ref tool, class, purpose, is_at_call } = *self;
        Step { symbol, tool, class, purpose, is_at_call }
    }
}

impl From<Step<'_>> for OwnedStep {
    fn from(step: Step<'_>) -> Self {
        let Step { symbol, tool, class, purpose, is_at_call } = step;
        Self { symbol, tool: tool.clone(), class, purpose, is_at_call }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use watchkeeper_core::{Purpose, ToolClass};

    use super::Step;

    #[test]
    fn only_commands_and_unknown_calls_may_change_files() {
        let tool = Arc::from("tool");
        for (expected, class, purpose) in [
            (true, ToolClass::Run, Purpose::Run),
            (true, ToolClass::Delegate, Purpose::Delegate),
            (true, ToolClass::Other, Purpose::Other),
            (false, ToolClass::Run, Purpose::Search),
            (false, ToolClass::Other, Purpose::Plan),
            (false, ToolClass::Ask, Purpose::Ask),
            (false, ToolClass::Write, Purpose::Write),
        ] {
            let step = Step { symbol: 0, tool: &tool, class, purpose, is_at_call: false };
            assert_eq!(step.may_change_files(), expected, "{class:?}, {purpose:?}");
        }
    }
}

//! The reports of a guard in a session.

/// The response of a guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Response {
    /// The first step of a guard that escalates: a log entry, or a warning to the model.
    Warn,
    /// The last or only step.
    Stop,
}

/// Collects the reports of a guard. It reports at each step at which one of its rules applies.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    reports: Vec<(u64, Response)>,
}

/// A part of a session, with the number of tool calls in the session file so far.
pub(crate) trait Numbered {
    fn number(&self) -> u64;
}

impl<T: Numbered> Numbered for &T {
    fn number(&self) -> u64 {
        T::number(self)
    }
}

/// The calls of one response of a model.
impl<T: Numbered> Numbered for Vec<T> {
    fn number(&self) -> u64 {
        self.last().map_or(0, T::number)
    }
}

impl Reports {
    /// Adds a stop at each of the items with these indices.
    pub(crate) fn stop<T: Numbered>(
        &mut self,
        items: &[T],
        indices: impl IntoIterator<Item = usize>,
    ) {
        self.add(items, indices, Response::Stop);
    }

    /// Adds a warning at each of the items with these indices.
    pub(crate) fn warn<T: Numbered>(
        &mut self,
        items: &[T],
        indices: impl IntoIterator<Item = usize>,
    ) {
        self.add(items, indices, Response::Warn);
    }

    /// Adds a stop at each of the items for which `is_report` returns true.
    pub(crate) fn stop_where<T: Numbered>(
        &mut self,
        items: &[T],
        is_report: impl Fn(usize, &T) -> bool,
    ) {
        let indices = items.iter().enumerate().filter(|(idx, item)| is_report(*idx, item));
        self.stop(items, indices.map(|(idx, _)| idx));
    }

    fn add<T: Numbered>(
        &mut self,
        items: &[T],
        indices: impl IntoIterator<Item = usize>,
        response: Response,
    ) {
        let reports = indices.into_iter().map(|idx| (items[idx].number(), response));
        self.reports.extend(reports);
    }

    /// Returns the strongest response.
    pub(crate) fn strongest(&self) -> Option<Response> {
        self.reports.iter().map(|(_, response)| *response).max()
    }

    /// Returns the numbers of the steps with at least this response, in order.
    pub(crate) fn steps(&self, response: Response) -> Vec<u64> {
        let reports = self.reports.iter().filter(|(_, it)| response <= *it);
        let mut steps: Vec<u64> = reports.map(|(step, _)| *step).collect();
        steps.sort_unstable();
        steps.dedup();
        steps
    }
}

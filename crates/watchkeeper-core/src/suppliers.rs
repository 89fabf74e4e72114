use std::collections::HashMap;

use rapidhash::fast::RandomState;

use crate::{EventKind, Fingerprint, SessionId, Tokens};

/// Selects the supplier of each part of a session, so that a session with two suppliers counts
/// once.
///
/// A client may write a session file and send telemetry about the same session. The two have few
/// ids in common by which events could be compared, and each lacks something. So the first
/// supplier of a part of a session supplies all of this part: the texts, the usage, the calls, the
/// errors, the quotas, or the rest, such as the ends of turns. Events of this part from any other supplier are
/// not admitted.
///
/// A preferred supplier takes a part over from any other one, whatever came first, so that nobody
/// else can silence it. Its calls that have counted already are recognized by their ids, and its
/// usage by the tokens.
///
/// Memory is bounded: the parts of the sessions that have had no event for the longest time are
/// forgotten, and those of preferred suppliers only for others of preferred suppliers.
#[derive(Debug, Default)]
pub struct Suppliers {
    latest: Option<Latest>,
    /// The suppliers of parts without a preferred one.
    usual: RecentMap<&'static str>,
    /// The parts of the preferred supplier, and whether it took them over.
    preferred: RecentMap<bool>,
    /// The numbers of calls and usages with a key that others have supplied.
    counted: RecentMap<u32>,
}

/// A bounded map, which forgets the entries that were inserted longest ago.
#[derive(Debug)]
struct RecentMap<V> {
    newer: HashMap<Fingerprint, V, RandomState>,
    older: HashMap<Fingerprint, V, RandomState>,
}

/// The session of the latest event that counted, cached: most events follow another one of
/// their session.
#[derive(Debug)]
struct Latest {
    session: SessionId,
    supplier: &'static str,
    /// The parts that the supplier supplies, as bits.
    parts: u8,
}

/// A part of a session that has one supplier.
#[derive(Clone, Copy, Debug)]
enum Part {
    Texts,
    Usage,
    Calls,
    Errors,
    Quotas,
    Rest,
}

impl Part {
    const fn of(kind: &EventKind) -> Self {
        match kind {
            EventKind::Prompt { .. } | EventKind::Message { .. } | EventKind::Thinking { .. } => {
                Self::Texts
            }
            EventKind::ModelCall(_) => Self::Usage,
            EventKind::ToolCall(_) | EventKind::ToolResult(_) => Self::Calls,
            EventKind::Error { .. } => Self::Errors,
            EventKind::Quota(_) => Self::Quotas,
            _ => Self::Rest,
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }

    fn key(self, session: &SessionId) -> Fingerprint {
        Fingerprint::of(session.as_str()).and(Fingerprint::from(self as u64))
    }
}

impl Suppliers {
    /// Returns whether an event of a session counts if `supplier` supplies it.
    #[must_use]
    pub fn admits(
        &mut self,
        session: &SessionId,
        kind: &EventKind,
        supplier: &'static str,
    ) -> bool {
        let part = Part::of(kind);
        if !self.is_cached(session, part, supplier) {
            let key = part.key(session);
            if self.preferred.get(key).is_some() {
                return false;
            }
            let known = self.usual.get(key).unwrap_or(supplier);
            self.usual.insert(key, known);
            if known != supplier {
                return false;
            }
            self.cache(session, Some(part), supplier);
        }
        self.count(session, kind);
        true
    }

    /// Returns whether an event of a session counts if `supplier` supplies it, which takes each
    /// part over from the suppliers of [`admits`](Self::admits). All preferred suppliers are one.
    #[must_use]
    pub fn admits_preferred(
        &mut self,
        session: &SessionId,
        kind: &EventKind,
        supplier: &'static str,
    ) -> bool {
        let part = Part::of(kind);
        if self.is_cached(session, part, supplier) {
            return true;
        }
        let key = part.key(session);
        let is_taken_over = self.usual.remove(key).is_some();
        let is_taken_over = is_taken_over || self.preferred.get(key) == Some(true);
        self.preferred.insert(key, is_taken_over);
        // Of a part that was taken over, each event is compared.
        self.cache(session, Some(part).filter(|_| !is_taken_over), supplier);
        !(is_taken_over && self.has_counted(session, kind))
    }

    fn is_cached(&self, session: &SessionId, part: Part, supplier: &str) -> bool {
        let latest = self.latest.as_ref().filter(|latest| latest.is_of(session, supplier));
        latest.is_some_and(|latest| latest.parts & part.bit() != 0)
    }

    fn cache(&mut self, session: &SessionId, part: Option<Part>, supplier: &'static str) {
        let bit = part.map_or(0, Part::bit);
        match self.latest.as_mut().filter(|latest| latest.is_of(session, supplier)) {
            Some(latest) => latest.parts |= bit,
            None => self.latest = Some(Latest { session: session.clone(), supplier, parts: bit }),
        }
    }

    /// Keeps what identifies an event of a supplier that is not preferred.
    fn count(&mut self, session: &SessionId, kind: &EventKind) {
        for key in keys(session, kind).into_iter().flatten() {
            let n_counted = self.counted.get(key).unwrap_or(0);
            self.counted.insert(key, n_counted.saturating_add(1));
        }
    }

    /// Returns whether another supplier has supplied an event.
    fn has_counted(&mut self, session: &SessionId, kind: &EventKind) -> bool {
        let [id, usage] = keys(session, kind);
        if id.is_some_and(|id| self.counted.get(id).is_some()) {
            return true;
        }
        let Some(usage) = usage else { return false };
        let Some(n_equal) = self.counted.remove(usage) else { return false };
        if 1 < n_equal {
            self.counted.insert(usage, n_equal - 1);
        }
        if let Some(id) = id {
            // Its usage may come again, and complete.
            self.counted.insert(id, 1);
        }
        true
    }
}

/// Returns the keys of an event that other suppliers of it have, too: the key of its id, and the key
/// of its usage. The ids of model calls differ, and a session file may contain a part of the output.
fn keys(session: &SessionId, kind: &EventKind) -> [Option<Fingerprint>; 2] {
    let of_id = |id: &str| {
        let session = Fingerprint::of(session.as_str());
        session.and(Fingerprint::of(kind.name())).and(Fingerprint::of(id))
    };
    match kind {
        EventKind::ToolCall(call) => [Some(of_id(&call.id)), None],
        EventKind::ToolResult(result) => [Some(of_id(&result.id)), None],
        EventKind::ModelCall(call) => {
            let Tokens { input, cache_read, cache_write, .. } = call.tokens;
            let counts = [input, cache_read, cache_write].map(Fingerprint::from);
            let usage = counts.into_iter().fold(of_id(""), Fingerprint::and);
            [call.id.as_deref().map(of_id), Some(usage)]
        }
        _ => [None, None],
    }
}

impl<V> Default for RecentMap<V> {
    fn default() -> Self {
        Self { newer: HashMap::default(), older: HashMap::default() }
    }
}

impl<V: Copy> RecentMap<V> {
    /// The smallest number of entries that are kept.
    const CAPACITY: usize = 1 << 16;

    fn get(&self, key: Fingerprint) -> Option<V> {
        self.newer.get(&key).or_else(|| self.older.get(&key)).copied()
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.newer.len() + self.older.len()
    }

    fn insert(&mut self, key: Fingerprint, value: V) {
        if self.newer.len() == Self::CAPACITY && !self.newer.contains_key(&key) {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(key, value);
    }

    fn remove(&mut self, key: Fingerprint) -> Option<V> {
        let older = self.older.remove(&key);
        self.newer.remove(&key).or(older)
    }
}

impl Latest {
    fn is_of(&self, session: &SessionId, supplier: &str) -> bool {
        // The events of a session share its id. Other ids with the same text take longer.
        std::ptr::eq(self.session.as_str(), session.as_str()) && self.supplier == supplier
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{RecentMap, Suppliers};
    use crate::{EventKind, Json, ModelCall, SessionId, Tokens, ToolCall, ToolResult};

    fn usage(input: u64) -> EventKind {
        let tokens = Tokens { input, ..Tokens::default() };
        EventKind::ModelCall(ModelCall { tokens, ..ModelCall::default() })
    }

    #[test]
    fn each_part_of_a_session_has_its_first_supplier() {
        let mut suppliers = Suppliers::default();
        let [session, other] = ["s1", "s2"].map(SessionId::from);
        let error = || EventKind::Error { message: "overloaded".into(), retry: Some(1) };
        for (supplier, kind, expected) in [
            ("file", usage(1), true),
            ("telemetry", usage(1), false),
            // The file does not contain retries.
            ("telemetry", error(), true),
            ("file", error(), false),
            ("file", usage(2), true),
        ] {
            assert_eq!(suppliers.admits(&session, &kind, supplier), expected, "{supplier}");
        }
        assert!(suppliers.admits(&other, &usage(1), "telemetry"));
        assert!(!suppliers.admits(&SessionId::from("s1"), &usage(1), "telemetry"));
    }

    #[test]
    fn memory_is_bounded_and_keeps_recent_sessions() {
        let mut suppliers = Suppliers::default();
        let first = SessionId::from("first");
        for n in 0..3 * RecentMap::<u32>::CAPACITY {
            let session = SessionId::from(n.to_string());
            assert!(suppliers.admits(&session, &usage(1), "telemetry"));
            if n % 1000 == 0 {
                assert!(suppliers.admits(&first, &usage(1), "file"));
                assert!(!suppliers.admits(&first, &usage(1), "telemetry"));
            }
        }
        let largest = suppliers.usual.len().max(suppliers.counted.len());
        assert!(largest <= 2 * RecentMap::<u32>::CAPACITY);
    }

    fn call(id: &str) -> EventKind {
        EventKind::ToolCall(ToolCall::new(id, "Bash", Json::default()))
    }

    fn result(id: &str) -> EventKind {
        EventKind::ToolResult(ToolResult::new(id, true, None))
    }

    #[test]
    fn nobody_silences_the_preferred_supplier() {
        let mut suppliers = Suppliers::default();
        let session = SessionId::from("s1");
        assert!(suppliers.admits(&session, &call("other"), "telemetry"));
        for kind in [call("t1"), result("t1"), usage(1), call("t2")] {
            assert!(suppliers.admits_preferred(&session, &kind, "file"));
        }
        for kind in [call("t3"), usage(2)] {
            assert!(!suppliers.admits(&session, &kind, "telemetry"));
        }
    }

    #[test]
    fn a_part_that_is_taken_over_counts_once() {
        let mut suppliers = Suppliers::default();
        let session = SessionId::from("s1");
        for kind in [usage(5), usage(5), call("t1"), result("t1"), call("t2")] {
            assert!(suppliers.admits(&session, &kind, "telemetry"));
        }
        let streamed = |id: &str, output| {
            let tokens = Tokens { input: 5, output, ..Tokens::default() };
            let id = Some(id.into());
            EventKind::ModelCall(ModelCall { id, tokens, ..ModelCall::default() })
        };
        for (kind, expected) in [
            (call("t1"), false),
            (streamed("m1", 1), false),
            (streamed("m1", 40), false),
            (streamed("m2", 9), false),
            (result("t1"), false),
            (call("t2"), false),
            // Telemetry has not supplied these.
            (result("t2"), true),
            (call("t3"), true),
            (streamed("m3", 9), true),
            (streamed("m3", 10), true),
        ] {
            let is_admitted = suppliers.admits_preferred(&session, &kind, "file");
            assert_eq!(is_admitted, expected, "{kind:?}");
        }
        assert!(!suppliers.admits(&session, &usage(7), "telemetry"));
    }

    #[test]
    fn many_sessions_of_others_do_not_make_a_preferred_supplier_forgotten() {
        let mut suppliers = Suppliers::default();
        let session = SessionId::from("s1");
        assert!(suppliers.admits_preferred(&session, &usage(1), "file"));
        for n in 0..3 * RecentMap::<u32>::CAPACITY {
            assert!(suppliers.admits(&SessionId::from(n.to_string()), &usage(1), "telemetry"));
        }
        assert!(!suppliers.admits(&session, &usage(2), "telemetry"));
        assert!(suppliers.admits_preferred(&session, &usage(3), "file"));
    }

    proptest! {
        /// Whatever the order of two suppliers is, one of them supplies the usage of a session.
        #[test]
        fn the_usage_of_a_session_is_that_of_one_supplier(
            events in prop::collection::vec((0..3_usize, any::<bool>(), 1..100_u64), 0..60),
        ) {
            let sessions = ["s0", "s1", "s2"].map(SessionId::from);
            let mut suppliers = Suppliers::default();
            let mut admitted = BTreeMap::<usize, u64>::new();
            let mut supplied = BTreeMap::<(usize, &str), u64>::new();
            for (session, is_file, tokens) in events {
                let supplier = if is_file { "file" } else { "telemetry" };
                *supplied.entry((session, supplier)).or_default() += tokens;
                if suppliers.admits(&sessions[session], &usage(tokens), supplier) {
                    *admitted.entry(session).or_default() += tokens;
                }
            }
            for (session, tokens) in admitted {
                let of = |supplier| supplied.get(&(session, supplier)).copied();
                prop_assert!([of("file"), of("telemetry")].contains(&Some(tokens)));
            }
        }
    }
}

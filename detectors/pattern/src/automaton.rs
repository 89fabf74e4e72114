//! The automaton that matches events with a pattern.
//!
//! The pattern is a tree whose leaves are its positions, stored as a list with
//! children before parents. Each position stores the start of the latest run
//! that has reached it. The successors of a position are derived from the tree
//! for each event, so that a step takes time linear in the number of positions,
//! independent of the number of pairs that may follow each other.

/// A parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    /// An event that satisfies the symbol with this index.
    Symbol(u8),
    /// All parts in this order.
    Sequence(Vec<Tree>),
    /// One of the parts.
    Choice(Vec<Tree>),
    /// At least `min` and at most `max` repetitions.
    Repeat { inner: Box<Tree>, min: u32, max: Option<u32> },
}

impl Tree {
    /// Returns the number of positions after expanding counted repetitions.
    pub(crate) fn n_positions(&self) -> u64 {
        match self {
            Self::Symbol(_) => 1,
            Self::Sequence(parts) | Self::Choice(parts) => {
                parts.iter().fold(0, |sum, part| part.n_positions().saturating_add(sum))
            }
            Self::Repeat { inner, min, max } => {
                inner.n_positions().saturating_mul(u64::from(max.unwrap_or(*min).max(1)))
            }
        }
    }

    /// Returns true if the pattern matches without any event.
    pub(crate) fn is_nullable(&self) -> bool {
        match self {
            Self::Symbol(_) => false,
            Self::Sequence(parts) => parts.iter().all(Self::is_nullable),
            Self::Choice(parts) => parts.iter().any(Self::is_nullable),
            Self::Repeat { inner, min, .. } => *min == 0 || inner.is_nullable(),
        }
    }
}

/// A pattern as a list of nodes.
#[derive(Clone, Debug)]
pub(crate) struct Automaton {
    /// Children before parents; the last node is the whole pattern.
    nodes: Box<[Node]>,
    symbols: u64,
    first_symbols: u64,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    part: Part,
    /// True if the node may be repeated.
    repeats: bool,
    /// True if the node matches without any event.
    is_nullable: bool,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    /// A position.
    Symbol(u8),
    Sequence(u32, u32),
    Choice(u32, u32),
}

impl Automaton {
    /// Converts a tree, to fewer than twice as many nodes as positions.
    pub(crate) fn new(tree: &Tree) -> Self {
        let mut nodes = Vec::new();
        emit(tree, &mut nodes);
        let mut automaton = Self { nodes: nodes.into(), symbols: 0, first_symbols: 0 };
        let entered = automaton.enter(|_| 0, 1);
        for (node, entered) in automaton.nodes.iter().zip(entered) {
            if let Part::Symbol(symbol) = node.part {
                automaton.symbols |= 1 << symbol;
                automaton.first_symbols |= entered << symbol;
            }
        }
        automaton
    }

    /// Returns the number of nodes: fewer than twice the number of positions.
    pub(crate) fn n_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the symbols of the pattern, as bits.
    pub(crate) fn symbols(&self) -> u64 {
        self.symbols
    }

    /// Returns the symbols that may start a match, as bits.
    pub(crate) fn first_symbols(&self) -> u64 {
        self.first_symbols
    }

    /// Returns, for each node, the start of the latest run that may enter the
    /// node next. `ended` returns the start of the latest run that has ended in
    /// a node.
    fn enter(&self, ended: impl Fn(usize) -> u64, first: u64) -> Vec<u64> {
        let mut starts = vec![0; self.nodes.len()];
        starts[self.nodes.len() - 1] = first;
        for (idx, node) in self.nodes.iter().enumerate().rev() {
            let mut entered = starts[idx];
            if node.repeats {
                entered = entered.max(ended(idx));
                starts[idx] = entered;
            }
            match node.part {
                Part::Symbol(_) => {}
                Part::Sequence(left, right) => {
                    let skipped = if self.nodes[left as usize].is_nullable { entered } else { 0 };
                    starts[left as usize] = entered;
                    starts[right as usize] = ended(left as usize).max(skipped);
                }
                Part::Choice(left, right) => {
                    starts[left as usize] = entered;
                    starts[right as usize] = entered;
                }
            }
        }
        starts
    }
}

/// Adds the nodes of a tree. Returns the index of its root.
fn emit(tree: &Tree, nodes: &mut Vec<Node>) -> u32 {
    match tree {
        Tree::Symbol(symbol) => {
            push(Node { part: Part::Symbol(*symbol), repeats: false, is_nullable: false }, nodes)
        }
        Tree::Sequence(parts) => {
            let roots = parts.iter().map(|part| emit(part, nodes)).collect();
            in_sequence(roots, nodes)
        }
        Tree::Choice(parts) => {
            let roots: Vec<u32> = parts.iter().map(|part| emit(part, nodes)).collect();
            let mut roots = roots.into_iter();
            let first = roots.next().unwrap_or_default();
            roots.fold(first, |left, right| {
                let is_nullable =
                    nodes[left as usize].is_nullable || nodes[right as usize].is_nullable;
                push(Node { part: Part::Choice(left, right), repeats: false, is_nullable }, nodes)
            })
        }
        Tree::Repeat { inner, min, max } => {
            let n_copies = max.unwrap_or(*min).max(1);
            let mut roots: Vec<u32> = (0..n_copies).map(|_| emit(inner, nodes)).collect();
            if max.is_none()
                && let Some(last) = roots.last()
            {
                nodes[*last as usize].repeats = true;
            }
            // `a{1,3}` is `a (a (a)?)?`: a copy is omitted only together with
            // all later copies.
            while (*min as usize) < roots.len() {
                let Some(last) = roots.pop() else { break };
                nodes[last as usize].is_nullable = true;
                let Some(before) = roots.pop() else { return last };
                roots.push(in_sequence(vec![before, last], nodes));
            }
            in_sequence(roots, nodes)
        }
    }
}

fn in_sequence(roots: Vec<u32>, nodes: &mut Vec<Node>) -> u32 {
    let mut roots = roots.into_iter().rev();
    let last = roots.next().unwrap_or_default();
    roots.fold(last, |right, left| {
        let is_nullable = nodes[left as usize].is_nullable && nodes[right as usize].is_nullable;
        push(Node { part: Part::Sequence(left, right), repeats: false, is_nullable }, nodes)
    })
}

#[expect(clippy::cast_possible_truncation, reason = "an automaton has few positions")]
fn push(node: Node, nodes: &mut Vec<Node>) -> u32 {
    nodes.push(node);
    nodes.len() as u32 - 1
}

/// The unfinished runs of one stream.
///
/// A run is identified by the number of its first event. Of several runs at
/// the same position only the latest is kept, because it expires last.
#[derive(Clone, Debug)]
pub(crate) struct Runs {
    /// For each node, the start of the latest run that ended in the node with
    /// the current event; 0 if there is none.
    ended: Box<[u64]>,
}

impl Runs {
    /// Returns an empty set of runs.
    pub(crate) fn new(automaton: &Automaton) -> Self {
        Self { ended: vec![0; automaton.nodes.len()].into() }
    }

    /// Adds an event that satisfies `symbols`. If `first` is not 0, a run with
    /// that number starts. Runs that started before `oldest` are dropped.
    /// Returns the start of the latest run that is complete.
    pub(crate) fn step(
        &mut self,
        automaton: &Automaton,
        symbols: u64,
        first: u64,
        oldest: u64,
    ) -> Option<u64> {
        let entered = {
            let ended = |idx: usize| match self.ended[idx] {
                start if start < oldest => 0,
                start => start,
            };
            automaton.enter(ended, first)
        };
        for (idx, node) in automaton.nodes.iter().enumerate() {
            self.ended[idx] = match node.part {
                Part::Symbol(symbol) if symbols >> symbol & 1 == 1 => entered[idx],
                Part::Symbol(_) => 0,
                Part::Sequence(left, right) => {
                    let right_is_nullable = automaton.nodes[right as usize].is_nullable;
                    let left = if right_is_nullable { self.ended[left as usize] } else { 0 };
                    self.ended[right as usize].max(left)
                }
                Part::Choice(left, right) => {
                    self.ended[left as usize].max(self.ended[right as usize])
                }
            };
        }
        self.ended.last().copied().filter(|it| *it != 0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ended.iter().all(|it| *it == 0)
    }

    /// Returns the starts of all unfinished runs, sorted.
    pub(crate) fn starts(&self) -> Vec<u64> {
        let mut starts: Vec<u64> = self.ended.iter().copied().filter(|start| *start != 0).collect();
        starts.sort_unstable();
        starts.dedup();
        starts
    }
}

//! Which stretches of events fit a pattern.
//!
//! The pattern is kept as a tree whose leaves are its positions, written out
//! flat, children before parents. A position remembers the latest event at
//! which a run that has just come to it began; what follows what is read off
//! the tree anew for each event, so that a step takes time linear in the
//! positions, however many pairs of them may follow each other.

/// A pattern, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    /// An event that satisfies the symbol of this index.
    Symbol(u8),
    /// One after the other.
    Sequence(Vec<Tree>),
    /// One of them.
    Choice(Vec<Tree>),
    /// The same again, so many times; without a `max`, any number of them.
    Repeat { inner: Box<Tree>, min: u32, max: Option<u32> },
}

impl Tree {
    /// How many positions it has once counted repetitions are written out.
    pub(crate) fn n_positions(&self) -> u64 {
        match self {
            Self::Symbol(_) => 1,
            Self::Sequence(parts) | Self::Choice(parts) => {
                parts.iter().fold(0, |sum, it| it.n_positions().saturating_add(sum))
            }
            Self::Repeat { inner, min, max } => {
                inner.n_positions().saturating_mul(u64::from(max.unwrap_or(*min).max(1)))
            }
        }
    }

    /// Whether no events at all fit it.
    pub(crate) fn is_nullable(&self) -> bool {
        match self {
            Self::Symbol(_) => false,
            Self::Sequence(parts) => parts.iter().all(Self::is_nullable),
            Self::Choice(parts) => parts.iter().any(Self::is_nullable),
            Self::Repeat { inner, min, .. } => *min == 0 || inner.is_nullable(),
        }
    }
}

/// A pattern, written out flat.
#[derive(Clone, Debug)]
pub(crate) struct Automaton {
    /// Children before parents; the last is the whole.
    nodes: Box<[Node]>,
    symbols: u64,
    first_symbols: u64,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    part: Part,
    /// What fits it may come again at once.
    repeats: bool,
    /// No events at all fit it.
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
    /// Writes a tree out; it takes twice as many nodes as there are positions.
    pub(crate) fn new(tree: &Tree) -> Self {
        let mut nodes = Vec::new();
        emit(tree, &mut nodes);
        let mut res = Self { nodes: nodes.into(), symbols: 0, first_symbols: 0 };
        let entered = res.enter(|_| 0, 1);
        for (node, entered) in res.nodes.iter().zip(entered) {
            if let Part::Symbol(symbol) = node.part {
                res.symbols |= 1 << symbol;
                res.first_symbols |= entered << symbol;
            }
        }
        res
    }

    /// How many nodes it has: fewer than twice its positions.
    pub(crate) fn n_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The symbols that occur in it, as bits.
    pub(crate) fn symbols(&self) -> u64 {
        self.symbols
    }

    /// The symbols that what fits it may begin with, as bits.
    pub(crate) fn first_symbols(&self) -> u64 {
        self.first_symbols
    }

    /// For each node, the latest beginning of a run that may come to it next.
    fn enter(&self, ended: impl Fn(usize) -> u64, first: u64) -> Vec<u64> {
        let mut res = vec![0; self.nodes.len()];
        res[self.nodes.len() - 1] = first;
        for (idx, node) in self.nodes.iter().enumerate().rev() {
            let mut entered = res[idx];
            if node.repeats {
                entered = entered.max(ended(idx));
                res[idx] = entered;
            }
            match node.part {
                Part::Symbol(_) => {}
                Part::Sequence(left, right) => {
                    let skips = self.nodes[left as usize].is_nullable;
                    res[left as usize] = entered;
                    res[right as usize] = ended(left as usize).max(if skips { entered } else { 0 });
                }
                Part::Choice(left, right) => {
                    res[left as usize] = entered;
                    res[right as usize] = entered;
                }
            }
        }
        res
    }
}

/// Adds the nodes of a tree. Gives back the index of its root.
fn emit(tree: &Tree, nodes: &mut Vec<Node>) -> u32 {
    match tree {
        Tree::Symbol(symbol) => {
            push(Node { part: Part::Symbol(*symbol), repeats: false, is_nullable: false }, nodes)
        }
        Tree::Sequence(parts) => {
            let roots = parts.iter().map(|it| emit(it, nodes)).collect();
            in_sequence(roots, nodes)
        }
        Tree::Choice(parts) => {
            let roots: Vec<u32> = parts.iter().map(|it| emit(it, nodes)).collect();
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
            // `a{1,3}` is `a (a (a)?)?`: so each copy is left out only with
            // those after it.
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

/// How far the runs of one stream have come.
///
/// A run is known by the number of the event it began at; of runs that have
/// come to the same position only the latest is kept, which is the last that
/// is too old.
#[derive(Clone, Debug)]
pub(crate) struct Runs {
    /// For each node, the latest beginning of a run that has just come to its
    /// end; 0 where there is none.
    ended: Box<[u64]>,
}

impl Runs {
    /// No run.
    pub(crate) fn new(automaton: &Automaton) -> Self {
        Self { ended: vec![0; automaton.nodes.len()].into() }
    }

    /// Takes in an event that satisfies `symbols`. A run begins with it if
    /// `first` is a number and not 0; runs that began before `oldest` are
    /// forgotten. Gives back the latest beginning of those that are complete.
    pub(crate) fn step(
        &mut self,
        automaton: &Automaton,
        symbols: u64,
        first: u64,
        oldest: u64,
    ) -> Option<u64> {
        let entered = {
            let ended = |idx: usize| match self.ended[idx] {
                it if it < oldest => 0,
                it => it,
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

    /// Whether none of them can go on.
    pub(crate) fn is_empty(&self) -> bool {
        self.ended.iter().all(|it| *it == 0)
    }

    /// The beginnings of those that can go on.
    pub(crate) fn beginnings(&self) -> Vec<u64> {
        let mut res: Vec<u64> = self.ended.iter().copied().filter(|it| *it != 0).collect();
        res.sort_unstable();
        res.dedup();
        res
    }
}

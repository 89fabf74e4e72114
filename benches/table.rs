//! What was measured, as a table for people.

use std::fmt;

/// One thing that was measured.
pub(crate) struct Row {
    name: String,
    figure: Figure,
    ratio: Option<f64>,
    goal: Option<Goal>,
    beside: String,
}

#[derive(Clone, Copy)]
pub(crate) enum Figure {
    Bytes(f64),
    Nanos(f64),
    Seconds(f64),
    Unmeasured,
}

/// What is to be no more than so much.
#[derive(Clone, Copy)]
enum Goal {
    Ratio(f64),
    Figure(f64),
}

impl Row {
    pub(crate) fn new(name: impl Into<String>, figure: Figure) -> Self {
        Self { name: name.into(), figure, ratio: None, goal: None, beside: String::new() }
    }

    /// A row that says why there is no figure.
    pub(crate) fn unmeasured(name: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::new(name, Figure::Unmeasured).beside(format!("not measured here: {why}"))
    }

    pub(crate) fn at_most(self, goal: f64) -> Self {
        Self { goal: Some(Goal::Figure(goal)), ..self }
    }

    pub(crate) fn times(self, ratio: f64) -> Self {
        Self { ratio: Some(ratio), ..self }
    }

    pub(crate) fn at_most_times(self, goal: f64) -> Self {
        Self { goal: Some(Goal::Ratio(goal)), ..self }
    }

    /// What it is compared to, or what it is made of.
    pub(crate) fn beside(self, text: impl Into<String>) -> Self {
        Self { beside: text.into(), ..self }
    }

    /// Whether its goal is met; `None` if it has none or was not measured.
    pub(crate) fn is_met(&self) -> Option<bool> {
        match self.goal? {
            Goal::Ratio(goal) => Some(self.ratio? <= goal),
            Goal::Figure(goal) => Some(self.figure.value()? <= goal),
        }
    }

    fn cells(&self) -> [String; 6] {
        let goal = match self.goal {
            None => String::new(),
            Some(Goal::Ratio(goal)) => format!("<= {goal}x"),
            Some(Goal::Figure(goal)) => format!("<= {}", self.figure.with(goal)),
        };
        let met = match self.is_met() {
            None => "",
            Some(true) => "yes",
            Some(false) => "NO",
        };
        [
            self.name.clone(),
            self.figure.to_string(),
            self.ratio.map_or(String::new(), |it| format!("{it:.2}x")),
            goal,
            met.to_owned(),
            self.beside.clone(),
        ]
    }
}

impl Figure {
    fn value(self) -> Option<f64> {
        match self {
            Self::Bytes(it) | Self::Nanos(it) | Self::Seconds(it) => Some(it),
            Self::Unmeasured => None,
        }
    }

    /// Another value of the same unit.
    fn with(self, value: f64) -> Self {
        match self {
            Self::Bytes(_) => Self::Bytes(value),
            Self::Nanos(_) => Self::Nanos(value),
            Self::Seconds(_) => Self::Seconds(value),
            Self::Unmeasured => Self::Unmeasured,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(it) => write!(f, "{} B", grouped(*it)),
            Self::Nanos(it) if *it < 10.0 => write!(f, "{it:.1} ns"),
            Self::Nanos(it) => write!(f, "{} ns", grouped(*it)),
            Self::Seconds(it) => write!(f, "{it:.3} s"),
            Self::Unmeasured => write!(f, "-"),
        }
    }
}

/// A number with its thousands set apart.
pub(crate) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut res = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if 0 < place && (digits.len() - place).is_multiple_of(3) && !res.ends_with('-') {
            res.push(',');
        }
        res.push(digit);
    }
    res
}

/// Sets rows in columns.
pub(crate) fn render(rows: &[Row]) -> String {
    let head = ["name", "figure", "ratio", "goal", "met", "beside"].map(str::to_owned);
    let mut lines = vec![head];
    lines.extend(rows.iter().map(Row::cells));
    let widths: Vec<usize> = (0..6)
        .map(|column| lines.iter().map(|it| it[column].chars().count()).max().unwrap_or_default())
        .collect();
    let mut res = String::new();
    for [name, figure, ratio, goal, met, beside] in lines {
        let [name_width, figure_width, ratio_width, goal_width, met_width, _] = widths[..] else {
            continue;
        };
        let line = format!(
            "{name:name_width$}  {figure:>figure_width$}  {ratio:>ratio_width$}  \
             {goal:>goal_width$}  {met:met_width$}  {beside}"
        );
        res.push_str(line.trim_end());
        res.push('\n');
    }
    res
}

use std::fmt::Write as _;

/// Width of the terminal, in columns.
const COLUMNS: usize = 110;
/// Indentation of wrapped lines, in columns.
const INDENT: usize = 4;
/// Font size, width of a column and height of a line, in pixels.
const FONT_SIZE: usize = 14;
const COLUMN_WIDTH: f64 = 8.43;
const LINE_HEIGHT: usize = 21;
/// Padding around the text, and height of the title bar, in pixels.
const PADDING: usize = 18;
const TITLE_BAR: usize = 38;

/// Text with one style.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    style: SpanStyle,
    text: String,
}

/// Style of a span, as set by SGR codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SpanStyle {
    bold: bool,
    dim: bool,
    /// CSS class of the color.
    color: Option<&'static str>,
}

/// Draws terminal output with SGR codes as an SVG picture of a terminal window.
///
/// The picture contains its own colors for light and dark color schemes, and refers
/// to no other resource.
pub(crate) fn terminal_svg(title: &str, text: &str) -> String {
    let lines: Vec<Vec<Span>> = text.lines().flat_map(|line| wrap(parse_line(line))).collect();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the width is a small positive number"
    )]
    let width = (COLUMNS as f64 * COLUMN_WIDTH).ceil() as usize + 2 * PADDING;
    let height = TITLE_BAR + lines.len() * LINE_HEIGHT + 2 * PADDING - (LINE_HEIGHT - FONT_SIZE);
    let (title, middle) = (escape(title), width / 2);
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" aria-labelledby="title">
<title id="title">{title}</title>
<style>
  .window {{ fill: #1b1f27; stroke: #3a404c }}
  .bar {{ fill: #272c36 }}
  text {{ font: {FONT_SIZE}px ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; fill: #d7dce5; white-space: pre }}
  .title {{ fill: #9aa3b2; text-anchor: middle }}
  .bold {{ font-weight: 600 }}
  .dim {{ fill: #8b94a3 }}
  .red {{ fill: #ff7b72 }}
  .green {{ fill: #7ee787 }}
  .yellow {{ fill: #e3b341 }}
  .cyan {{ fill: #56d4dd }}
  @media (prefers-color-scheme: light) {{
    .window {{ fill: #ffffff; stroke: #d0d7de }}
    .bar {{ fill: #f0f2f5 }}
    text {{ fill: #1f2328 }}
    .title {{ fill: #57606a }}
    .dim {{ fill: #656d76 }}
    .red {{ fill: #c21c2c }}
    .green {{ fill: #1a7f37 }}
    .yellow {{ fill: #8a5a00 }}
    .cyan {{ fill: #0b6b76 }}
  }}
</style>
<clipPath id="corners"><rect width="{width}" height="{height}" rx="9"/></clipPath>
<g clip-path="url(#corners)">
<rect class="window" width="{width}" height="{height}"/>
<rect class="bar" width="{width}" height="{TITLE_BAR}"/>
</g>
<rect class="window" x="0.5" y="0.5" width="{inner_width}" height="{inner_height}" rx="9" style="fill: none"/>
<circle cx="22" cy="19" r="6" fill="#ff5f57"/>
<circle cx="42" cy="19" r="6" fill="#febc2e"/>
<circle cx="62" cy="19" r="6" fill="#28c840"/>
<text class="title" x="{middle}" y="24">{title}</text>
"##,
        inner_width = width - 1,
        inner_height = height - 1,
    );
    for (idx, line) in lines.iter().enumerate() {
        let y = TITLE_BAR + PADDING + FONT_SIZE - 3 + idx * LINE_HEIGHT;
        // Writing to a string cannot fail.
        let _ = write!(svg, r#"<text x="{PADDING}" y="{y}" xml:space="preserve">"#);
        for Span { style, text } in line {
            let text = escape(text);
            let _ = match style.classes() {
                classes if classes.is_empty() => write!(svg, "{text}"),
                classes => write!(svg, r#"<tspan class="{classes}">{text}</tspan>"#),
            };
        }
        svg.push_str("</text>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

impl SpanStyle {
    fn classes(self) -> String {
        let classes = [self.bold.then_some("bold"), self.dim.then_some("dim"), self.color];
        classes.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// Applies the SGR codes of one escape sequence. Other codes are ignored.
    fn apply(&mut self, codes: &str) {
        for code in codes.split(';') {
            match code {
                "" | "0" => *self = Self::default(),
                "1" => self.bold = true,
                "2" => self.dim = true,
                "31" | "91" => self.color = Some("red"),
                "32" | "92" => self.color = Some("green"),
                "33" | "93" => self.color = Some("yellow"),
                "36" | "96" => self.color = Some("cyan"),
                "39" => self.color = None,
                _ => {}
            }
        }
    }
}

/// Splits a line into spans at its SGR codes.
fn parse_line(line: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut style = SpanStyle::default();
    for (idx, part) in line.split("\u{1b}[").enumerate() {
        let text = match part.split_once('m') {
            Some((codes, text)) if 0 < idx => {
                style.apply(codes);
                text
            }
            _ => part,
        };
        if !text.is_empty() {
            spans.push(Span { style, text: text.to_owned() });
        }
    }
    spans
}

/// Breaks a line at spaces so that it fits the terminal.
fn wrap(spans: Vec<Span>) -> Vec<Vec<Span>> {
    let mut lines = vec![Vec::new()];
    let mut column = 0;
    for Span { style, text } in spans {
        // An arrow stays on the line of the location after it.
        let text = text.replace("--> ", "-->\u{a0}");
        for word in text.split_inclusive(' ') {
            let width = word.trim_end().chars().count();
            if COLUMNS < column + width && INDENT < column {
                let indent = Span { style: SpanStyle::default(), text: " ".repeat(INDENT) };
                lines.push(vec![indent]);
                column = INDENT;
            }
            column += word.chars().count();
            let Some(line) = lines.last_mut() else { continue };
            match line.last_mut() {
                Some(last) if last.style == style => last.text.push_str(word),
                _ => line.push(Span { style, text: word.to_owned() }),
            }
        }
    }
    lines
}

/// Escapes text for XML, and replaces characters that XML does not allow.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::{COLUMNS, Span, SpanStyle, parse_line, terminal_svg, wrap};

    #[test]
    fn parses_styles() {
        let spans = parse_line("a \u{1b}[1;31mred\u{1b}[0m \u{1b}[2mdim\u{1b}[0m");
        let shown: Vec<_> =
            spans.iter().map(|span| (span.style.classes(), span.text.as_str())).collect();
        let classes = ["", "bold red", "", "dim"].map(str::to_owned);
        let texts = ["a ", "red", " ", "dim"];
        assert_eq!(shown, classes.into_iter().zip(texts).collect::<Vec<_>>());
    }

    #[test]
    fn wraps_long_lines_at_spaces() {
        let style = SpanStyle::default();
        let lines = wrap(vec![Span { style, text: "word ".repeat(60) }]);
        assert_eq!(lines.len(), 3);
        for line in lines {
            let text: String = line.iter().map(|span| span.text.as_str()).collect();
            assert!(text.trim_end().chars().count() <= COLUMNS, "{text:?}");
        }
    }

    #[test]
    fn escapes_markup_and_control_characters() {
        let svg = terminal_svg("<t>", "a & <script>\u{7}");
        assert!(
            svg.contains("&lt;t&gt;") && svg.contains("a &amp; &lt;script&gt;\u{fffd}"),
            "{svg}"
        );
    }
}

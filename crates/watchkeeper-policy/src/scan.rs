//! Counts the keys, values and mistakes of a TOML text before it is parsed.
//!
//! The parser keeps a value for each key and a message for each mistake, which takes much longer
//! than counting them.

use std::borrow::Cow;

use toml_parser::{
    ErrorSink, ParseError, Raw, Source, Span,
    decoder::Encoding,
    parser::{Event, EventKind, EventReceiver, RecursionGuard, ValidateWhitespace, parse_document},
};

/// The largest number of mistakes that the parser gets to see. Many of them can be in one line,
/// of which only the first one is reported.
const MAX_MISTAKES: usize = 500;
/// The nesting at which the parser stops.
const MAX_DEPTH: u32 = 80;

/// The size of a TOML text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scan {
    /// The number of keys and values, including those in lists.
    pub(crate) n_values: usize,
    /// Whether the text has mistakes that can be seen without comparing keys.
    pub(crate) has_mistakes: bool,
    /// The end of the values that precede the first header, in bytes.
    pub(crate) start_len: usize,
    /// The end of the part to parse, in bytes. The text after it follows many mistakes.
    pub(crate) end: usize,
}

impl Scan {
    pub(crate) fn new(text: &str) -> Self {
        let source = Source::new(text);
        let tokens = source.lex().into_vec();
        let mut counter = Counter { source, n_values: 0, start_len: 0, has_header: false };
        let mut mistakes = Mistakes { n: 0, end: text.len() };
        let mut validated = ValidateWhitespace::new(&mut counter, source);
        let mut guarded = RecursionGuard::new(&mut validated, MAX_DEPTH);
        parse_document(&tokens, &mut guarded, &mut mistakes);
        let Counter { n_values, start_len, .. } = counter;
        Self {
            n_values,
            has_mistakes: 0 < mistakes.n,
            start_len,
            end: (0..=mistakes.end).rfind(|at| text.is_char_boundary(*at)).unwrap_or(0),
        }
    }
}

struct Counter<'i> {
    source: Source<'i>,
    n_values: usize,
    start_len: usize,
    has_header: bool,
}

impl EventReceiver for Counter<'_> {
    fn std_table_open(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.has_header = true;
    }

    fn array_table_open(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.has_header = true;
    }

    fn inline_table_open(&mut self, _: Span, _: &mut dyn ErrorSink) -> bool {
        self.n_values += 1;
        true
    }

    fn inline_table_close(&mut self, span: Span, _: &mut dyn ErrorSink) {
        self.end_value(span);
    }

    fn array_open(&mut self, _: Span, _: &mut dyn ErrorSink) -> bool {
        self.n_values += 1;
        true
    }

    fn array_close(&mut self, span: Span, _: &mut dyn ErrorSink) {
        self.end_value(span);
    }

    fn simple_key(&mut self, span: Span, encoding: Option<Encoding>, mistakes: &mut dyn ErrorSink) {
        self.n_values += 1;
        if let Some(raw) = self.raw(span, encoding) {
            raw.decode_key(&mut Cow::Borrowed(""), mistakes);
        }
    }

    fn scalar(&mut self, span: Span, encoding: Option<Encoding>, mistakes: &mut dyn ErrorSink) {
        self.n_values += 1;
        self.end_value(span);
        if let Some(raw) = self.raw(span, encoding) {
            let _ = raw.decode_scalar(&mut Cow::Borrowed(""), mistakes);
        }
    }
}

impl<'i> Counter<'i> {
    fn end_value(&mut self, span: Span) {
        if !self.has_header {
            self.start_len = span.end();
        }
    }

    /// Returns the text of a key or a value, which has mistakes of its own: a string can have one
    /// in each of its characters.
    fn raw(&self, span: Span, encoding: Option<Encoding>) -> Option<Raw<'i>> {
        self.source.get(Event::new_unchecked(EventKind::Scalar, encoding, span))
    }
}

struct Mistakes {
    n: usize,
    end: usize,
}

impl ErrorSink for Mistakes {
    fn report_error(&mut self, mistake: ParseError) {
        self.n += 1;
        if self.n == MAX_MISTAKES {
            self.end = mistake.unexpected().map_or(self.end, |span| span.end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_MISTAKES, Scan};

    #[test]
    fn counts_keys_and_values() {
        let n_values = |text| Scan::new(text).n_values;
        assert_eq!(n_values("a = 1"), 2);
        assert_eq!(n_values("a.b = 'x' # c = 2"), 3);
        assert_eq!(n_values("a = [1, 'b = 2', { c = 3 }]"), 7);
        assert_eq!(n_values("[a.b]\n[[c]]\nd = '''\ne = 1'''"), 5);
    }

    #[test]
    fn the_start_of_a_file_ends_before_its_first_header() {
        let start = |text| &text[..Scan::new(text).start_len];
        assert_eq!(start("a = '[b]'\n\n# c\n[c]\nd = 1"), "a = '[b]'");
        assert_eq!(start("a = [\n[1]]\n"), "a = [\n[1]]");
        assert_eq!(start("a = 1\nb = { c = 2 } # d\n[[e]]"), "a = 1\nb = { c = 2 }");
        assert_eq!(start("[a]\nb = 1"), "");
    }

    #[test]
    fn a_text_is_cut_after_many_mistakes() {
        let ends = |text: &str| Scan::new(text).end < text.len();
        for mistake in ["=", "a = \n", "a = b\n", "\r", "é\n", "#\u{1}\n"] {
            let text = mistake.repeat(2 * MAX_MISTAKES);
            assert!(ends(&text), "{mistake:?}");
            assert!(Scan::new(&text).has_mistakes, "{mistake:?}");
            assert!(!ends(mistake), "{mistake:?}");
        }
        assert!(ends(&format!("a = \"{}\"", "\\q".repeat(2 * MAX_MISTAKES))));
        let valid = "a = 1\n".repeat(2 * MAX_MISTAKES);
        assert!(!ends(&valid) && !Scan::new(&valid).has_mistakes);
    }
}

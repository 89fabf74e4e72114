//! The reader of agents that store a session as one document, or several in sequence.

use watchkeeper_core::{Source, author::EventSink};

use crate::{
    document::{Document, Part, Wanted},
    json::Malformed,
};

/// A document, and what its parts are read into: a conversation, or the state of a source.
#[derive(Debug)]
pub(crate) struct DocumentReader<S> {
    document: Document,
    pub(crate) state: S,
    read: ReadPart<S>,
}

/// Reads a part of a document. An error is the reason why the part is skipped.
type ReadPart<S> = fn(&Part<'_>, &mut S, &mut EventSink<'_>) -> Result<(), Malformed>;

impl<S> DocumentReader<S> {
    pub(crate) fn new(wanted: &'static Wanted, state: S, read: ReadPart<S>) -> Self {
        Self { document: Document::new(wanted), state, read }
    }
}

impl<S: Send> Source for DocumentReader<S> {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        let Self { document, state, read } = self;
        document.read_line(line, sink, |part, sink| read(part, state, sink));
    }

    fn finish(&mut self, sink: &mut EventSink<'_>) {
        self.document.end(sink);
    }
}

/// Implements [`Source`] for a type whose only field is a [`DocumentReader`].
macro_rules! source_of_documents {
    ($source:ty) => {
        impl watchkeeper_core::Source for $source {
            fn read_line(
                &mut self,
                line: &[u8],
                sink: &mut watchkeeper_core::author::EventSink<'_>,
            ) {
                self.0.read_line(line, sink);
            }

            fn finish(&mut self, sink: &mut watchkeeper_core::author::EventSink<'_>) {
                self.0.finish(sink);
            }
        }
    };
}

pub(crate) use source_of_documents;

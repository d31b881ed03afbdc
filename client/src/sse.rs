//! Server-sent events, from bytes as they come: lines may be cut anywhere, and end in LF, CR or CRLF.
//! See <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>.

/// The largest event that is accepted, in bytes; more is taken for a broken or hostile server.
const MAX_BYTES: usize = 16 << 20;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// Its type; `message` if the server named none.
    pub(crate) event: String,
    /// Its data, lines joined by LF.
    pub(crate) data: String,
}

/// A line or an event was larger than [`MAX_BYTES`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// What is known between two chunks.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    after_cr: bool,
    begun: bool,
    event: String,
    data: String,
    id: Option<String>,
    last_id: Option<String>,
}

impl Parser {
    /// The id to resume after: that of the last whole event that came.
    pub(crate) fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// Forgets what was cut off; keeps the id.
    pub(crate) fn restart(&mut self) {
        *self = Self { id: self.last_id.clone(), last_id: self.last_id.take(), ..Self::default() };
    }

    /// Takes bytes; adds each event that they complete.
    pub(crate) fn feed(&mut self, bytes: &[u8], out: &mut impl Extend<Message>) -> Result<(), TooLarge> {
        for &byte in bytes {
            let ends_crlf = std::mem::replace(&mut self.after_cr, byte == b'\r') && byte == b'\n';
            match byte {
                b'\n' if ends_crlf => {}
                b'\n' | b'\r' => out.extend(self.end_line()),
                _ => self.line.push(byte),
            }
            if self.line.len() + self.data.len() > MAX_BYTES {
                return Err(TooLarge);
            }
        }
        Ok(())
    }

    fn end_line(&mut self) -> Option<Message> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = if std::mem::replace(&mut self.begun, true) { &line } else { line.trim_start_matches('\u{feff}') };
        if line.is_empty() {
            return self.end_event();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            // A comment has no field name; `retry` and unknown fields do not concern us.
            _ => {}
        }
        None
    }

    fn end_event(&mut self) -> Option<Message> {
        self.last_id.clone_from(&self.id);
        let event = std::mem::take(&mut self.event);
        let mut data = std::mem::take(&mut self.data);
        data.pop()?;
        Some(Message { event: if event.is_empty() { "message".to_owned() } else { event }, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "\u{feff}: hello\r\nevent: task-started\r\nid: 7\r\ndata: {\"a\":\r\ndata: \"\u{fc}\"}\r\n\r\n\
                          data\n\nid:8\ndata:x: y\n\n:\nevent: lost\n\nretry: 5\rdata: cr\r\rdata: never ended\nid: 9\n";

    fn expected() -> Vec<Message> {
        [("task-started", "{\"a\":\n\"\u{fc}\"}"), ("message", ""), ("message", "x: y"), ("message", "cr")]
            .map(|(event, data)| Message { event: event.to_owned(), data: data.to_owned() })
            .to_vec()
    }

    #[test]
    fn every_way_to_cut_the_stream_gives_the_same_events() {
        let bytes = STREAM.as_bytes();
        for size in 1..=bytes.len() {
            let (mut parser, mut out) = (Parser::default(), Vec::new());
            for chunk in bytes.chunks(size) {
                parser.feed(chunk, &mut out).unwrap();
            }
            assert_eq!(out, expected(), "chunks of {size}");
            assert_eq!(parser.last_id(), Some("8"), "an event that was not ended has no id yet");
        }
    }

    #[test]
    fn a_cut_event_is_dropped_and_the_id_kept() {
        let (mut parser, mut out) = (Parser::default(), Vec::new());
        parser.feed(b"id: 1\ndata: a\n\nid: 2\ndata: b\n", &mut out).unwrap();
        parser.restart();
        assert_eq!(parser.last_id(), Some("1"));
        parser.feed(b"\ndata: c\n\n", &mut out).unwrap();
        assert_eq!(out.iter().map(|m| m.data.as_str()).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(parser.last_id(), Some("1"));
    }

    #[test]
    fn an_endless_line_is_an_error() {
        let (mut parser, mut out) = (Parser::default(), Vec::new());
        assert_eq!(parser.feed(&vec![b'x'; MAX_BYTES + 1], &mut out), Err(TooLarge));
    }
}

//! Where the lines go: standard output for events, standard error for everything else.

use std::io::{self, Write};

use anstream::AutoStream;
use jiff::tz::TimeZone;

use super::{subscriber::Received, tally::Tally, view::View};

/// What is written of each message.
#[derive(Clone, Debug)]
pub enum Form {
    /// One readable line.
    Lines(View),
    /// The event itself, one a line, and nothing that is no event.
    Json,
}

/// Writes messages down and counts them.
#[derive(Debug)]
pub struct Screen<W: Write> {
    out: W,
    form: Form,
    tally: Tally,
}

impl Form {
    /// Lines for the terminal on standard output, or for a file when there is none.
    pub fn lines() -> Self {
        let width = console::Term::stdout().size_checked().map(|(_, columns)| columns.into());
        Self::Lines(View::new(TimeZone::system(), width))
    }
}

impl Screen<AutoStream<io::Stdout>> {
    /// Writes to standard output: in colour on a terminal, unless `NO_COLOR` or the like asks for
    /// none; plainly elsewhere.
    pub fn stdout(form: Form) -> Self {
        Self::new(anstream::stdout(), form)
    }
}

impl<W: Write> Screen<W> {
    /// Writes to `out`, which takes care of styles.
    pub fn new(out: W, form: Form) -> Self {
        Self { out, form, tally: Tally::default() }
    }

    /// Writes one message, if there is something to write of it.
    pub fn show(&mut self, received: &Received) -> io::Result<()> {
        self.tally.count(received);
        match &self.form {
            Form::Lines(view) => match view.line(received) {
                Some(line) => writeln!(self.out, "{line}")?,
                None => return Ok(()),
            },
            Form::Json if received.is_event() => {
                self.out.write_all(&one_line(&received.payload))?;
                self.out.write_all(b"\n")?;
            }
            Form::Json => return Ok(()),
        }
        self.out.flush()
    }

    /// What was received so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }
}

/// An event as it was received; on one line, should its publisher have used several. What is no
/// JSON is shown as a JSON string, so that a script can tell.
fn one_line(payload: &[u8]) -> Vec<u8> {
    match serde_json::from_slice::<serde_json::Value>(payload) {
        Ok(_) if !payload.iter().any(|octet| matches!(octet, b'\n' | b'\r')) => payload.to_vec(),
        Ok(event) => event.to_string().into_bytes(),
        Err(_) => {
            serde_json::Value::from(String::from_utf8_lossy(payload)).to_string().into_bytes()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(topic: &str, payload: &str) -> Received {
        Received {
            topic: format!("beacon/v1/t/s/g/{topic}"),
            payload: payload.into(),
            retain: false,
        }
    }

    #[test]
    fn with_json_there_is_one_event_a_line_as_received_and_nothing_else() {
        let mut screen = Screen::new(Vec::new(), Form::Json);
        let event = r#"{"specversion":"1.0", "id":"a", "data":{"z":1,"a":2}}"#;
        screen.show(&received("state", r#"{"online":true}"#)).unwrap();
        screen.show(&received("event/zone/entered", event)).unwrap();
        screen.show(&received("event/zone/exited", "{\n \"id\": \"b\"\n}\n")).unwrap();
        screen.show(&received("event/zone/exited", "oops")).unwrap();
        let written = String::from_utf8(screen.out).unwrap();
        assert_eq!(written, format!("{event}\n{{\"id\":\"b\"}}\n\"oops\"\n"));
        assert_eq!(screen.tally.total(), 3);
    }
}

//! Reading a history: each line by itself, and what it has to do with the lines before it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;

use detcd_core::api::Response;
use detcd_sim::history::{ClientId, HistoryEvent, Nanos, OpId, Outcome, WatcherId};

use super::line;
use super::messages::{call_of_request, call_of_response};
use super::{BadLine, Header, Line, What};

/// Reads a history, line by line.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    header: Header,
    /// How many lines were read.
    lines: u64,
    text: String,
    order: Order,
}

impl<R: BufRead> Reader<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// It is not that of a history.
    pub fn begin(mut from: R) -> Result<Reader<R>, BadLine> {
        let mut text = String::new();
        let bad = |what: String| BadLine { line: 1, what };
        from.read_line(&mut text).map_err(|error| bad(error.to_string()))?;
        let value = serde_json::from_str(&text).map_err(|error| bad(no_json(&error)))?;
        let header = line::header_from_json(&value).map_err(|wrong| bad(wrong.to_string()))?;
        Ok(Reader { from, header, lines: 1, text, order: Order::default() })
    }

    /// What the first line said.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How many lines were read so far.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    fn take(&mut self) -> Result<Option<Line>, String> {
        loop {
            self.text.clear();
            let length = self.from.read_line(&mut self.text).map_err(|error| error.to_string())?;
            if length == 0 {
                return Ok(None);
            }
            self.lines += 1;
            if !self.text.trim().is_empty() {
                break;
            }
        }
        let value = serde_json::from_str(&self.text).map_err(|error| no_json(&error))?;
        let line = line::from_json(&value).map_err(|wrong| wrong.to_string())?;
        self.order.take(&line, &self.header)?;
        Ok(Some(line))
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Line, BadLine>;

    fn next(&mut self) -> Option<Result<Line, BadLine>> {
        match self.take() {
            Ok(line) => line.map(Ok),
            // An error of reading is about the line that could not be read.
            Err(what) => Some(Err(BadLine { line: self.lines.max(2), what })),
        }
    }
}

/// Where in the line, which is all that there is; that it is line 1 of what was given to the parser means nothing.
fn no_json(error: &serde_json::Error) -> String {
    let what = error.to_string();
    let what = what.split(" at line ").next().unwrap_or_default();
    format!("not a JSON object on one line: {what} at column {}", error.column())
}

/// What no recorder can have seen, whatever the cluster did.
#[derive(Debug, Default)]
struct Order {
    now: Nanos,
    /// Who waits for which operation, and the call that it makes.
    open: BTreeMap<OpId, (ClientId, &'static str)>,
    busy: BTreeMap<ClientId, OpId>,
    used_ops: Numbers,
    watchers: BTreeSet<WatcherId>,
    used_watchers: Numbers,
}

/// A set of numbers that nearly always come one after the other.
#[derive(Debug, Default)]
struct Numbers {
    /// The first and the last of each run.
    runs: BTreeMap<u64, u64>,
}

impl Numbers {
    /// Adds one; tells whether it is new.
    fn insert(&mut self, number: u64) -> bool {
        let before = self.runs.range(..=number).next_back().map(|(first, last)| (*first, *last));
        if before.is_some_and(|(_, last)| number <= last) {
            return false;
        }
        let first = before.filter(|(_, last)| last + 1 == number).map_or(number, |(first, _)| first);
        let after = number.checked_add(1).and_then(|next| self.runs.remove(&next));
        self.runs.insert(first, after.unwrap_or(number));
        true
    }
}

impl Order {
    fn take(&mut self, line: &Line, header: &Header) -> Result<(), String> {
        if line.at < self.now {
            return Err(format!("at_ns: {} comes before {}, the time of an earlier line", line.at, self.now));
        }
        self.now = line.at;
        match &line.what {
            What::Died(member) if !header.members.contains(member) => {
                Err(format!("member: {member} is not among the members of the first line"))
            }
            What::Died(_) => Ok(()),
            What::History(event) => self.event(event),
        }
    }

    fn event(&mut self, event: &HistoryEvent) -> Result<(), String> {
        match event {
            HistoryEvent::Invoke { op, client, request } => self.invoke(*op, *client, call_of_request(request)),
            HistoryEvent::Return { op, outcome } => self.end(*op, outcome),
            HistoryEvent::WatchOpen { watcher, .. } => {
                if !self.used_watchers.insert(watcher.0) {
                    return Err(format!("watcher: {} was used before; each watcher has its own number", watcher.0));
                }
                self.watchers.insert(*watcher);
                Ok(())
            }
            HistoryEvent::WatchReceive { watcher, .. } if !self.watchers.contains(watcher) => {
                Err(format!("watcher: {} is not open; it has to be opened by an event \"watch\" first", watcher.0))
            }
            HistoryEvent::WatchEnd { watcher } if !self.watchers.remove(watcher) => {
                Err(format!("watcher: {} is not open; it has to be opened by an event \"watch\" first", watcher.0))
            }
            HistoryEvent::WatchReceive { .. }
            | HistoryEvent::WatchEnd { .. }
            | HistoryEvent::Revision { .. }
            | HistoryEvent::Compaction { .. } => Ok(()),
        }
    }

    fn invoke(&mut self, op: OpId, client: ClientId, call: &'static str) -> Result<(), String> {
        if let Some(other) = self.busy.get(&client) {
            return Err(format!(
                "client: {} still waits for operation {}; a client has one operation at a time, so whatever runs \
                 beside others needs a client of its own",
                client.0, other.0
            ));
        }
        if !self.used_ops.insert(op.0) {
            return Err(format!("op: {} was used before; each operation has its own number", op.0));
        }
        self.open.insert(op, (client, call));
        self.busy.insert(client, op);
        Ok(())
    }

    fn end(&mut self, op: OpId, outcome: &Outcome) -> Result<(), String> {
        let Some((client, call)) = self.open.remove(&op) else {
            return Err(format!("op: {} is not open; it has to be opened by an event \"invoke\" first", op.0));
        };
        self.busy.remove(&client);
        match outcome {
            Outcome::Ok(response) if call_of_response(response) != call => Err(wrong_call(op, call, response)),
            _ => Ok(()),
        }
    }
}

fn wrong_call(op: OpId, call: &str, response: &Response) -> String {
    format!("response: operation {} is a {call}, which {} does not answer", op.0, call_of_response(response))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_new_once_in_whatever_order_they_come() {
        let mut numbers = Numbers::default();
        for number in [5, 3, 4, 9, u64::MAX, 0, 7, 8, 6] {
            assert!(numbers.insert(number), "{number}");
            assert!(!numbers.insert(number), "{number} again");
        }
        assert_eq!(numbers.runs, BTreeMap::from([(0, 0), (3, 9), (u64::MAX, u64::MAX)]));
    }
}

//! What a Python says on its wire: bytes in any split, the lines in them, and what each means to the table of calls.
//!
//! Does no I/O, so that a fuzzer can be the child: it is the user's program, and may say whatever it likes. A line that
//! makes no sense is counted; one that is too long is answered as such, and skipped without being kept.

use baskd_protocol::error::Error;

use super::Outcome;
use super::calls::{Calls, Reply};
use super::restart::Life;
use super::wire::{Failed, Line};
use super::worker::Event;

/// A buffer that grew beyond this for one large message is given back.
pub(crate) const KEEP: usize = 4 << 20;
/// What a router tells of its methods may have so many bytes, however little an answer may.
const LONGEST_GREETING: usize = 64 << 20;

/// How the line of a partial result begins.
const STREAM: &[u8] = b"__STREAM__";

pub(crate) struct Said {
    seat: usize,
    max_response: usize,
    /// Where bytes that were read are appended.
    pub(crate) inbox: Vec<u8>,
    /// How much of `inbox` was searched for a newline.
    searched: usize,
    /// A line that was too long is being skipped to its end.
    skipping: bool,
    pub(crate) life: Life,
    /// What the supervisor has to know of it.
    pub(crate) news: Option<Event>,
    /// How many lines made no sense.
    pub(crate) senseless: u64,
}

impl Said {
    pub(crate) fn new(seat: usize, max_response: usize) -> Said {
        Said {
            seat,
            max_response,
            inbox: Vec::new(),
            searched: 0,
            skipping: false,
            life: Life::NeverReady,
            news: None,
            senseless: 0,
        }
    }

    /// Handles the lines that are whole by now.
    pub(crate) fn handle(&mut self, calls: &mut Calls) {
        let inbox = std::mem::take(&mut self.inbox);
        let mut start = 0;
        while let Some(found) = memchr::memchr(b'\n', &inbox[self.searched..]) {
            let end = self.searched + found;
            if !std::mem::take(&mut self.skipping) && !self.line(calls, &inbox[start..end]) {
                self.senseless += 1;
                self.find_answer(calls, &inbox[start..end]);
            }
            start = end + 1;
            self.searched = start;
        }
        self.inbox = inbox;
        if start > 0 {
            self.inbox.drain(..start);
            self.inbox.shrink_to(KEEP);
        }
        if !self.skipping && self.inbox.len() > self.longest_line() {
            self.skipping = true;
            let begun = std::mem::take(&mut self.inbox);
            self.refuse_too_large(calls, &begun);
        }
        if self.skipping {
            self.inbox.clear();
            self.inbox.shrink_to(KEEP);
        }
        self.searched = self.inbox.len();
        calls.settle(self.seat);
    }

    /// How long an answer may be, with what is around its value; and the greeting, which is not for clients.
    fn longest_line(&self) -> usize {
        let answer = self.max_response + 64;
        match self.life {
            Life::NeverReady => answer.max(LONGEST_GREETING),
            Life::Ready | Life::Answered => answer,
        }
    }

    /// Does what a line says. False if it makes no sense.
    fn line(&mut self, calls: &mut Calls, line: &[u8]) -> bool {
        if line.len() > self.longest_line() {
            self.refuse_too_large(calls, line);
            return true;
        }
        match Line::parse(line) {
            Line::Result { id, value } => self.reply(calls, id, Outcome::Result(value)),
            Line::Error { id, value } => self.reply(calls, id, Outcome::Error(value)),
            Line::Item { data, .. } if data.len() > self.max_response => {
                self.refuse_too_large(calls, line);
                true
            }
            Line::Item { id, data } => calls.item(self.seat, id, data, line.len() as u64 + 1),
            Line::Begun => true,
            Line::Ready(ready) if self.life == Life::NeverReady && self.news.is_none() => {
                self.life = Life::Ready;
                self.news = Some(Event::Ready(ready));
                true
            }
            Line::Failed(failed) if self.life == Life::NeverReady && self.news.is_none() => {
                self.news = Some(Event::Failed(failed));
                true
            }
            Line::Ready(_) | Line::Failed(_) | Line::Garbage => false,
        }
    }

    /// Whoever writes to the wire without a newline spoils the line that follows, which may be the answer of a call that
    /// would wait for ever. The first that is one counts: another may be in its value.
    fn find_answer(&mut self, calls: &mut Calls, line: &[u8]) {
        for at in memchr::memmem::find_iter(line, b"{\"id\":").filter(|at| *at > 0) {
            let stream = line[..at].ends_with(STREAM).then(|| at - STREAM.len());
            let starts = stream.into_iter().chain([at]).filter(|start| *start > 0);
            if starts.into_iter().any(|start| self.is_said(calls, &line[start..])) {
                return;
            }
        }
    }

    /// Does what a line says of a call that this process has. False if it says nothing of one.
    fn is_said(&mut self, calls: &mut Calls, line: &[u8]) -> bool {
        match Line::parse(line) {
            Line::Result { id, value } if calls.has(self.seat, id) => self.reply(calls, id, Outcome::Result(value)),
            Line::Error { id, value } if calls.has(self.seat, id) => self.reply(calls, id, Outcome::Error(value)),
            Line::Item { id, data } if calls.has(self.seat, id) && data.len() <= self.max_response => {
                calls.item(self.seat, id, data, line.len() as u64 + 1)
            }
            _ => false,
        }
    }

    fn reply(&mut self, calls: &mut Calls, id: u64, outcome: Outcome<'_>) -> bool {
        let reply = calls.reply(self.seat, id, outcome);
        if reply == Reply::ToClient {
            self.life = Life::Answered;
        }
        reply != Reply::Senseless
    }

    /// A line that is longer than any answer may be, or its beginning: its call is answered so.
    fn refuse_too_large(&mut self, calls: &mut Calls, line: &[u8]) {
        let error = Error::response_too_large(self.max_response).to_json();
        // The prefix tells the call; the brace makes it look whole.
        let mut whole = line[..line.len().min(100)].to_vec();
        whole.push(b'}');
        match Line::parse(&whole) {
            Line::Result { id, .. } | Line::Error { id, .. } => {
                calls.reply(self.seat, id, Outcome::Error(&error));
            }
            // Only a call that this process has: others' are not its to end.
            Line::Item { id, .. } if calls.has(self.seat, id) => {
                calls.end_with(id, &error);
            }
            // Rather than wait for one that will never be ready.
            _ if self.life == Life::NeverReady && self.news.is_none() && line.starts_with(b"{\"ready\":") => {
                let told = format!("it is longer than {} MiB", LONGEST_GREETING >> 20);
                self.news = Some(Event::Failed(Failed::too_much(&told)));
            }
            _ => {}
        }
    }
}

//! What both directions of one connection know: which answers are awaited, and who listens to which subscription.
//!
//! jsonrpsee's client gives up its connection, and with it every call under way, when it meets an answer it did not ask
//! for; one with `id: null` is such. So it is handed only answers to requests that went out. Nor is it handed
//! subscriptions: it keeps an entry for each that ever ended, and forgets to end one whose request was dropped before
//! it was acknowledged. They are told apart here, in one pass over each line.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use baskd_protocol::Error as RpcError;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::inbox::Inbox;
use crate::line::Line;

#[derive(Debug, Default)]
pub(crate) struct Link(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Requests that went out, or at least began to, and are not answered.
    awaited: HashSet<u64>,
    /// Those among them that have sent messages, which were given out.
    talked: HashSet<u64>,
    /// Those among them that ask for a subscription.
    subscribing: HashMap<u64, Inbox>,
    /// By id, as the daemon writes it.
    subscriptions: HashMap<String, Inbox>,
    /// Whether the socket ended, as opposed to something that was said on it being nonsense.
    ended: bool,
    /// Whether nothing more will be read.
    closed: bool,
    /// The last error that answers no request, such as `Forbidden`: the reason, if the connection ends then.
    farewell: Option<RpcError>,
}

impl Link {
    pub(crate) fn sending(&self, id: u64) {
        self.state().awaited.insert(id);
    }

    /// A socket that took not one byte has not carried the request anywhere.
    pub(crate) fn not_sent(&self, id: u64) {
        self.state().awaited.remove(&id);
    }

    pub(crate) fn ended(&self) {
        self.state().ended = true;
    }

    /// Whether the connection was lost before request `id` went out, so that it may be sent again on another.
    pub(crate) fn lost_before(&self, id: u64) -> bool {
        let state = self.state();
        state.ended && !state.awaited.contains(&id)
    }

    /// Whether a message of request `id`, which was not answered, has come.
    pub(crate) fn has_talked(&self, id: u64) -> bool {
        self.state().talked.contains(&id)
    }

    pub(crate) fn farewell(&self) -> Option<RpcError> {
        self.state().farewell.clone()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Tells every listener that there will be no more.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.subscribing.clear();
        state.subscriptions.clear();
    }

    /// Request `id` is about to ask for a subscription, whose events are for `inbox`.
    pub(crate) fn subscribing(&self, id: u64, inbox: Inbox) {
        let mut state = self.state();
        if !state.closed {
            state.subscribing.insert(id, inbox);
        }
    }

    /// It did not get one.
    pub(crate) fn not_subscribed(&self, id: u64) {
        self.state().subscribing.remove(&id);
    }

    pub(crate) fn unsubscribed(&self, subscription: &str) {
        self.state().subscriptions.remove(subscription);
    }

    /// Takes in a line. Whether it is for jsonrpsee's client.
    pub(crate) fn read(&self, line: &[u8]) -> bool {
        match Line::of(line) {
            Line::Answer(Some(id)) => self.answer(id, line),
            Line::Answer(None) => {
                tracing::debug!("left out an answer that is nobody's");
                if let Ok(Answer { error: Some(error), .. }) = serde_json::from_slice(line) {
                    self.state().farewell = Some(error);
                }
                false
            }
            Line::Notification => self.notification(line),
            Line::Nonsense => true,
        }
    }

    fn answer(&self, id: u64, line: &[u8]) -> bool {
        let mut state = self.state();
        if !state.awaited.remove(&id) {
            tracing::debug!(id, "left out an answer that nobody waits for");
            return false;
        }
        state.talked.remove(&id);
        // Before the next line is read, for that may be its first event.
        if let Some(inbox) = state.subscribing.remove(&id)
            && let Ok(Answer {
                result: Some(subscription),
                ..
            }) = serde_json::from_slice(line)
        {
            inbox.begin();
            state.subscriptions.insert(subscription.get().to_owned(), inbox);
        }
        true
    }

    fn notification(&self, line: &[u8]) -> bool {
        let params = match serde_json::from_slice::<Notification>(line) {
            Ok(notification) => notification.params,
            // Of another shape, and so nothing this client asked for; or no JSON at all, which must not go unnoticed.
            Err(error) => return !error.is_data(),
        };
        let mut state = self.state();
        let subscription = params.subscription.get();
        let Some(inbox) = state.subscriptions.get(subscription) else {
            return false;
        };
        let goes_on = match params.result {
            Some(event) => inbox.take(event),
            None => {
                inbox.close();
                false
            }
        };
        if !goes_on {
            state.subscriptions.remove(subscription);
        }
        if let Some(id) = params.result.and_then(request_of)
            && state.awaited.contains(&id)
        {
            state.talked.insert(id);
        }
        false
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<RpcError>,
}

#[derive(Deserialize)]
struct Notification<'a> {
    #[serde(borrow)]
    params: Params<'a>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    subscription: &'a RawValue,
    /// None in the closing notification, which has an error.
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

/// The request whose call sent this, if it is a message of a call of this connection.
fn request_of(event: &RawValue) -> Option<u64> {
    #[derive(Deserialize)]
    struct Own {
        request: u64,
    }

    // So the daemon writes them, and nothing else.
    if !event.get().starts_with("{\"call\":") {
        return None;
    }
    Some(serde_json::from_str::<Own>(event.get()).ok()?.request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::error::TryRecvError;

    #[test]
    fn only_what_was_asked_is_handed_up() {
        let link = Link::default();
        link.sending(7);
        assert!(link.read(br#"{"jsonrpc":"2.0","id":7,"result":1}"#));
        assert!(
            !link.read(br#"{"jsonrpc":"2.0","id":7,"result":1}"#),
            "it was answered already"
        );
        assert!(link.farewell().is_none());
        assert!(!link.read(br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32027,"message":"no"}}"#));
        assert_eq!(link.farewell().map(|error| error.code), Some(-32027));
        assert!(
            link.read(br#"{"jsonrpc":"2.0","method":"stream.item","params":{"#),
            "nonsense must not go unnoticed"
        );
    }

    #[test]
    fn a_subscription_begins_with_its_answer_and_ends_with_its_close() {
        let link = Link::default();
        let (inbox, mut events) = Inbox::new(1);
        link.subscribing(7, inbox);
        link.sending(7);
        let event = br#"{"jsonrpc":"2.0","method":"stream.item","params":{"subscription":41,"result":{"item":1}}}"#;
        assert!(!link.read(event), "it is nobody's yet");
        assert!(link.read(br#"{"jsonrpc":"2.0","id":7,"result":41}"#));
        assert!(!link.read(event));
        assert_eq!(events.try_recv().unwrap().get(), r#"{"item":1}"#);
        assert!(!link.read(br#"{"jsonrpc":"2.0","method":"stream.item","params":{"subscription":41,"error":{"code":0,"message":"closed"}}}"#));
        assert_eq!(events.try_recv().unwrap_err(), TryRecvError::Disconnected);
    }

    #[test]
    fn a_reader_who_is_too_slow_is_left() {
        let link = Link::default();
        let (inbox, mut events) = Inbox::new(1);
        link.subscribing(7, inbox);
        link.sending(7);
        assert!(link.read(br#"{"jsonrpc":"2.0","id":7,"result":41}"#));
        for _ in 0..2 {
            link.read(br#"{"jsonrpc":"2.0","method":"messages.item","params":{"subscription":41,"result":1}}"#);
        }
        assert!(events.try_recv().is_ok());
        assert_eq!(events.try_recv().unwrap_err(), TryRecvError::Disconnected);
    }

    #[test]
    fn a_call_that_has_sent_messages_is_known() {
        let link = Link::default();
        let (inbox, _events) = Inbox::new(9);
        link.subscribing(1, inbox);
        for id in 1..4 {
            link.sending(id);
        }
        assert!(link.read(br#"{"jsonrpc":"2.0","id":1,"result":41}"#));
        for request in ["2", "null", r#""3""#] {
            let line = format!(
                r#"{{"jsonrpc":"2.0","method":"messages.item","params":{{"subscription":41,"result":{{"call":9,"request":{request},"method":"f","data":1}}}}}}"#
            );
            assert!(!link.read(line.as_bytes()));
        }
        assert!(link.has_talked(2) && !link.has_talked(3));
        assert!(link.read(br#"{"jsonrpc":"2.0","id":2,"result":1}"#));
        assert!(!link.has_talked(2));
    }
}

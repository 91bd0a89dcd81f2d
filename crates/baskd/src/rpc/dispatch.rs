//! From a message's text to what it asks for. The two methods that make calls are here, the daemon's others in
//! [`builtin`]'s match; every name without a dot or a slash is the controller's.

use std::rc::Rc;
use std::time::Duration;

use baskd_protocol::error::Error;
use baskd_protocol::reply;
use baskd_protocol::request::{Invalid, Request};
use baskd_protocol::scan::{Members, Scan, Scanner, Span};

use super::answer::{Answer, Batch};
use super::builtin;
use super::call::PlainCall;
use super::params::Params;
use super::peer::Peer;
use super::stream::StreamCall;
use crate::backend::NewCall;

/// A whole JSON object.
pub fn object(peer: &Rc<Peer>, text: &str, members: &Members) {
    match read(peer, text, members) {
        Ok(request) => {
            let answer = Answer::alone(peer, request.id);
            dispatch(peer, &request, answer);
        }
        Err(invalid) => Answer::alone(peer, Some(invalid.id)).error(&invalid.error),
    }
}

fn read<'a>(peer: &Peer, text: &'a str, members: &Members) -> Result<Request<'a>, Invalid<'a>> {
    let request = Request::read(text, members)?;
    let limit = peer.service.limits.max_id;
    match request.id {
        Some(id) if id.len() > limit => {
            let error = Error::invalid_request(format!("an `id` may have {limit} bytes"));
            Err(Invalid { id: "null", error })
        }
        _ => Ok(request),
    }
}

/// A whole JSON array, of `count` entries, where `entries` tells where those within the limit are.
pub fn batch(peer: &Rc<Peer>, text: &str, entries: &[Span], count: usize) {
    let limits = &peer.service.limits;
    if count == 0 {
        return refuse(peer, &Error::invalid_request("a batch must have an entry"));
    }
    if count > limits.max_batch {
        return refuse(peer, &Error::batch_too_large(limits.max_batch));
    }
    let batch = Batch::new(count);
    let mut scanner = Scanner::new(limits.max_nesting, 0);
    for (place, span) in entries.iter().enumerate() {
        let entry = &text[span.clone()];
        scanner.reset();
        let is_object = entry.starts_with('{') && matches!(scanner.scan(entry.as_bytes()), Scan::Complete(_));
        if !is_object {
            Answer::in_batch(peer, Some("null"), &batch, place)
                .error(&Error::invalid_request("an entry of a batch must be an object"));
            continue;
        }
        match read(peer, entry, scanner.members()) {
            Ok(request) => {
                let answer = Answer::in_batch(peer, request.id, &batch, place);
                dispatch(peer, &request, answer);
            }
            Err(invalid) => Answer::in_batch(peer, Some(invalid.id), &batch, place).error(&invalid.error),
        }
    }
    batch.begun(peer);
}

/// Answers what was no message at all.
pub fn refuse(peer: &Peer, error: &Error) {
    refuse_as(peer, "null", error);
}

/// Answers a message of which no more than the id is known.
pub fn refuse_as(peer: &Peer, id: &str, error: &Error) {
    let error = error.to_json();
    peer.service.metrics.refused(&error);
    peer.outbox.push(|out| {
        reply::error(out, id, &error);
        out.push(b'\n');
    });
}

fn dispatch(peer: &Rc<Peer>, request: &Request<'_>, answer: Answer) {
    // No Python identifier holds one of these, so most calls are told by one look.
    if !request.method.contains(['.', '/']) {
        return call(peer, &request.method, request.params, None, answer);
    }
    let params = request.params;
    match request.method.as_ref() {
        "rpc.call" => rpc_call(peer, params, answer),
        "stream.call" => stream_call(peer, params, answer),
        method => builtin::run(peer, method, params, answer),
    }
}

fn call(peer: &Peer, method: &str, params: Option<&str>, timeout: Option<Duration>, answer: Answer) {
    if let Err(error) = peer.may_call() {
        return answer.error(&error);
    }
    let timeout = timeout.or_else(|| peer.service.timeout_of(method));
    let sink = Box::new(PlainCall::new(answer));
    peer.service.backend.call(
        NewCall {
            owner: peer.id,
            method,
            params,
            window: None,
            sink,
        },
        timeout,
    );
}

/// `rpc.call {method, params?, timeout_ms?}`
fn rpc_call(peer: &Peer, params: Option<&str>, answer: Answer) {
    let read = || {
        let params = Params::read(params, &["method", "params", "timeout_ms"])?;
        let method = params.required(0, params.string(0)?, "a string")?;
        Ok((method, params.structured(1)?, params.number(2)?))
    };
    match read() {
        Ok((method, params, timeout)) => call(peer, &method, params, timeout.map(Duration::from_millis), answer),
        Err(error) => answer.error(&error),
    }
}

/// `stream.call {method, params?, timeout_ms?, window?}`
fn stream_call(peer: &Rc<Peer>, params: Option<&str>, answer: Answer) {
    if let Err(error) = builtin::can_subscribe(&answer, "stream.call") {
        return answer.error(&error);
    }
    let read = || {
        let params = Params::read(params, &["method", "params", "timeout_ms", "window"])?;
        let method = params.required(0, params.string(0)?, "a string")?;
        let window = params.number(3)?;
        if window == Some(0) {
            return Err(params.wrong(3, "1 or more"));
        }
        peer.may_call()?;
        Ok((
            method,
            params.structured(1)?,
            params.number(2)?,
            window,
            peer.subscribe()?,
        ))
    };
    let (method, params, timeout, window, subscription) = match read() {
        Ok(read) => read,
        Err(error) => return answer.error(&error),
    };
    let timeout = timeout.map(Duration::from_millis);
    let timeout = timeout.or_else(|| peer.service.timeout_of(&method));
    let sink = Box::new(StreamCall::new(subscription, window.is_some(), answer));
    let new = NewCall {
        owner: peer.id,
        method: &method,
        params,
        window,
        sink,
    };
    let call = peer.service.backend.call(new, timeout);
    if let Some(stream) = peer.streams.borrow_mut().get_mut(&subscription) {
        stream.call = call;
    }
}

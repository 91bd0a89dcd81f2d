//! The daemon's own methods, one arm each.

use std::cell::RefCell;
use std::rc::Rc;

use baskd_protocol::error::{CancelledBy, Error};

use super::answer::Answer;
use super::discover;
use super::params::Params;
use super::peer::{Own, Peer};
use crate::backend::methods::nearest;
use crate::backend::{Asker, Backend, NotReady};

/// All names there are, for those who mistype one.
const NAMES: &[&str] = &[
    "rpc.discover",
    "rpc.call",
    "rpc.cancel",
    "$/cancelRequest",
    "stream.call",
    "stream.more",
    "stream.cancel",
    "messages.subscribe",
    "messages.unsubscribe",
    "logs.subscribe",
    "logs.unsubscribe",
    "daemon.status",
    "daemon.reload",
    "daemon.restart",
    "daemon.cancel",
    "daemon.shutdown",
];

pub(crate) fn run(peer: &Rc<Peer>, method: &str, params: Option<&str>, answer: Answer) {
    let result = match method {
        "rpc.discover" => return rpc_discover(peer, params, answer),
        "rpc.cancel" | "$/cancelRequest" => rpc_cancel(peer, params),
        "stream.more" => stream_more(peer, params),
        "stream.cancel" => stream_cancel(peer, params),
        "messages.subscribe" => can_subscribe(&answer, method).and_then(|()| messages_subscribe(peer, params)),
        "messages.unsubscribe" | "logs.unsubscribe" => unsubscribe(peer, params),
        "logs.subscribe" => return logs_subscribe(peer, method, params, answer),
        "daemon.status" => no_params(params).map(|()| peer.service.status().to_string()),
        "daemon.reload" => return daemon_renew(peer, params, answer, Backend::reload),
        "daemon.restart" => return daemon_renew(peer, params, answer, Backend::restart),
        "daemon.cancel" => daemon_cancel(peer, params),
        "daemon.shutdown" => no_params(params).map(|()| {
            peer.service.logs.info("stopping: a client asked for it");
            peer.service.stop.cancel();
            "true".to_owned()
        }),
        _ => Err(Error::method_not_found(method, &nearest(method, NAMES.iter().copied()))),
    };
    match result {
        Ok(result) => answer.result(result.as_bytes()),
        Err(error) => answer.error(&error),
    }
}

fn no_params(params: Option<&str>) -> Result<(), Error> {
    Params::read(params, &[]).map(drop)
}

/// A subscription's answer must come before its items, and a batch's answers come last.
pub(crate) fn can_subscribe(answer: &Answer, method: &str) -> Result<(), Error> {
    if answer.id().is_none() {
        // Nobody could be told the subscription. Nor will anybody read this.
        return Err(Error::invalid_request(format!("`{method}` can't be a notification")));
    }
    if !answer.peer.takes_events.get() {
        return Err(Error::invalid_request(format!(
            "`{method}` can't be asked for by POST, which has one answer: use a WebSocket, or plain JSON on the socket"
        )));
    }
    if answer.is_in_batch() {
        Err(Error::invalid_request(format!("`{method}` can't be part of a batch")))
    } else {
        Ok(())
    }
}

fn rpc_discover(peer: &Peer, params: Option<&str>, answer: Answer) {
    if let Err(error) = no_params(params) {
        return answer.error(&error);
    }
    let backend = peer.service.backend.clone();
    if let Some(methods) = backend.methods() {
        return answer.result(discover::of(&methods).as_bytes());
    }
    tokio::task::spawn_local(async move {
        match backend.methods_known().await {
            Ok(methods) => answer.result(discover::of(&methods).as_bytes()),
            Err(error) => answer.error(&error),
        }
    });
}

fn rpc_cancel(peer: &Peer, params: Option<&str>) -> Result<String, Error> {
    let params = Params::read(params, &["id"])?;
    let id = params.required(0, params.raw(0), "the id of a request")?;
    Ok(peer.service.backend.cancel_tagged(peer.id, id).to_string())
}

fn subscription_id(params: Option<&str>) -> Result<u64, Error> {
    let params = Params::read(params, &["id"])?;
    params.required(0, params.number(0)?, "a subscription id")
}

fn stream_more(peer: &Peer, params: Option<&str>) -> Result<String, Error> {
    let params = Params::read(params, &["id", "n"])?;
    let id = params.required(0, params.number(0)?, "a subscription id")?;
    let items = params.required(1, params.number(1)?, "a number of items")?;
    let call = peer
        .streams
        .borrow()
        .get(&id)
        .filter(|stream| stream.windowed)
        .and_then(|stream| stream.call);
    if let Some(call) = call {
        peer.service.backend.credit(call, items, 0);
    }
    Ok(call.is_some().to_string())
}

fn stream_cancel(peer: &Peer, params: Option<&str>) -> Result<String, Error> {
    let id = subscription_id(params)?;
    let call = peer.streams.borrow().get(&id).and_then(|stream| stream.call);
    Ok(call
        .is_some_and(|call| peer.service.backend.cancel(call, CancelledBy::Client))
        .to_string())
}

fn messages_subscribe(peer: &Rc<Peer>, params: Option<&str>) -> Result<String, Error> {
    let params = Params::read(params, &["scope", "method"])?;
    let scope = params.string(0)?;
    let method = params.string(1)?;
    match scope.as_deref() {
        Some("own") => {
            let limit = peer.service.limits.max_own;
            if peer.own.borrow().len() >= limit {
                return Err(Error::too_many_subscriptions(limit));
            }
            let id = peer.subscribe()?;
            peer.own.borrow_mut().push(Own { id, method });
            let open = &peer.service.metrics.own;
            open.set(open.get() + 1);
            Ok(id.to_string())
        }
        Some("all") => {
            let id = peer.subscribe_lossy()?;
            peer.service.hub.subscribe_messages(peer, id, method);
            Ok(id.to_string())
        }
        _ => Err(params.wrong(0, "\"own\" or \"all\"")),
    }
}

fn logs_subscribe(peer: &Rc<Peer>, method: &str, params: Option<&str>, answer: Answer) {
    let subscription = can_subscribe(&answer, method).and_then(|()| {
        let last = Params::read(params, &["lines"])?.number(0)?;
        Ok((peer.subscribe_lossy()?, last))
    });
    match subscription {
        Ok((id, last)) => {
            // Which comes before the lines that are there already.
            answer.result(id.to_string().as_bytes());
            peer.service.hub.subscribe_logs(peer, id, last);
        }
        Err(error) => answer.error(&error),
    }
}

fn unsubscribe(peer: &Peer, params: Option<&str>) -> Result<String, Error> {
    let id = subscription_id(params)?;
    let mut own = peer.own.borrow_mut();
    let mut lossy = peer.lossy.borrow_mut();
    let before = own.len() + lossy.len();
    let own_before = own.len();
    own.retain(|own| own.id != id);
    let open = &peer.service.metrics.own;
    open.set(open.get() - (own_before - own.len()));
    lossy.retain(|lossy| {
        if lossy.id == id {
            lossy.end();
        }
        lossy.id != id
    });
    Ok((own.len() + lossy.len() < before).to_string())
}

/// Anybody's call: whoever connects has the user's authority.
fn daemon_cancel(peer: &Peer, params: Option<&str>) -> Result<String, Error> {
    let params = Params::read(params, &["call"])?;
    let number = params.required(0, params.number(0)?, "the number of a call")?;
    Ok(peer.service.backend.cancel_numbered(number).to_string())
}

/// Answers when a new Python serves, or why none does.
fn daemon_renew(peer: &Peer, params: Option<&str>, answer: Answer, renew: fn(&Backend, Option<Asker>) -> bool) {
    if let Err(error) = no_params(params) {
        return answer.error(&error);
    }
    let limit = peer.service.limits.max_queue;
    // One that waits for no answer waits for nothing.
    if answer.id().is_none() {
        renew(&peer.service.backend, None);
        return;
    }
    let slot = Rc::new(RefCell::new(Some(answer)));
    let waiting = slot.clone();
    let done = move |outcome: Result<(), &NotReady>| {
        let Some(answer) = waiting.take() else { return };
        match outcome {
            Ok(()) => answer.result(b"true"),
            Err(why) => {
                let serves_on = answer.peer.service.backend.takes_calls();
                answer.error(&Error::not_reloaded(&why.reason, &why.stderr, serves_on));
            }
        }
    };
    if !renew(&peer.service.backend, Some(Box::new(done)))
        && let Some(answer) = slot.take()
    {
        answer.error(&Error::overloaded(limit));
    }
}

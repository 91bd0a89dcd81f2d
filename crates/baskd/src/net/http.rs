//! HTTP/1.1: a POST is a request or a batch and has its answer, GET is for [`super::pages`], and an upgrade makes the
//! connection a WebSocket.
//!
//! hyper has the socket while it lasts. Requests of one connection are answered one after another, so that the outbox
//! holds the answer to one of them at most.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use baskd_protocol::error::Error;
use baskd_protocol::reply;
use baskd_protocol::trace::Trace;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::hangup::Hangup;
use super::message::{Messages, Pending};
use super::pages;
use super::socket::Socket;
use crate::clock;
use crate::rpc::metrics::Kind;
use crate::rpc::peer::Peer;

/// Bytes of a request's line and headers, and how many headers there may be.
const MAX_HEADER: usize = 64 << 10;
const MAX_HEADERS: usize = 100;

/// Serves a connection whose first bytes, in `read`, are HTTP. Returns what was read beyond an upgrade, if there was one;
/// otherwise nothing more is to be read, or written.
pub(super) async fn serve(
    stream: &Rc<Socket>,
    read: Vec<u8>,
    peer: &Rc<Peer>,
    refusal: Option<Error>,
    closing: &CancellationToken,
) -> io::Result<Option<Vec<u8>>> {
    peer.takes_events.set(false);
    let site = Rc::new(Site {
        peer: peer.clone(),
        stream: stream.clone(),
        refusal,
        upgraded: Cell::new(false),
        unwritten: Cell::new(0),
    });
    let service = {
        let site = site.clone();
        service_fn(move |request| {
            let site = site.clone();
            Box::pin(async move { site.answer(request).await })
        })
    };
    let io = TokioIo::new(Io {
        read,
        at: 0,
        site: site.clone(),
    });
    let mut connection = http1::Builder::new()
        .half_close(true)
        .timer(TokioTimer::new())
        .header_read_timeout(peer.service.limits.http_header_timeout)
        .max_buf_size(MAX_HEADER)
        .max_headers(MAX_HEADERS)
        .serve_connection(io, service);
    let mut is_closing = false;
    let ended = loop {
        tokio::select! {
            ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => break ended,
            () = closing.cancelled(), if !is_closing => {
                is_closing = true;
                // Not by hyper's `graceful_shutdown`, which leaves a request unread that has come already.
                stream.take_no_more()?;
            }
        }
    };
    ended.map_err(io::Error::other)?;
    if !site.upgraded.get() {
        return Ok(None);
    }
    peer.takes_events.set(true);
    let parts = connection.into_parts();
    let io = parts.io.into_inner();
    Ok(Some([&parts.read_buf[..], &io.read[io.at..]].concat()))
}

/// What answers the requests of one connection.
struct Site {
    peer: Rc<Peer>,
    stream: Rc<Socket>,
    /// The connection is one too many.
    refusal: Option<Error>,
    upgraded: Cell<bool>,
    /// Bytes of the last answer to a POST that hyper has and the socket has not: no more is begun before they are gone.
    unwritten: Cell<usize>,
}

pub(super) type Answer = Response<Full<Bytes>>;

impl Site {
    async fn answer(&self, request: Request<Incoming>) -> io::Result<Answer> {
        clock::tick();
        let has_body = !request.body().is_end_stream();
        let is_upgrade = request.method() == Method::GET && !has_body && asks_for_websocket(request.headers());
        let is_post = request.method() == Method::POST;
        if is_post && self.refusal.is_none() && is_of_one_origin(request.headers()) {
            let trace = trace_of(request.headers());
            return self.post(request.into_body(), trace).await;
        }
        let mut answer = if is_post || is_upgrade {
            match &self.refusal {
                _ if !is_of_one_origin(request.headers()) => {
                    let sentence = "A page of another origin may not call this daemon.";
                    text(StatusCode::FORBIDDEN, sentence)
                }
                Some(error) => self.refuse(StatusCode::SERVICE_UNAVAILABLE, error),
                None => self.upgrade(&request),
            }
        } else if matches!(*request.method(), Method::GET | Method::HEAD) {
            pages::page(&self.peer.service, request.uri().path()).await
        } else {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "Calls are made by POST, to any path.");
            set(&mut answer, header::ALLOW, "GET, HEAD, POST");
            answer
        };
        if has_body {
            // It was not read, and may not even have come: who asks on is to do so on another connection.
            set(&mut answer, header::CONNECTION, "close");
        }
        Ok(answer)
    }

    async fn post(&self, body: Incoming, trace: Option<Trace>) -> io::Result<Answer> {
        let message = match self.receive(body).await? {
            Ok(message) => message,
            Err((status, error)) => return Ok(self.refuse(status, &error)),
        };
        clock::tick();
        self.peer.within(trace, || {
            Messages::new(&self.peer, None).handle(&self.peer, &message);
        });
        drop(message);
        self.answered().await?;
        let mut answer = Vec::new();
        self.peer.outbox.take(&mut answer);
        self.unwritten.set(answer.len());
        if answer.is_empty() {
            let mut nothing = Response::new(Full::default());
            *nothing.status_mut() = StatusCode::NO_CONTENT;
            return Ok(nothing);
        }
        Ok(json(StatusCode::OK, answer))
    }

    /// So much was written: that, too, is of what all connections may have unread.
    fn wrote(&self, bytes: usize) {
        let left = self.unwritten.get().saturating_sub(bytes);
        if self.unwritten.replace(left) != left {
            self.peer.outbox.set_unwritten(left);
        }
    }

    /// The whole body, or what it is refused by.
    async fn receive(&self, mut body: Incoming) -> io::Result<Result<Vec<u8>, (StatusCode, Error)>> {
        let limits = &self.peer.service.limits;
        let too_large = || {
            (
                StatusCode::PAYLOAD_TOO_LARGE,
                Error::request_too_large(limits.max_request),
            )
        };
        if body.size_hint().lower() > limits.max_request as u64 {
            // Who has asked whether to send it at all (`Expect: 100-continue`) is spared that.
            return Ok(Err(too_large()));
        }
        let mut pending = Pending::new(&self.peer.service);
        let mut message = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(io::Error::other)?.into_data() else {
                continue;
            };
            if message.len() + data.len() > limits.max_request {
                return Ok(Err(too_large()));
            }
            message.extend_from_slice(&data);
            if !pending.hold(message.len()) {
                let error = Error::overloaded_bytes(limits.max_pending);
                return Ok(Err((StatusCode::SERVICE_UNAVAILABLE, error)));
            }
        }
        Ok(Ok(message))
    }

    /// Returns when nothing is owed any more. Who has gone meanwhile has its calls cancelled.
    async fn answered(&self) -> io::Result<()> {
        if self.peer.is_answered() {
            return Ok(());
        }
        let hangup = Hangup::of(&*self.stream)?.wait();
        tokio::pin!(hangup);
        while !self.peer.is_answered() {
            tokio::select! {
                () = self.peer.outbox.changed() => {}
                () = &mut hangup => {
                    self.peer.service.backend.owner_gone(self.peer.id);
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
            }
        }
        Ok(())
    }

    /// Answers a request that was not read to its end: it is the connection's last.
    fn refuse(&self, status: StatusCode, error: &Error) -> Answer {
        let error = error.to_json();
        self.peer.service.metrics.error(&error);
        let mut line = Vec::new();
        reply::error(&mut line, "null", &error);
        line.push(b'\n');
        let mut answer = json(status, line);
        set(&mut answer, header::CONNECTION, "close");
        answer
    }

    fn upgrade(&self, request: &Request<Incoming>) -> Answer {
        match tungstenite::handshake::server::create_response_with_body(request, Full::default) {
            Ok(answer) => {
                self.upgraded.set(true);
                self.peer.service.metrics.connection(Kind::WebSocket);
                answer
            }
            Err(error) => {
                let mut answer = text(
                    StatusCode::BAD_REQUEST,
                    &format!("This is no WebSocket upgrade: {error}."),
                );
                set(&mut answer, header::SEC_WEBSOCKET_VERSION, "13");
                answer
            }
        }
    }
}

fn asks_for_websocket(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|upgrade| {
        upgrade
            .split(',')
            .any(|name| name.trim().eq_ignore_ascii_case("websocket"))
    })
}

/// The trace that a request's calls belong to. Headers that can't be read are as good as none, as W3C has it; several
/// `tracestate`s are one list.
fn trace_of(headers: &HeaderMap) -> Option<Trace> {
    let mut parents = headers.get_all("traceparent").iter();
    let (Some(parent), None) = (parents.next(), parents.next()) else {
        return None;
    };
    let states = headers.get_all("tracestate").iter();
    let states: Result<Vec<_>, _> = states.map(HeaderValue::to_str).collect();
    let state = states.map(|states| states.join(",")).ok();
    Trace::new(parent.to_str().ok()?, state.as_deref())
}

/// A browser says which page asks. It can't reach a Unix socket; but what forwards one to a TCP port opens it to every
/// page that the user visits, unless only those are served that came from there.
fn is_of_one_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let origin = origin.as_bytes();
    let authority = [&b"http://"[..], b"https://"]
        .iter()
        .find_map(|scheme| origin.strip_prefix(*scheme));
    authority.is_some_and(|authority| host.is_some_and(|host| authority.eq_ignore_ascii_case(host)))
}

pub(super) fn text(status: StatusCode, sentence: &str) -> Answer {
    body(status, "text/plain; charset=utf-8", format!("{sentence}\n").into())
}

pub(super) fn json(status: StatusCode, line: Vec<u8>) -> Answer {
    body(status, "application/json", line.into())
}

pub(super) fn body(status: StatusCode, kind: &'static str, bytes: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(bytes));
    *answer.status_mut() = status;
    set(&mut answer, header::CONTENT_TYPE, kind);
    answer
}

pub(super) fn set(answer: &mut Answer, name: HeaderName, value: &'static str) {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
}

/// The socket, after what was read of it to find out that it is HTTP.
struct Io {
    read: Vec<u8>,
    at: usize,
    site: Rc<Site>,
}

impl Io {
    fn poll_write_by(
        &self,
        cx: &mut Context<'_>,
        write: impl FnMut(&Socket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let wrote = ready!(self.site.stream.poll_io(cx, Socket::poll_writable, write))?;
        self.site.wrote(wrote);
        Poll::Ready(Ok(wrote))
    }
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let rest = &self.read[self.at..];
        if !rest.is_empty() {
            let count = rest.len().min(into.remaining());
            into.put_slice(&rest[..count]);
            self.at += count;
            return Poll::Ready(Ok(()));
        }
        self.site.stream.poll_io(cx, Socket::poll_readable, |stream| {
            let count = stream.try_read(into.initialize_unfilled())?;
            into.advance(count);
            Ok(())
        })
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_by(cx, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_by(cx, |stream| stream.try_write_vectored(parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The connection closes the socket itself.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_posts_trace_is_that_of_its_headers() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let read = |given: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in given {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let trace = trace_of(&headers)?;
            assert_eq!(trace.parent(), parent);
            Some(trace.state().unwrap_or_default().to_owned())
        };
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[("traceparent", parent)]).as_deref(), Some(""));
        let states = [("tracestate", "a=1"), ("traceparent", parent), ("tracestate", "b=2")];
        assert_eq!(read(&states).as_deref(), Some("a=1,b=2"));
        assert_eq!(read(&[("traceparent", parent), ("traceparent", parent)]), None);
        assert_eq!(read(&[("traceparent", "00-0"), ("tracestate", "a=1")]), None);
        assert_eq!(read(&[("tracestate", "a=1")]), None);
    }

    #[test]
    fn a_page_may_call_only_where_it_came_from() {
        for (origin, host, may) in [
            (None, "localhost", true),
            (Some("http://localhost:8080"), "localhost:8080", true),
            (Some("https://Box.local"), "box.local", true),
            (Some("http://localhost:8081"), "localhost:8080", false),
            (Some("https://evil.example"), "localhost", false),
            (Some("null"), "localhost", false),
            (Some("http://"), "localhost", false),
            (Some("localhost"), "localhost", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(is_of_one_origin(&headers), may, "{origin:?} {host}");
        }
    }
}

//! One connection, from the first byte to the last.
//!
//! jsonrpsee's client keeps the table of what is under way; this adds what it leaves out. It sends nothing when a
//! call's future is dropped, and does not tell a caller its request's id, without which a call can't be cancelled. So
//! calls don't go through its `request` but through the [`RpcService`] under it, which takes whole requests, with ids
//! counted here. That also spares a timer for each call, which `request` would start in a thread of its own.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use baskd_protocol::Error as RpcError;
use jsonrpsee::core::client::async_client::RpcService;
use jsonrpsee::core::client::{Client as Jsonrpsee, ClientBuilder, Error as JsonrpseeError, IdKind};
use jsonrpsee::core::middleware::{Notification, Request, RpcServiceBuilder, RpcServiceT};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, oneshot};
use tokio::task::JoinSet;

use crate::Error;
use crate::inbox::Inbox;
use crate::link::Link;
use crate::subscription::Subscription;
use crate::transport::split;

#[derive(Debug)]
pub(crate) struct Connection {
    jsonrpsee: Jsonrpsee<RpcService>,
    service: RpcService,
    ids: AtomicU64,
    link: Arc<Link>,
    runtime: Handle,
    /// What was begun in a `drop`, where nothing can be awaited.
    errands: Mutex<JoinSet<()>>,
    /// The methods that may run again, as the controller says it; asked for once, when it first matters.
    idempotent: OnceCell<HashSet<String>>,
}

/// Why a call came to nothing.
pub(crate) enum Failure {
    /// The connection was lost before the request went out, so that another may carry it.
    Unsent,
    /// The connection was lost before the answer came. `gave`: messages of the call had come.
    Lost {
        gave: bool,
    },
    Final(Error),
}

impl Failure {
    /// What is said to whoever can't, or must not, send the request again.
    pub(crate) fn of(self, method: &str) -> Error {
        match self {
            Failure::Unsent | Failure::Lost { .. } => Error::disconnected(method),
            Failure::Final(error) => error,
        }
    }
}

impl Connection {
    /// Must be called within a tokio runtime.
    pub(crate) fn new(stream: UnixStream) -> Arc<Connection> {
        let (sender, receiver, link) = split(stream);
        let service = Arc::new(OnceLock::new());
        let keep = service.clone();
        let jsonrpsee = ClientBuilder::new()
            .id_format(IdKind::Number)
            .set_rpc_middleware(
                RpcServiceBuilder::new().layer_fn(move |service: RpcService| keep.get_or_init(|| service).clone()),
            )
            .build_with_tokio(sender, receiver);
        Arc::new(Connection {
            service: service.get().cloned().expect("building a client applies its layers"),
            jsonrpsee,
            ids: AtomicU64::new(1),
            link,
            runtime: Handle::current(),
            errands: Mutex::default(),
            idempotent: OnceCell::new(),
        })
    }

    /// Whether the connection was not lost yet, as far as is known.
    pub(crate) fn alive(&self) -> bool {
        self.jsonrpsee.is_connected()
    }

    /// Whether all that could be read has been.
    pub(crate) fn lost(&self) -> bool {
        self.link.is_closed()
    }

    /// Calls `method`, and cancels it if this future is dropped before it is answered.
    pub(crate) async fn call(&self, method: &str, params: Option<&RawValue>) -> Result<Box<RawValue>, Failure> {
        self.call_as(self.next_id(), method, params).await
    }

    fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    async fn call_as(&self, id: u64, method: &str, params: Option<&RawValue>) -> Result<Box<RawValue>, Failure> {
        let mut guard = CancelOnDrop {
            connection: self,
            id: Some(id),
        };
        let request = Request::borrowed(method, params, IdKind::Number.into_id(id));
        let answer = self.service.call(request).await;
        guard.id = None;
        let answer = match answer {
            Ok(answer) => answer.into_response(),
            Err(error) => return Err(self.failure(id, error).await),
        };
        match (answer.as_success(), answer.as_error()) {
            (Some(result), _) => Ok(result.to_owned()),
            (None, Some(error)) => Err(Failure::Final(rpc(error.code(), error.message(), error.data()))),
            (None, None) => Err(Failure::Lost { gave: false }),
        }
    }

    /// Sends a notification, as soon as there is room for it.
    pub(crate) fn notify(&self, method: &'static str, params: Box<RawValue>) {
        let service = self.service.clone();
        self.errand(async move {
            // That it fails means the connection is lost, and whoever waits for an answer learns that by himself.
            let _ = service
                .notification(Notification::new(method.into(), Some(Cow::Owned(params))))
                .await;
        });
    }

    /// Asks for a subscription, whose events are for `inbox`; gives its id as the daemon writes it. Not to be dropped
    /// before it is done.
    pub(crate) async fn subscribe(
        &self,
        method: &str,
        params: Option<&RawValue>,
        inbox: Inbox,
    ) -> Result<Box<RawValue>, Failure> {
        let id = self.next_id();
        self.link.subscribing(id, inbox);
        let answer = self.call_as(id, method, params).await;
        if answer.is_err() {
            self.link.not_subscribed(id);
        }
        answer
    }

    /// Subscribes to what ends with this connection, and keeps up to `buffered` events for their reader. If this future
    /// is dropped before the subscription is acknowledged, it is ended when it is.
    pub(crate) async fn open<T: DeserializeOwned + 'static>(
        self: &Arc<Self>,
        method: String,
        params: Option<Box<RawValue>>,
        unsubscribe: &'static str,
        buffered: usize,
    ) -> Result<Subscription<T>, Failure> {
        let (inbox, events) = Inbox::new(buffered);
        let (hand_over, handed_over) = oneshot::channel();
        let connection = self.clone();
        self.runtime.spawn(async move {
            let subscribed = connection
                .subscribe(&method, params.as_deref(), inbox)
                .await
                .map(|subscription| Subscription::new(connection.clone(), subscription, events, unsubscribe));
            // If nobody takes it, it is dropped here, and so ended.
            let _ = hand_over.send(subscribed);
        });
        handed_over.await.unwrap_or(Err(Failure::Lost { gave: false }))
    }

    /// The daemon need not send any more of a subscription.
    pub(crate) fn end(&self, subscription: &RawValue, unsubscribe: &'static str) {
        self.unsubscribed(subscription);
        if let Ok(params) = to_raw_value(&[subscription]) {
            self.notify(unsubscribe, params);
        }
    }

    /// Whether the controller says that `method` may run again.
    pub(crate) async fn is_idempotent(&self, method: &str) -> bool {
        #[derive(Deserialize)]
        struct Document {
            methods: Vec<Method>,
        }
        #[derive(Deserialize)]
        struct Method {
            name: String,
            #[serde(default, rename = "x-idempotent")]
            idempotent: bool,
        }

        let ask = async || {
            let document = self.call("rpc.discover", None).await.map_err(|_| ())?;
            let document: Document = serde_json::from_str(document.get()).map_err(|_| ())?;
            let idempotent = document.methods.into_iter().filter(|method| method.idempotent);
            Ok::<_, ()>(idempotent.map(|method| method.name).collect())
        };
        let methods = self.idempotent.get_or_try_init(ask).await;
        methods.is_ok_and(|methods| methods.contains(method))
    }

    pub(crate) fn unsubscribed(&self, subscription: &RawValue) {
        self.link.unsubscribed(subscription.get());
    }

    /// Waits until the daemon has taken in all that was sent so far, what was sent by dropping things among it.
    pub(crate) async fn flush(&self) {
        let mut errands = std::mem::take(&mut *self.errands.lock().unwrap_or_else(PoisonError::into_inner));
        while errands.join_next().await.is_some() {}
        // Requests take effect in the order of arrival, so the answer to any of them tells of all before. No call has a
        // string for its id, so this cancels nothing.
        if let Ok(params) = to_raw_value(&serde_json::json!({ "id": "none" })) {
            let _ = self.call("rpc.cancel", Some(&params)).await;
        }
    }

    pub(crate) async fn closed(&self) {
        self.jsonrpsee.on_disconnect().await;
    }

    /// What the end of the connection means to those who were waiting for `method` on it.
    pub(crate) fn disconnected(&self, method: &str) -> Error {
        self.link
            .farewell()
            .map_or_else(|| Error::disconnected(method), Error::Rpc)
    }

    async fn failure(&self, id: u64, error: JsonrpseeError) -> Failure {
        match error {
            JsonrpseeError::Call(error) => Failure::Final(rpc(error.code(), error.message(), error.data())),
            JsonrpseeError::ParseError(error) => Failure::Final(Error::Decode(error)),
            error => {
                tracing::debug!(%error, "the connection was lost");
                // Only when jsonrpsee has closed is it sure that nothing more is sent.
                self.jsonrpsee.on_disconnect().await;
                if self.link.lost_before(id) {
                    return Failure::Unsent;
                }
                match self.link.farewell() {
                    Some(error) => Failure::Final(Error::Rpc(error)),
                    None => Failure::Lost {
                        gave: self.link.has_talked(id),
                    },
                }
            }
        }
    }

    /// Does something for which nobody waits here.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(work);
    }

    fn errand(&self, errand: impl Future<Output = ()> + Send + 'static) {
        let mut errands = self.errands.lock().unwrap_or_else(PoisonError::into_inner);
        while errands.try_join_next().is_some() {}
        errands.spawn_on(errand, &self.runtime);
    }
}

struct CancelOnDrop<'a> {
    connection: &'a Connection,
    id: Option<u64>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take()
            && let Ok(params) = to_raw_value(&serde_json::json!({ "id": id }))
        {
            // The notification rather than `rpc.cancel`, whose answer would come to nobody.
            self.connection.notify("$/cancelRequest", params);
        }
    }
}

fn rpc(code: i32, message: &str, data: Option<&RawValue>) -> Error {
    Error::Rpc(RpcError {
        code,
        message: message.to_owned(),
        data: data.and_then(|data| serde_json::from_str(data.get()).ok()),
    })
}

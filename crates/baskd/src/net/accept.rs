//! The daemon's door: who comes is served, until it is asked to stop or nobody has come for so long. Nobody who has come
//! through is lost: whoever is connected when it closes is answered, and told what has not run.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connection;
use super::listen::Listener;
use crate::rpc::Service;

/// How long connections may take to read their last lines once all is answered.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// When what lacked a descriptor is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(100);

pub(crate) struct Door {
    service: Rc<Service>,
    /// None once nobody comes through any more.
    listener: Option<Listener>,
    connections: JoinSet<()>,
    /// Nothing more is answered.
    closing: CancellationToken,
    /// Zero: it never closes by itself.
    idle_exit: Duration,
}

/// Why a daemon accepts no more connections.
enum Why {
    Asked,
    Idle,
}

impl Door {
    pub(crate) fn new(service: Rc<Service>, listener: Listener, idle_exit: Duration) -> Door {
        Door {
            service,
            listener: Some(listener),
            connections: JoinSet::new(),
            closing: CancellationToken::new(),
            idle_exit,
        }
    }

    /// Serves whoever comes. Returns when the daemon is to stop.
    pub(crate) async fn stand_open(&mut self) {
        loop {
            match self.accept().await {
                Why::Asked => return,
                Why::Idle if self.withdraw().await => return,
                Why::Idle => {}
            }
        }
    }

    async fn accept(&mut self) -> Why {
        let socket = self.listener.as_ref().map(|listener| listener.socket.try_clone());
        let Some(socket) = socket else { return Why::Asked };
        let socket = match socket.and_then(UnixListener::from_std) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!("the socket can't be served: {error}");
                return Why::Asked;
            }
        };
        let service = self.service.clone();
        let mut has_complained = false;
        loop {
            let may_end = !self.idle_exit.is_zero() && self.connections.is_empty();
            tokio::select! {
                accepted = socket.accept() => match accepted {
                    Ok((stream, _)) => {
                        has_complained = false;
                        self.serve(stream);
                    }
                    Err(error) => {
                        // Out of descriptors, most likely: those who wait are accepted when there are some again.
                        if !std::mem::replace(&mut has_complained, true) {
                            service.logs.warn(&format!("connections can't be accepted now: {error}"));
                        }
                        tokio::time::sleep(TRY_AGAIN).await;
                    }
                },
                Some(_) = self.connections.join_next() => {}
                () = idle(&service, self.idle_exit), if may_end => return Why::Idle,
                () = service.stop.cancelled() => return Why::Asked,
            }
        }
    }

    fn serve(&mut self, stream: UnixStream) {
        let serving = connection::serve(stream, self.service.clone(), self.closing.clone());
        self.connections.spawn_local(serving);
    }

    /// One of those who have connected and were not accepted yet.
    fn next(&self) -> io::Result<Option<UnixStream>> {
        let came = self
            .listener
            .as_ref()
            .map(Listener::next_of_last)
            .transpose()?
            .flatten();
        let Some(stream) = came else { return Ok(None) };
        stream.set_nonblocking(true)?;
        UnixStream::from_std(stream).map(Some)
    }

    /// Nobody has come for so long: lets nobody connect any more. False if somebody came at the last moment, and the
    /// daemon serves on.
    async fn withdraw(&mut self) -> bool {
        let logs = self.service.logs.clone();
        let is_given = self.listener.as_ref().is_some_and(Listener::is_given);
        if let Some(listener) = self.listener.as_ref().filter(|listener| !listener.is_given())
            && let Err(error) = listener.withdraw()
        {
            logs.warn(&format!("the socket can't be shut: {error}"));
        }
        loop {
            match self.next() {
                Ok(Some(stream)) => self.serve(stream),
                Ok(None) => break,
                // On a socket that is given, the next daemon is started for whoever waits.
                Err(_) if is_given => break,
                Err(_) => tokio::time::sleep(TRY_AGAIN).await,
            }
        }
        if !self.connections.is_empty() {
            tracing::debug!(target: "baskd", "somebody came when it was about to end: it serves on");
            let listener = self.listener.as_mut().filter(|listener| !listener.is_given());
            let Some(Err(error)) = listener.map(Listener::bind_anew) else {
                return false;
            };
            logs.warn(&format!(
                "{error}; those who are connected are served, and then it ends"
            ));
            tokio::select! {
                () = async { while self.connections.join_next().await.is_some() {} } => {}
                () = self.service.stop.cancelled() => return true,
            }
            self.service.backend.idle().await;
        }
        let idle = self.idle_exit;
        logs.info(&format!("stopping: no connection and no call for {idle:?} (idle_exit)"));
        true
    }

    /// Nobody comes through any more. Those who have connected are taken in: what they have asked for is told not to have
    /// run. On a socket that was given to the daemon, they are the next one's, which may be there soon.
    pub(crate) fn shut(&mut self) {
        if self
            .listener
            .as_ref()
            .is_some_and(|listener| !listener.is_given() && listener.withdraw().is_ok())
        {
            // For lack of a descriptor, those who are left lose their connections.
            while let Ok(Some(stream)) = self.next() {
                self.serve(stream);
            }
        }
        self.listener = None;
    }

    /// All is answered: lets those go who are still connected.
    pub(crate) async fn see_off(mut self) {
        self.closing.cancel();
        let all = async { while self.connections.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_WRITES, all).await.is_err() {
            self.connections.shutdown().await;
        }
    }
}

/// Returns when no call has been under way for as long as a daemon without connections may be idle. Without connections
/// there are no new calls, so that one look after the wait is enough.
async fn idle(service: &Service, idle_exit: Duration) {
    service.backend.idle().await;
    tokio::time::sleep(idle_exit).await;
    service.backend.idle().await;
}

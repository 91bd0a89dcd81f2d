//! A connection that comes back, and what becomes of calls when it is lost.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::Error;
use crate::connection::{Connection, Failure};
use crate::socket::dial;
use crate::start::Launch;

/// How long the new daemon may take to say which methods are idempotent: its Python may still be starting.
const DISCOVERY: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) path: PathBuf,
    pub(crate) reconnect: Duration,
    pub(crate) launch: Launch,
    pub(crate) current: Mutex<Arc<Connection>>,
}

/// What is known of a call, should it be under way when the connection is lost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry<'a> {
    /// The controller's method; None for one of the daemon's own.
    pub(crate) method: Option<&'a str>,
    /// Whether it may run twice, where the caller has said so.
    pub(crate) idempotent: Option<bool>,
}

/// Connects, for the first time: tries for `wait`; where nobody answers, a daemon is started, if there is one to start.
pub(crate) async fn connect(path: &std::path::Path, wait: Duration, launch: &Launch) -> Result<Arc<Connection>, Error> {
    let dialed = match dial(path, Duration::ZERO).await {
        Err(Error::NoDaemon { .. }) => {
            let started = launch.is_wanted() && launch.start(path).await?;
            dial(path, if started { wait.max(MOMENT) } else { wait }).await
        }
        dialed => dialed,
    };
    Ok(Connection::new(dialed?))
}

/// Somebody listened just now.
const MOMENT: Duration = Duration::from_secs(1);

impl Session {
    /// Calls `method`. One that never went out goes out on the next connection; one that was lost under way does, once,
    /// if it may run twice.
    pub(crate) async fn call(
        &self,
        method: &str,
        params: Option<&RawValue>,
        retry: Retry<'_>,
    ) -> Result<Box<RawValue>, Error> {
        let mut was_lost = false;
        loop {
            // This ends: a request that never went out has a lost connection behind it, and another is only made by a
            // daemon that accepts it.
            match self.connection().await?.call(method, params).await {
                Ok(result) => return Ok(result),
                Err(Failure::Unsent) => {}
                Err(Failure::Final(Error::Disconnected)) if !was_lost && self.may_repeat(retry).await => {
                    was_lost = true
                }
                Err(Failure::Final(error)) => return Err(error),
            }
        }
    }

    /// Whether a call that was lost may run again: as its caller says, or else the controller.
    async fn may_repeat(&self, retry: Retry<'_>) -> bool {
        let (Some(method), None | Some(true)) = (retry.method, retry.idempotent) else {
            return false;
        };
        // A daemon that is dying may still take connections, and loses them with the others: then it is asked again.
        let asked = async {
            loop {
                let connection = self.connection_in(Duration::ZERO).await?;
                let known = match retry.idempotent {
                    Some(_) => connection.ping().await.map(|()| true),
                    None => {
                        let methods = connection.idempotent.get_or_try_init(|| idempotent(&connection));
                        methods.await.map(|methods| methods.contains(method))
                    }
                };
                match known {
                    Ok(known) => return Ok(known),
                    Err(Failure::Unsent | Failure::Final(Error::Disconnected)) => {}
                    Err(Failure::Final(error)) => return Err(error),
                }
            }
        };
        matches!(timeout(DISCOVERY, asked).await, Ok(Ok(true)))
    }

    /// The connection there is, or a new one.
    pub(crate) async fn connection(&self) -> Result<Arc<Connection>, Error> {
        self.connection_in(self.reconnect).await
    }

    async fn connection_in(&self, patience: Duration) -> Result<Arc<Connection>, Error> {
        let mut current = self.current.lock().await;
        if !current.alive() {
            *current = connect(&self.path, patience, &self.launch).await?;
        }
        Ok(current.clone())
    }

    /// As [`Session::connection`], for something that is not worth starting a daemon for.
    pub(crate) async fn connection_if_there(&self) -> Result<Arc<Connection>, Error> {
        let mut current = self.current.lock().await;
        if !current.alive() {
            *current = Connection::new(dial(&self.path, Duration::ZERO).await?);
        }
        Ok(current.clone())
    }
}

/// The methods that the controller says may run twice.
async fn idempotent(connection: &Connection) -> Result<HashSet<String>, Failure> {
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
    let document = connection.call("rpc.discover", None).await?;
    let document = serde_json::from_str::<Document>(document.get());
    let methods = document.map_err(|error| Failure::Final(Error::Decode(error)))?.methods;
    let named = methods.into_iter().filter(|method| method.idempotent);
    Ok(named.map(|method| method.name).collect())
}

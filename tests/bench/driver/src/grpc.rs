//! gRPC's side of it: HTTP/2 by `h2`, one tiny protobuf message by hand.

use std::cell::RefCell;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::future::try_join_all;
use h2::client::{Builder, SendRequest};
use http::Request;
use serde_json::{Value, json};
use tokio::net::UnixStream;

use crate::connection::Address;
use crate::report::{Latencies, Meter, Span};

/// A frame of 2 bytes that holds field 1, a varint, of value 1.
const CALL: Bytes = Bytes::from_static(&[0, 0, 0, 0, 2, 0x08, 1]);

/// `connections`, each with `depth` calls under way.
pub(crate) fn load(to: &Address, connections: usize, depth: usize, span: Span) -> Result<Value> {
    let Address::Unix(path) = to else {
        bail!("gRPC is measured on a Unix socket")
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut clients = Vec::with_capacity(connections);
        for _ in 0..connections {
            clients.push(connect(path).await?);
        }
        let meter = RefCell::new(Meter::start(span));
        let latencies = RefCell::new(Latencies::default());
        let lanes = clients
            .iter()
            .flat_map(|client| (0..depth).map(|_| lane(client.clone(), &meter, &latencies)));
        try_join_all(lanes).await?;
        Ok(json!({ "per_second": meter.borrow().per_second(), "latency": latencies.take().report() }))
    })
}

async fn connect(path: &str) -> Result<SendRequest<Bytes>> {
    let stream = UnixStream::connect(path)
        .await
        .with_context(|| format!("connecting to {path}"))?;
    let (client, connection) = Builder::new().handshake(stream).await?;
    // It ends with the runtime; what goes wrong on it goes wrong in the calls, too.
    tokio::spawn(connection);
    Ok(client)
}

/// One call after another.
async fn lane(client: SendRequest<Bytes>, meter: &RefCell<Meter>, latencies: &RefCell<Latencies>) -> Result<()> {
    let mut client = client.ready().await?;
    loop {
        let before = Instant::now();
        let warm = meter.borrow().is_warm();
        call(&mut client).await?;
        let now = Instant::now();
        if warm {
            latencies.borrow_mut().push(now - before);
        }
        if !meter.borrow_mut().add(1, now) {
            return Ok(());
        }
        client = client.ready().await?;
    }
}

async fn call(client: &mut SendRequest<Bytes>) -> Result<()> {
    let request = Request::post("http://localhost/bench.Bench/Increment")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    let (response, mut out) = client.send_request(request, false)?;
    out.send_data(CALL, true)?;
    let mut body = response.await?.into_body();
    let mut length = 0;
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        length += chunk.len();
        body.flow_control().release_capacity(chunk.len())?;
    }
    let trailers = body.trailers().await?.context("an answer without trailers")?;
    if trailers.get("grpc-status").is_none_or(|status| status != "0") || length <= 5 {
        bail!("not a result: {trailers:?}, {length} bytes");
    }
    Ok(())
}

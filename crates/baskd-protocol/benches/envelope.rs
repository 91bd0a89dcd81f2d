//! What reading a request's envelope and writing an answer's costs: `cargo bench -p baskd-protocol`.

use std::hint::black_box;

use baskd_protocol::reply;
use baskd_protocol::request::Request;
use baskd_protocol::scan::{Scan, Scanner};
use criterion::{Criterion, criterion_group, criterion_main};

fn read(criterion: &mut Criterion) {
    let text = r#"{"jsonrpc":"2.0","id":1,"method":"increment","params":{"by":1}}"#;
    let mut scanner = Scanner::new(128, 1024);
    assert!(matches!(scanner.scan(text.as_bytes()), Scan::Complete(end) if end == text.len()));
    criterion.bench_function("Request::read", |bencher| {
        bencher.iter(|| black_box(Request::read(black_box(text), scanner.members())).is_ok());
    });
}

fn write(criterion: &mut Criterion) {
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    let mut out = Vec::with_capacity(large.len() + 100);
    for (name, result) in [
        ("reply::result", r#"{"counter":1}"#),
        ("reply::result of 1 MiB", &large),
    ] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                reply::result(&mut out, black_box("1"), black_box(result.as_bytes()));
                black_box(&out);
            });
        });
    }
    criterion.bench_function("reply::event", |bencher| {
        bencher.iter(|| {
            out.clear();
            reply::event(
                &mut out,
                "stream.item",
                black_box(7),
                &[b"{\"item\":", black_box(b"{\"item\":1}"), b"}"],
            );
            black_box(&out);
        });
    });
}

criterion_group!(benches, read, write);
criterion_main!(benches);

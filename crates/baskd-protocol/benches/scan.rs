//! What finding a message's end costs: `cargo bench -p baskd-protocol`, or `tests/bench/run criterion`.

use std::hint::black_box;

use baskd_protocol::scan::{Scan, Scanner};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// As the daemon's own limits are by default.
const MAX_NESTING: usize = 128;
const MAX_BATCH: usize = 1024;

fn scan(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scan");
    for (name, text) in [
        ("small message", small(1)),
        ("1 MiB string", echo(&"x".repeat(1 << 20))),
        // Every eighth character is two bytes and escaped, as in a text with line ends.
        ("1 MiB string with escapes", echo(&"xxxxxx\\n".repeat((1 << 20) / 8))),
        ("64 pipelined messages", (1..=64).map(small).collect()),
        (
            "batch of 64",
            format!("[{}]", (1..=64).map(small).collect::<Vec<_>>().join(",")),
        ),
    ] {
        let bytes = text.as_bytes();
        let mut scanner = Scanner::new(MAX_NESTING, MAX_BATCH);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| scan_all(&mut scanner, black_box(bytes)))
        });
    }
    group.finish();
}

/// Scans the values of `bytes` one after another, as a connection does; gives how many they are.
fn scan_all(scanner: &mut Scanner, mut bytes: &[u8]) -> usize {
    let mut values = 0;
    while !bytes.is_empty() {
        scanner.reset();
        let Scan::Complete(end) = scanner.scan(bytes) else {
            panic!("a value that is not whole");
        };
        values += 1;
        bytes = bytes[end..].trim_ascii_start();
    }
    values
}

fn small(id: usize) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"increment\",\"params\":{{\"by\":1}}}}\n")
}

fn echo(text: &str) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":{{\"text\":\"{text}\"}}}}\n")
}

criterion_group!(benches, scan);
criterion_main!(benches);

//! The lines a daemon sends: answers and subscription notifications, written around JSON that is carried as it came.

/// `{"jsonrpc":"2.0","id":ID,"result":RESULT}`, without the newline that ends a line, so that it serves in a batch too.
pub fn result(out: &mut Vec<u8>, id: &str, result: &[u8]) {
    answer(out, id, b"result", result);
}

/// `{"jsonrpc":"2.0","id":ID,"error":ERROR}`, likewise; `error` is the whole error object.
pub fn error(out: &mut Vec<u8>, id: &str, error: &[u8]) {
    answer(out, id, b"error", error);
}

fn answer(out: &mut Vec<u8>, id: &str, name: &[u8], value: &[u8]) {
    out.reserve(value.len() + id.len() + 40);
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name);
    out.extend_from_slice(b"\":");
    out.extend_from_slice(value);
    out.push(b'}');
}

/// One event of a subscription, a whole line: `parts`, put together, are the JSON of `result`.
pub fn event(out: &mut Vec<u8>, method: &str, subscription: u64, parts: &[&[u8]]) {
    notification(out, method, subscription, b"\"result\":", parts);
}

/// The line by which jsonrpsee's client ends a subscription, and which others ignore.
pub fn closed(out: &mut Vec<u8>, method: &str, subscription: u64) {
    notification(
        out,
        method,
        subscription,
        b"\"error\":",
        &[br#"{"code":0,"message":"closed"}"#],
    );
}

fn notification(out: &mut Vec<u8>, method: &str, subscription: u64, name: &[u8], parts: &[&[u8]]) {
    out.reserve(parts.iter().map(|part| part.len()).sum::<usize>() + method.len() + 90);
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"method\":\"");
    out.extend_from_slice(method.as_bytes());
    out.extend_from_slice(b"\",\"params\":{\"subscription\":");
    push_number(out, subscription);
    out.push(b',');
    out.extend_from_slice(name);
    for part in parts {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"}}\n");
}

/// `number` in decimal, without the machinery of `format!`.
pub fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_the_protocol_says() {
        let mut out = Vec::new();
        result(&mut out, "\"a\"", b"[1]");
        out.push(b'\n');
        error(&mut out, "null", br#"{"code":-32700,"message":"x"}"#);
        out.push(b'\n');
        event(&mut out, "stream.item", 12, &[b"{\"item\":", b"5", b"}"]);
        closed(&mut out, "stream.item", u64::MAX);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"jsonrpc":"2.0","id":"a","result":[1]}
{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}
{"jsonrpc":"2.0","method":"stream.item","params":{"subscription":12,"result":{"item":5}}}
{"jsonrpc":"2.0","method":"stream.item","params":{"subscription":18446744073709551615,"error":{"code":0,"message":"closed"}}}
"#
        );
    }
}

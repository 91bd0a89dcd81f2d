//! The OpenRPC document, made from what the live controller's router told of its methods.

use serde_json::{Map, Value, json};

use crate::backend::methods::Methods;
use crate::backend::wire::{Method, Ready};

/// The document of these methods, as JSON.
pub(crate) fn of(methods: &Methods) -> &str {
    methods.document.get_or_init(|| document(&methods.ready).to_string())
}

fn document(ready: &Ready) -> Value {
    let mut info = Map::from_iter([
        ("title".to_owned(), ready.controller.clone().into()),
        ("version".to_owned(), env!("CARGO_PKG_VERSION").into()),
    ]);
    if let Some(doc) = &ready.doc {
        info.insert("description".into(), doc.clone().into());
    }
    json!({
        "openrpc": "1.3.2",
        "info": info,
        "methods": ready.methods.iter().map(method).collect::<Vec<_>>(),
    })
}

fn method(method: &Method) -> Value {
    let params: Vec<_> = method
        .params
        .iter()
        .map(|param| {
            let mut schema = schema(&param.schema);
            if let Some(default) = &param.default {
                schema["default"] = default.clone();
            }
            json!({ "name": param.name, "required": param.required, "schema": schema })
        })
        .collect();
    let mut described = Map::from_iter([("name".to_owned(), method.name.clone().into())]);
    if let Some(doc) = &method.doc {
        let (summary, rest) = doc.split_once("\n").unwrap_or((doc, ""));
        described.insert("summary".into(), summary.trim().into());
        if !rest.trim().is_empty() {
            described.insert("description".into(), doc.clone().into());
        }
    }
    described.insert(
        "paramStructure".into(),
        if method.whole { "by-name" } else { "either" }.into(),
    );
    described.insert("params".into(), params.into());
    described.insert(
        "result".into(),
        json!({ "name": "result", "schema": schema(&method.result) }),
    );
    described.insert("x-kind".into(), method.kind.clone().into());
    for (name, set) in [
        ("x-concurrent", method.concurrent),
        ("x-idempotent", method.idempotent),
        ("x-extra-params", method.whole || method.extra),
    ] {
        if set {
            described.insert(name.into(), true.into());
        }
    }
    described.into()
}

/// A schema that allows anything is `true`; OpenRPC wants an object.
fn schema(schema: &Value) -> Value {
    if schema.is_object() { schema.clone() } else { json!({}) }
}

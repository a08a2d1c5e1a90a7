//! Values in URLs: the document and the routes agree on which are valid.

use axum::{
    body::{Body, to_bytes},
    http::{Method, Request},
};
use jsonschema::Validator;
use serde_json::{Value, json};

use super::Client;

/// Values that name nothing. Each parameter in a path accepts one of them.
const UNKNOWN: [&str; 8] =
    ["nobody", "instance:nobody", "1.0", "users@999", "1", "stream:nobody", "start.js", EVENT];
const EVENT: &str = "0192d3f0-7c1e-7000-8000-3f1c5a7b9e21";

/// Returns texts at the edges of what names, ids and numbers may be.
fn odd_texts() -> Vec<String> {
    let long = |prefix: &str, letter: &str| format!("{prefix}{}", letter.repeat(1_100));
    let mut texts =
        vec![long("", "x"), long("", "é"), long("stream:", "é"), long("instance:", "x")];
    let short = [
        " ",
        "a b",
        " a",
        "é",
        "a/b",
        ".",
        "..",
        "a@b",
        "@1",
        "x@1",
        "users@01",
        "\u{1}@1",
        "x\n@1",
        "users@999999999999999999",
        "users@1000000000000000000",
        "a\u{1}b",
        "a\nb",
        "\0",
        "\u{85}",
        "instance:",
        "instance:\u{1}",
        "stream:",
        "stream:a\0b",
        "other:a",
        "01.0",
        "+1.0",
        "1.",
        "999999999999999999.999999999999999999",
        "18446744073709551616.0",
        "99999999999999999999.99999999999999999999",
        "18446744073709551615",
        "18446744073709551616",
        "-1",
        "0192D3F0-7C1E-7000-8000-3F1C5A7B9E21",
        "0192d3f07c1e700080003f1c5a7b9e21",
        "{0192d3f0-7c1e-7000-8000-3f1c5a7b9e21}",
        "0192d3f0-7c1e-7000-8000-3f1c5a7b9e2",
        "0192d3f0-7c1e-7000-8000-3f1c5a7b9e2g",
        "0192d3f07-c1e-7000-8000-3f1c5a7b9e21",
    ];
    texts.extend(short.map(str::to_owned));
    texts
}

/// A parameter in the path or the query string of an operation.
struct Parameter<'c> {
    client: &'c Client,
    method: Method,
    name: &'c str,
    /// URL with the values of the other parameters, and `{}` for this one.
    url: String,
    kind: &'c str,
    validator: Validator,
}

fn validator(document: &Value, parameter: &Value) -> Validator {
    let mut schema = json!({ "allOf": [parameter["schema"]] });
    // A validator with all components takes long to make, and few parameters need them.
    if parameter["schema"].to_string().contains("$ref") {
        schema["components"] = document["components"].clone();
    }
    jsonschema::draft202012::new(&schema).unwrap()
}

impl<'c> Parameter<'c> {
    fn new(
        client: &'c Client,
        (method, path): (Method, &str),
        operation: &'c Value,
        parameter: &'c Value,
    ) -> Self {
        let name = parameter["name"].as_str().unwrap();
        let mut url = path.replace(&format!("{{{name}}}"), "{}");
        for other in operation["parameters"].as_array().unwrap() {
            let place = format!("{{{}}}", other["name"].as_str().unwrap());
            if url.contains(&place) {
                let kind = other["schema"]["type"].as_str().unwrap_or_default();
                let validator = validator(client.document(), other);
                let known = UNKNOWN.iter().find(|text| validator.is_valid(&value(kind, text)));
                url = url.replace(&place, known.unwrap());
            }
        }
        if parameter["in"] == "query" {
            url = format!("{url}?{name}={{}}");
        }
        let kind = parameter["schema"]["type"].as_str().unwrap_or_default();
        let validator = validator(client.document(), parameter);
        Self { client, method, name, url, kind, validator }
    }

    /// Returns the status of the response, and whether it refuses this parameter's value.
    async fn answer(&self, text: &str) -> (u16, bool) {
        let url = self.url.replace("{}", &encoded(text));
        let request = Request::builder().method(self.method.clone()).uri(url);
        let request = request.header("content-type", "application/json");
        let response = self.client.raw(request.body(Body::from("{}")).unwrap()).await;
        let status = response.status().as_u16();
        if status < 400 {
            // The event feed has no end.
            return (status, false);
        }
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let problem: Value = serde_json::from_slice(&body).unwrap();
        let mut errors = problem["errors"].as_array().into_iter().flatten();
        // A value of several is named by its number.
        let first = format!("{}[0]", self.name);
        let names = [self.name, &first];
        (status, errors.any(|error| error["field"].as_str().is_some_and(|f| names.contains(&f))))
    }

    async fn agree(&self, text: &str) {
        let (status, is_refused) = self.answer(text).await;
        let place = format!("{} {}, {} is {text:?}: {status}", self.method, self.url, self.name);
        assert!(status < 500, "{place}");
        if self.validator.is_valid(&value(self.kind, text)) {
            assert!(!is_refused, "the document allows this value: {place}");
        } else {
            assert!(is_refused && status == 400, "the document forbids this value: {place}");
        }
    }
}

/// Returns the JSON value that a text in a URL stands for.
fn value(kind: &str, text: &str) -> Value {
    let unsigned = || text.parse::<u64>().ok().map(Value::from);
    let signed = || text.parse::<i64>().ok().map(Value::from);
    match kind {
        "integer" => unsigned().or_else(signed).unwrap_or_else(|| text.into()),
        "array" => json!([text]),
        _ => text.into(),
    }
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_in_a_url_is_refused_if_and_only_if_the_document_forbids_it() {
    let client = Client::new().await;
    let texts = odd_texts();
    let mut tried = 0;
    for (path, methods) in client.document()["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            for parameter in operation["parameters"].as_array().unwrap() {
                if parameter["in"] == "header" {
                    continue;
                }
                let place = (method.clone(), path.as_str());
                let parameter = Parameter::new(&client, place, operation, parameter);
                for text in &texts {
                    parameter.agree(text).await;
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 1_000, "{tried}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_nothing_can_have_is_unknown() {
    let client = Client::new().await;
    let long = "é".repeat(600);
    for name in ["a%01b", "%20", "..%2F", &encoded(&long)] {
        for (method, path) in [
            (Method::GET, format!("/v1/processes/{name}")),
            (Method::GET, format!("/v1/processes/welcome/instances/{name}")),
            (Method::POST, format!("/v1/processes/welcome/set-aside/stream:{name}/retry")),
            (Method::POST, format!("/v1/projections/{name}/roll-back")),
            (Method::POST, format!("/v1/projections/{name}/drop-old-rows")),
            (Method::POST, format!("/v1/dead-letters/{name}@1/retry")),
            (Method::GET, format!("/v1/reactors/{name}")),
            (Method::GET, format!("/v1/reactors/{name}/dead-letters")),
            (Method::DELETE, format!("/v1/reactors/{name}/dead-letters/{EVENT}")),
        ] {
            let answer = client.ask(method, &path).send().await;
            assert_eq!(answer.problem(), (404, "not-found"), "{path}");
        }
    }
}

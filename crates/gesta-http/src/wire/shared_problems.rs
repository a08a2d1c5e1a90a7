//! The problems that several operations answer with, described once in an OpenAPI document.
//!
//! A page that shows a document reads all of it for each operation that is opened, so its size
//! matters. Successes and rejections stay where they are: programs read their links and codes
//! there.

use std::collections::{BTreeMap, HashMap};

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

/// A status with its description.
type Described = (String, Value);

/// Moves problems that occur more than once into components, which are returned.
pub(crate) fn share_problems(paths: &mut Map<String, Value>) -> Map<String, Value> {
    let mut occurrences: HashMap<Described, usize> = HashMap::new();
    for_each_problem(paths, |status, problem| {
        *occurrences.entry((status.to_owned(), problem.clone())).or_default() += 1;
    });
    occurrences.retain(|_, number| *number > 1);
    let mut names: HashMap<Described, String> = HashMap::new();
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    for_each_problem(paths, |status, problem| {
        let described = (status.to_owned(), problem.clone());
        if !occurrences.contains_key(&described) {
            return;
        }
        let name = names.entry(described).or_insert_with(|| {
            let number = numbers.entry(status.to_owned()).or_default();
            *number += 1;
            format!("problem-{status}-{number}")
        });
        *problem = json!({ "$ref": format!("#/components/responses/{name}") });
    });
    names.into_iter().map(|((_, problem), name)| (name, problem)).collect()
}

/// Calls `act` with the status of each problem and its description, in the order of the document.
fn for_each_problem(paths: &mut Map<String, Value>, mut act: impl FnMut(&str, &mut Value)) {
    let operations = paths.values_mut().filter_map(Value::as_object_mut).flat_map(Map::values_mut);
    let responses = operations.filter_map(|it| it.get_mut("responses")?.as_object_mut());
    for (status, response) in responses.flatten() {
        let is_problem = status.starts_with(['4', '5']);
        if is_problem && *status != StatusCode::UNPROCESSABLE_ENTITY.as_str() {
            act(status, response);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(paths: Value) -> Map<String, Value> {
        paths.as_object().unwrap().clone()
    }

    #[test]
    fn a_problem_of_several_operations_is_described_once() {
        let (gone, busy) = (json!({ "description": "gone" }), json!({ "description": "busy" }));
        let ok = json!({ "description": "found" });
        let mut paths = paths(json!({
            "/doors": { "get": { "responses": { "200": ok, "404": gone, "422": gone } } },
            "/keys": { "get": { "responses": { "200": ok, "404": gone, "503": busy, "422": gone } } },
        }));
        let shared = share_problems(&mut paths);
        assert_eq!(Value::Object(shared), json!({ "problem-404-1": gone }));
        let reference = json!({ "$ref": "#/components/responses/problem-404-1" });
        let keys = &paths["/keys"]["get"]["responses"];
        assert_eq!(*keys, json!({ "200": ok, "404": reference, "503": busy, "422": gone }));
        assert_eq!(paths["/doors"]["get"]["responses"]["404"], reference);
    }

    #[test]
    fn descriptions_of_one_status_are_told_apart() {
        let (door, key) = (json!({ "description": "no door" }), json!({ "description": "no key" }));
        let of = |problem: &Value| json!({ "responses": { "404": problem } });
        let mut paths = paths(json!({
            "/doors": { "get": of(&door), "put": of(&door) },
            "/keys": { "get": of(&key), "put": of(&key) },
        }));
        let shared = share_problems(&mut paths);
        assert_eq!(Value::Object(shared), json!({ "problem-404-1": door, "problem-404-2": key }));
    }
}

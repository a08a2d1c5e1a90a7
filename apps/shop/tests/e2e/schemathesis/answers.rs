//! Answers counted in the tool's report.
//!
//! The report is a line of JSON for each thing that happened. Those of requests,
//! `ScenarioFinished`, have under one id what was asked and what came back.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Number of answers to each operation.
#[derive(Debug, Default)]
pub(super) struct Answers {
    all: usize,
    /// With a 2xx.
    good: BTreeMap<String, usize>,
}

/// Counts the findings of a report.
pub(super) fn read(report: &Path) -> Result<Answers> {
    let file = File::open(report).with_context(|| report.display().to_string())?;
    let mut answers = Answers::default();
    for line in BufReader::new(file).lines() {
        answers.add(&serde_json::from_str(&line?).context("a line of the report")?)?;
    }
    Ok(answers)
}

impl Answers {
    fn add(&mut self, line: &Value) -> Result<()> {
        let interactions = line.pointer("/ScenarioFinished/recorder/interactions");
        for (id, interaction) in interactions.and_then(Value::as_object).into_iter().flatten() {
            self.all += 1;
            let status = interaction.pointer("/response/status_code").and_then(Value::as_u64);
            if status.is_some_and(|status| (200..300).contains(&status)) {
                let case = line.pointer(&format!("/ScenarioFinished/recorder/cases/{id}/value"));
                let text = |name| case.and_then(|case| case.get(name)).and_then(Value::as_str);
                let operation = text("method").zip(text("path"));
                let (method, path) = operation.context("an answer has its request beside it")?;
                *self.good.entry(format!("{method} {path}")).or_default() += 1;
            }
        }
        Ok(())
    }

    /// The figures, if each of these operations was answered with a 2xx.
    pub(super) fn reach(&self, operations: &[String]) -> Result<String> {
        let good = |operation: &String| self.good.get(operation).copied().unwrap_or(0);
        let missed: Vec<_> =
            operations.iter().filter(|it| good(it) == 0).map(String::as_str).collect();
        ensure!(missed.is_empty(), "never answered with a 2xx: {}", missed.join(", "));
        let fewest = operations.iter().min_by_key(|it| good(it)).context("there are operations")?;
        Ok(format!(
            "{} requests, no findings; each of {} operations got a 2xx, {fewest} the fewest with {}",
            self.all,
            operations.len(),
            good(fewest),
        ))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answered(status: u16) -> Value {
        json!({ "ScenarioFinished": { "recorder": {
            "label": "POST /v1/orders",
            "cases": { "x": { "value": { "method": "POST", "path": "/v1/orders" } } },
            "interactions": { "x": { "response": { "status_code": status } } },
        } } })
    }

    #[test]
    fn an_operation_without_a_2xx_is_named() {
        let operations = ["POST /v1/orders".to_owned()];
        let mut answers = Answers::default();
        answers.add(&json!({ "EngineStarted": {} })).unwrap();
        answers.add(&answered(422)).unwrap();
        let error = answers.reach(&operations).unwrap_err().to_string();
        assert_eq!(error, "never answered with a 2xx: POST /v1/orders");

        answers.add(&answered(201)).unwrap();
        assert!(
            answers.reach(&operations).unwrap().starts_with("2 requests, no findings; each of 1")
        );
        assert!(answers.reach(&[]).is_err());
    }

    #[test]
    fn an_answer_without_a_request_is_an_error() {
        let mut line = answered(200);
        line["ScenarioFinished"]["recorder"]["cases"] = json!({});
        assert!(Answers::default().add(&line).is_err());
    }
}

//! The table of services.
//!
//! Invariant: a service comes after those that it needs, so that the order of the table is an order
//! of starting.

use anyhow::{Context, Result};

use crate::{
    rows::{
        DynamoDb, FerretDb, Kafka, OpenSearch, POSTGRES_15, POSTGRES_18, POSTGRES_REPLICA,
        Pgbouncer, Prometheus, Redis, Rotel,
    },
    service::Service,
};

/// All services, in the order of starting.
pub(crate) static SERVICES: [&dyn Service; 11] = [
    &POSTGRES_18,
    &POSTGRES_15,
    &POSTGRES_REPLICA,
    &Pgbouncer,
    &DynamoDb,
    &OpenSearch,
    &Kafka,
    &Redis,
    &FerretDb,
    &Prometheus,
    &Rotel,
];

/// Returns the service of this name.
pub(crate) fn by_name(name: &str) -> Result<&'static dyn Service> {
    let found = SERVICES.into_iter().find(|service| service.name() == name);
    found.with_context(|| {
        let names: Vec<&str> = SERVICES.iter().map(|service| service.name()).collect();
        format!("there is no service {name:?}; expected one of {}", names.join(", "))
    })
}

/// Returns the named services and those that they need, or all if no name is given, in the order of
/// starting.
pub(crate) fn with_needed(names: &[String]) -> Result<Vec<&'static dyn Service>> {
    let mut wanted: Vec<&str> = Vec::new();
    for name in names {
        wanted.push(by_name(name)?.name());
    }
    // Those that are needed come earlier, so one pass from the end finds all of them.
    for service in SERVICES.iter().rev() {
        if wanted.contains(&service.name()) {
            wanted.extend(service.needs());
        }
    }
    let is_wanted = |service: &&dyn Service| names.is_empty() || wanted.contains(&service.name());
    Ok(SERVICES.into_iter().filter(is_wanted).collect())
}

/// Returns the named services and those that need them, or all if no name is given, in the order of
/// stopping.
pub(crate) fn with_dependent(names: &[String]) -> Result<Vec<&'static dyn Service>> {
    let mut wanted: Vec<&str> = Vec::new();
    for name in names {
        wanted.push(by_name(name)?.name());
    }
    for service in SERVICES {
        if service.needs().iter().any(|needed| wanted.contains(needed)) {
            wanted.push(service.name());
        }
    }
    let is_wanted = |service: &&dyn Service| names.is_empty() || wanted.contains(&service.name());
    Ok(SERVICES.into_iter().rev().filter(is_wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(services: Result<Vec<&'static dyn Service>>) -> String {
        let names: Vec<_> = services.unwrap().iter().map(|service| service.name()).collect();
        names.join(" ")
    }

    fn named(name: &str) -> Vec<String> {
        vec![name.to_owned()]
    }

    #[test]
    fn a_service_comes_after_those_that_it_needs() {
        for (index, service) in SERVICES.iter().enumerate() {
            let earlier: Vec<_> = SERVICES[..index].iter().map(|service| service.name()).collect();
            assert!(service.needs().iter().all(|needed| earlier.contains(needed)));
            assert!(!earlier.contains(&service.name()), "{} twice", service.name());
        }
    }

    #[test]
    fn a_service_starts_with_those_that_it_needs_and_stops_with_those_that_need_it() {
        assert_eq!(names(with_needed(&named("pgbouncer"))), "postgres pgbouncer");
        assert_eq!(names(with_needed(&named("postgres"))), "postgres");
        assert_eq!(names(with_dependent(&named("postgres-15"))), "postgres-replica postgres-15");
        assert_eq!(names(with_dependent(&named("pgbouncer"))), "pgbouncer");
        let all = "postgres postgres-15 postgres-replica pgbouncer dynamodb opensearch kafka redis \
                   ferretdb prometheus rotel";
        assert_eq!(names(with_needed(&[])), all);
        let reversed: Vec<_> = all.split(' ').rev().collect();
        assert_eq!(names(with_dependent(&[])), reversed.join(" "));
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        let error = by_name("mysql").err().unwrap().to_string();
        assert!(error.contains("expected one of postgres, postgres-15"), "{error}");
    }
}

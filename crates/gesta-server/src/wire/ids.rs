//! UUIDs, which the protocol has as text or as two halves.

use uuid::Uuid;

use super::refused;
use crate::proto::shared;

/// The form in which a client wants to read ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdForm {
    Text,
    /// Two signed halves, the most significant first.
    Halves,
}

impl IdForm {
    pub(crate) fn of(self, id: Uuid) -> shared::Uuid {
        let value = match self {
            Self::Text => shared::uuid::Value::String(id.to_string()),
            Self::Halves => {
                let (high, low) = id.as_u64_pair();
                shared::uuid::Value::Structured(shared::uuid::Structured {
                    most_significant_bits: high.cast_signed(),
                    least_significant_bits: low.cast_signed(),
                })
            }
        };
        shared::Uuid { value: Some(value) }
    }
}

/// Reads an id in either form. `what` names it in the error.
pub(crate) fn uuid_of(id: Option<&shared::Uuid>, what: &str) -> Result<Uuid, tonic::Status> {
    match id.and_then(|id| id.value.as_ref()) {
        Some(shared::uuid::Value::String(text)) => {
            text.parse().map_err(|_| refused(format!("{what} must be a UUID; got `{text}`")))
        }
        Some(shared::uuid::Value::Structured(halves)) => Ok(Uuid::from_u64_pair(
            halves.most_significant_bits.cast_unsigned(),
            halves.least_significant_bits.cast_unsigned(),
        )),
        None => Err(refused(format!("{what} is missing"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_both_forms() {
        let id = Uuid::from_u128(0xfedc_ba98_7654_3210_8123_4567_89ab_cdef);
        for form in [IdForm::Text, IdForm::Halves] {
            assert_eq!(uuid_of(Some(&form.of(id)), "id").unwrap(), id, "{form:?}");
        }
    }

    #[test]
    fn an_id_that_is_missing_or_no_uuid_is_refused_with_its_name() {
        let empty = shared::Uuid { value: None };
        let words = shared::Uuid { value: Some(shared::uuid::Value::String("nine".to_owned())) };
        for id in [None, Some(&empty), Some(&words)] {
            let refused = uuid_of(id, "event id").unwrap_err();
            assert!(refused.message().starts_with("event id"), "{refused}");
        }
    }
}

//! Compile errors of the derives, for the mistakes that users make.

use proc_macro2::TokenStream;
use syn::{DeriveInput, parse_quote};

use crate::{command, event, event_set, query, rejection, request_fields, schema};

type Derive = fn(&DeriveInput) -> syn::Result<TokenStream>;

fn error(derive: Derive, input: &DeriveInput) -> String {
    match derive(input) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn an_event_without_a_name_is_told_how_to_give_one() {
    let input = parse_quote! {
        struct DoorOpened;
    };
    let expected = "missing the event's name: `#[event(name = \"order-placed\")]`";
    assert_eq!(error(event::derive, &input), expected);
}

#[test]
fn an_enum_of_events_is_told_to_derive_event_set() {
    let input = parse_quote! {
        #[event(name = "door-opened")]
        enum DoorEvent {
            Opened(DoorOpened),
        }
    };
    assert!(error(event::derive, &input).contains("for an enum of events derive `EventSet`"));
}

#[test]
fn an_older_version_needs_a_higher_version_number() {
    let input = parse_quote! {
        #[event(name = "door-opened", from = DoorOpenedV1)]
        struct DoorOpened;
    };
    assert!(error(event::derive, &input).contains("needs `version = 2` or higher"));
}

#[test]
fn an_event_twice_in_a_set_is_refused_with_both_variants() {
    let input = parse_quote! {
        enum DoorEvent {
            Opened(DoorOpened),
            Closed(DoorClosed),
            OpenedAgain(DoorOpened),
        }
    };
    let expected = "`DoorOpened` is in this set twice, as `Opened` and `OpenedAgain`; remove one";
    assert_eq!(error(event_set::derive, &input), expected);
}

#[test]
fn a_set_is_an_enum_or_the_struct_of_one_event() {
    let input = parse_quote! {
        struct DoorOpened;
    };
    assert_eq!(error(event_set::derive, &input), "");
    let input = parse_quote! {
        union DoorEvent {
            opened: u8,
        }
    };
    assert!(error(event_set::derive, &input).contains("or for the struct of a single event"));
}

#[test]
fn a_variant_without_an_event_is_told_what_it_holds() {
    let input = parse_quote! {
        enum DoorEvent {
            Opened,
        }
    };
    let expected = "a variant must hold exactly one event, as in `Placed(OrderPlaced)`";
    assert_eq!(error(event_set::derive, &input), expected);
}

#[test]
fn a_command_without_an_id_is_told_both_ways_to_give_one() {
    let input = parse_quote! {
        #[command(name = "open-door", on = Door)]
        struct OpenDoor {
            door: u32,
        }
    };
    let error = error(command::derive, &input);
    assert!(error.starts_with("missing the id of the aggregate"), "{error}");
    assert!(error.contains("`#[command(id)]`"), "{error}");
    assert!(error.contains("`#[command(id = path)]`"), "{error}");
}

#[test]
fn a_command_without_an_aggregate_is_told_how_to_name_it() {
    let input = parse_quote! {
        #[command(name = "open-door")]
        struct OpenDoor {
            #[command(id)]
            door: u32,
        }
    };
    assert!(error(command::derive, &input).contains("`#[command(on = Order, …)]`"));
}

#[test]
fn an_unknown_attribute_is_answered_with_the_known_ones() {
    let input = parse_quote! {
        #[command(name = "open-door", on = Door, existng)]
        struct OpenDoor {
            #[command(id)]
            door: u32,
        }
    };
    let error = error(command::derive, &input);
    assert!(error.contains("`new`, `existing`, `either`"), "{error}");
}

fn error_of_event(input: &DeriveInput) -> String {
    error(event::derive, input)
}

#[test]
fn a_personal_field_without_a_name_of_its_own_in_json_is_refused() {
    let flattened = parse_quote! {
        #[event(name = "user-joined")]
        struct UserJoined {
            #[event(personal)]
            #[serde(flatten)]
            name: Name,
        }
    };
    assert!(error_of_event(&flattened).contains("cannot follow `#[serde(flatten)]`"));
    let unnamed = parse_quote! {
        #[event(name = "user-joined")]
        struct UserJoined(#[event(personal)] String);
    };
    assert!(error_of_event(&unnamed).contains("needs a field with a name"));
    let foreign = ["transparent", "into = \"Old\"", "from = \"Old\"", "try_from = \"Old\""];
    for attribute in foreign {
        let attribute: proc_macro2::TokenStream = attribute.parse().unwrap();
        let input = parse_quote! {
            #[event(name = "user-joined")]
            #[serde(#attribute)]
            struct UserJoined {
                #[event(personal)]
                name: String,
            }
        };
        assert!(error_of_event(&input).contains("stores the struct in another form"));
    }
    let twice = parse_quote! {
        #[event(name = "user-joined")]
        struct UserJoined {
            #[event(personal, personal)]
            name: String,
        }
    };
    assert_eq!(error_of_event(&twice), "`personal` is given twice; remove one");
    let unknown = parse_quote! {
        #[event(name = "user-joined")]
        #[serde(rename_all = "Train-Case")]
        struct UserJoined {
            #[event(personal)]
            name: String,
        }
    };
    assert!(error_of_event(&unknown).contains("does not know serde's rule `Train-Case`"));
}

#[test]
fn an_attribute_that_is_given_twice_is_named() {
    let input = parse_quote! {
        #[event(name = "door-opened", name = "door-closed")]
        struct DoorOpened;
    };
    assert_eq!(error(event::derive, &input), "`name` is given twice; remove one");
}

#[test]
fn a_rejection_without_a_code_is_told_how_to_give_one() {
    let input = parse_quote! {
        enum NotOpened {
            Locked,
        }
    };
    let expected = "missing the rejection's code: `#[rejection(code = \"not-paid\")]`";
    assert_eq!(error(rejection::derive, &input), expected);
}

#[test]
fn a_query_without_its_projection_is_told_how_to_name_it() {
    let input = parse_quote! {
        #[query(answer = u32)]
        struct CountDoors;
    };
    let expected = "missing the projection of the query: `#[query(reads = Orders, …)]`";
    assert_eq!(error(query::derive, &input), expected);
}

#[test]
fn a_request_of_an_unknown_attribute_is_told_the_known_ones() {
    let input = parse_quote! {
        #[request(comand = OpenDoor)]
        struct DoorBody {
            door: u32,
        }
    };
    assert!(error(request_fields::derive, &input).contains("expected `command = Command`"));
    let input = parse_quote! {
        #[request(command = OpenDoor)]
        struct DoorBody {
            #[request(today)]
            at: Option<Time>,
        }
    };
    assert!(
        error(request_fields::derive, &input)
            .contains("expected `now`, `new_id`, `default` or `example")
    );
}

#[test]
fn a_schema_of_an_enum_with_fields_is_refused() {
    let input = parse_quote! {
        enum Door {
            Open { width: u8 },
        }
    };
    assert!(error(schema::derive, &input).contains("for enums without fields only"));
    let input = parse_quote! {
        struct Door {
            #[serde(flatten)]
            hinges: Hinges,
        }
    };
    assert!(error(schema::derive, &input).contains("flattened"));
}

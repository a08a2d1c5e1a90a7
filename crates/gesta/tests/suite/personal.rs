//! Fields with personal data: their names in JSON, over all versions of an event.

use gesta::{PersonalField, Registry, TagKey, prelude::*};

const NICKNAME: TagKey<String> = TagKey::new("nick");

fn field(name: &'static str, tag: Option<&'static str>) -> PersonalField {
    PersonalField::new(name, tag)
}

/// Returns the names of the members that serde writes, in order.
fn members(event: &impl Serialize) -> Vec<String> {
    let json = serde_json::to_value(event).unwrap();
    let mut names: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
    names.sort();
    names
}

macro_rules! every_field_is_personal {
    ($($rule:literal => $event:ident),*) => {$(
        #[expect(non_snake_case, reason = "underscores at odd places are what rules treat")]
        #[derive(Event, Serialize, Deserialize, Clone, Default)]
        #[event(name = "named")]
        #[serde(rename_all = $rule)]
        struct $event {
            #[event(personal)]
            a: u8,
            #[event(personal)]
            full_name: u8,
            #[event(personal)]
            line_2_of_address: u8,
            #[event(personal)]
            _odd__one_: u8,
            #[event(personal)]
            r#type: u8,
            #[event(personal)]
            #[serde(rename = "E-Mail")]
            mail: u8,
        }
    )*
        #[test]
        fn names_follow_each_rule_of_serde() {
            $(
                let fields = $event::personal_fields();
                let names: Vec<_> = fields.iter().map(|field| field.name).collect();
                assert_eq!(names, members(&$event::default()), "{}", $rule);
            )*
        }
    };
}

every_field_is_personal! {
    "lowercase" => Lower, "UPPERCASE" => Upper, "PascalCase" => Pascal, "camelCase" => Camel,
    "snake_case" => Snake, "SCREAMING_SNAKE_CASE" => ScreamingSnake, "kebab-case" => Kebab,
    "SCREAMING-KEBAB-CASE" => ScreamingKebab
}

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "user-joined")]
struct UserJoinedV1 {
    #[event(personal)]
    mail: String,
    age: u8,
}

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "user-joined", version = 2, from = UserJoinedV1)]
#[serde(rename_all(serialize = "camelCase"))]
struct UserJoined {
    #[event(tag = "mail", personal)]
    #[serde(rename(deserialize = "mail-address"), alias = "address")]
    mail_address: String,
    #[event(personal)]
    full_name: Option<String>,
    #[event(tag = NICKNAME)]
    #[event(personal)]
    #[serde(rename = "nick")]
    nickname: String,
    #[event(tag)]
    country: String,
}

impl From<UserJoinedV1> for UserJoined {
    fn from(old: UserJoinedV1) -> Self {
        let country = old.age.to_string();
        Self { mail_address: old.mail, full_name: None, nickname: String::new(), country }
    }
}

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "user-left")]
struct UserLeft {
    age: u8,
}

#[derive(EventSet, Clone)]
enum UserEvent {
    Joined(UserJoined),
    Left(UserLeft),
}

#[test]
fn a_registry_knows_the_names_of_all_versions_and_the_keys_of_their_tags() {
    let registry = Registry::of::<UserEvent>();
    let expected = [
        field("address", Some("mail")),
        field("fullName", None),
        field("full_name", None),
        field("mail", None),
        field("mail-address", Some("mail")),
        field("mailAddress", Some("mail")),
        field("mail_address", Some("mail")),
        field("nick", Some("nick")),
    ];
    assert_eq!(registry.personal_fields("user-joined"), expected);
    assert_eq!(registry.personal_fields("user-left"), []);
    assert_eq!(registry.personal_fields("user-forgotten"), []);
}

#[derive(EventSet, Clone)]
#[events(replaced(UserRenamed))]
enum LaterEvent {
    Left(UserLeft),
}

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "user-renamed")]
struct UserRenamed {
    #[event(personal)]
    to: String,
}

impl From<UserRenamed> for Vec<LaterEvent> {
    fn from(_: UserRenamed) -> Self {
        Vec::new()
    }
}

#[test]
fn a_registry_knows_the_names_of_replaced_events() {
    let registry = Registry::of::<LaterEvent>();
    assert_eq!(registry.personal_fields("user-renamed"), [field("to", None)]);
}

#[test]
fn a_mark_changes_neither_the_stored_form_nor_the_shape() {
    let nickname = "ann".to_owned();
    let event = UserJoinedV1 { mail: nickname, age: 7 };
    assert_eq!(serde_json::to_string(&event).unwrap(), r#"{"mail":"ann","age":7}"#);
    assert_eq!(UserJoinedV1::SHAPE, "{mail: String, age: u8}");
}

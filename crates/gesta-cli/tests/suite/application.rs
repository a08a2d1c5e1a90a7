//! Commands for a running application: the requests they send, and the output for its responses.
//! The application here sends prepared responses.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    sync::mpsc::{self, Receiver},
    thread,
};

use crate::scene::{RunOutput, program, run};

/// An application that sends these responses, one for each request, and then ends.
struct Application {
    at: String,
    asked: Receiver<String>,
}

impl Application {
    fn answering(answers: &[(u16, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = format!("http://{}/v1", listener.local_addr().unwrap());
        let answers: Vec<_> =
            answers.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
        let (ran, asked) = mpsc::channel();
        thread::spawn(move || {
            for (status, body) in answers {
                let (mut connection, _) = listener.accept().unwrap();
                let mut lines = BufReader::new(connection.try_clone().unwrap()).lines();
                ran.send(lines.next().unwrap().unwrap()).unwrap();
                while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                let length = body.len();
                write!(
                    connection,
                    "HTTP/1.1 {status} Answer\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                )
                .unwrap();
            }
        });
        Self { at, asked }
    }

    fn run(&self, arguments: &[&str]) -> RunOutput {
        run(program(&[arguments, &["--at", &self.at]].concat()))
    }

    /// Request lines received so far, without the HTTP version.
    fn asked(&self) -> Vec<String> {
        self.asked.try_iter().map(|line| line.replace(" HTTP/1.1", "")).collect()
    }
}

const PROCESSES: &str = r#"{"items":[{"name":"welcome","state":"running","position":12,"timers":1,
"commands":0,"troubled":1,"setAside":2,"error":"the event cannot be read"}]}"#;

#[test]
fn process_managers_are_listed_with_what_is_set_aside_and_why() {
    let application = Application::answering(&[(200, PROCESSES)]);
    let listed = application.run(&["processes", "list"]);
    assert_eq!(
        listed.stdout(),
        "STATE     TROUBLED  SET ASIDE    TIMERS  COMMANDS    POSITION  PROCESS\n\
         running          1          2         1         0          12  welcome\n\
         \x20   the event cannot be read\n"
    );
    assert_eq!(application.asked(), ["GET /v1/processes"]);
}

#[test]
fn instances_are_listed_page_by_page_by_state_and_prefix() {
    let application = Application::answering(&[
        (
            200,
            r#"{"items":[{"id":"ann","state":"troubled","revision":3,"setAside":1}],"next":"0a"}"#,
        ),
        (200, r#"{"items":[],"next":"0b"}"#),
        (200, r#"{"items":[{"id":"anselm","state":"troubled","setAside":1}]}"#),
    ]);
    let arguments = ["processes", "list", "welcome", "--state", "troubled", "--prefix", "an"];
    let listed = application.run(&[&arguments[..], &["--json"]].concat());
    let ids: Vec<_> = listed.objects().iter().map(|it| it["id"].clone()).collect();
    assert_eq!(ids, ["ann", "anselm"]);
    let first = "GET /v1/processes/welcome/instances?state=troubled&prefix=an";
    let pages = [first.to_owned(), format!("{first}&cursor=0a"), format!("{first}&cursor=0b")];
    assert_eq!(application.asked(), pages);
}

#[test]
fn streams_that_are_set_aside_are_listed_with_the_troubled_instances() {
    let troubled = r#"{"items":[{"id":"ann","state":"troubled","revision":3,"setAside":1}]}"#;
    let set_aside = r#"{"items":[{"subject":"instance:ann","inputs":[{"number":1,"kind":"event"}]},
{"subject":"stream:user-poison","inputs":[{"number":2,"kind":"event"},{"number":3,"kind":"event"}]}]}"#;
    let list = ["processes", "list", "welcome", "--state", "troubled"];
    let application = Application::answering(&[(200, troubled), (200, set_aside)]);
    assert_eq!(
        application.run(&list).stdout(),
        "STATE      REVISION  SET ASIDE  ID\n\
         troubled          3          1  ann\n\
         troubled   -                 2  stream:user-poison\n"
    );
    let asked = application.asked();
    assert_eq!(asked.last().unwrap(), "GET /v1/processes/welcome/set-aside");

    let application = Application::answering(&[(200, r#"{"items":[]}"#), (200, set_aside)]);
    let listed = application.run(&[&list[..], &["--prefix", "stream:u", "--json"]].concat());
    let expected = serde_json::json!(
        { "id": "stream:user-poison", "state": "troubled", "setAside": 2 }
    );
    assert_eq!(listed.objects(), [expected]);
}

#[test]
fn an_instance_is_shown_with_its_timers_and_numbers_as_they_were_written() {
    let shown = r#"{"id":"7","stream":"process:pay-7","state":"running","revision":2,
"timers":[{"id":"0.0","due":"2026-01-01T00:00:00Z","timer":{"amount":1.10}}],"commands":[],
"refused":[{"id":"1.0","name":"pay","payload":{},"code":"no-funds","reason":"too little"}],
"setAside":[{"number":4,"kind":"timer","effect":"0.0","attempts":1,"since":"2026-01-01T00:00:00Z",
"error":"it panicked"}]}"#;
    let application = Application::answering(&[(200, shown)]);
    assert_eq!(
        application.run(&["processes", "show", "pay", "7"]).stdout(),
        "id         7\n\
         stream     process:pay-7\n\
         state      running\n\
         revision   2\n\
         timer      0.0 due 2026-01-01T00:00:00Z: {\"amount\":1.10}\n\
         refused    1.0 pay: no-funds: too little\n\
         set aside  4 timer 0.0: it panicked\n"
    );
}

const EVENT: &str = "0192d3f0-7c1e-7000-8000-3f1c5a7b9e21";

const REACTOR: &str = concat!(
    r#"{"name":"welcome-mail","state":"running","position":12,"lagEvents":3,"lagSeconds":0.5,"#,
    r#""retrying":1,"deadLetters":2,"trouble":"stream user-ann: no room"}"#,
);

#[test]
fn reactors_are_listed_and_shown_with_their_progress_and_trouble() {
    let table = "STATE     DEAD LETTERS  RETRYING       LAG    POSITION  REACTOR\n\
                 running              2         1         3          12  welcome-mail\n\
                 \x20   stream user-ann: no room\n";
    let all = format!(r#"{{"items":[{REACTOR}]}}"#);
    let application = Application::answering(&[(200, &all), (200, REACTOR), (200, REACTOR)]);
    assert_eq!(application.run(&["reactors", "list"]).stdout(), table);
    let show = ["reactors", "show", "welcome-mail"];
    assert_eq!(application.run(&show).stdout(), table);
    let shown = application.run(&[&show[..], &["--json"]].concat());
    assert_eq!(shown.objects()[0]["lagSeconds"], 0.5);
    let asked = ["GET /v1/reactors", "GET /v1/reactors/welcome-mail"];
    assert_eq!(application.asked(), [asked[0], asked[1], asked[1]]);
    let other = Application::answering(&[(200, "<h1>welcome</h1>")]);
    other.run(&show).fails_with(2, "must be the URL of a Gesta application");
}

#[test]
fn dead_letters_of_a_reactor_are_listed_with_their_errors() {
    let letters = format!(
        r#"{{"items":[{{"id":"{EVENT}","type":"user-welcomed","stream":"welcome-ann","revision":0,
"position":7,"error":"no room","attempts":10,"since":"2026-01-01T00:00:00Z"}}]}}"#
    );
    let application = Application::answering(&[(200, &letters), (200, r#"{"items":[]}"#)]);
    let list = ["reactors", "dead-letters", "welcome-mail"];
    assert_eq!(
        application.run(&list).stdout(),
        format!(
            "EVENT                                 TYPE                      ATTEMPTS  REVISION  \
             STREAM\n\
             {EVENT}  user-welcomed                   10         0  welcome-ann\n\
             \x20   no room\n"
        )
    );
    let none = application.run(&list);
    assert_eq!((none.code, none.err.as_str()), (0, "no dead letters\n"));
    let asked = "GET /v1/reactors/welcome-mail/dead-letters";
    assert_eq!(application.asked(), [asked, asked]);
}

#[test]
fn orders_name_their_target_escaped_and_carry_the_reason() {
    for (arguments, asked) in [
        (
            &["processes", "retry", "welcome", "instance:a/b c"][..],
            "POST /v1/processes/welcome/set-aside/instance:a%2Fb%20c/retry",
        ),
        (
            &["processes", "skip", "welcome", "stream:user-poison", "12", "--yes"],
            "POST /v1/processes/welcome/set-aside/stream:user-poison/12/skip",
        ),
        (
            &["processes", "cancel", "welcome", "ann", "--yes"],
            "POST /v1/processes/welcome/instances/ann/cancel",
        ),
        (
            &["processes", "fire", "welcome", "ann", "0.0"],
            "POST /v1/processes/welcome/instances/ann/timers/0.0/fire",
        ),
        (
            &["processes", "resend", "welcome", "ann", "1.0"],
            "POST /v1/processes/welcome/instances/ann/commands/1.0/resend",
        ),
        (&["projections", "rebuild", "orders"], "POST /v1/projections/orders/rebuild"),
        (
            &["projections", "rebuild", "orders", "--hold"],
            "POST /v1/projections/orders/rebuild?hold=true",
        ),
        (&["projections", "pause", "orders"], "POST /v1/projections/orders/pause"),
        (&["projections", "resume", "orders"], "POST /v1/projections/orders/resume"),
        (&["projections", "roll-back", "orders"], "POST /v1/projections/orders/roll-back"),
        (
            &["projections", "drop-old", "orders", "--yes"],
            "POST /v1/projections/orders/drop-old-rows",
        ),
        (&["processes", "pause", "welcome"], "POST /v1/processes/welcome/pause"),
        (&["processes", "resume", "welcome"], "POST /v1/processes/welcome/resume"),
        (&["reactors", "pause", "welcome-mail"], "POST /v1/reactors/welcome-mail/pause"),
        (&["reactors", "resume", "welcome-mail"], "POST /v1/reactors/welcome-mail/resume"),
        (&["dead-letters", "retry", "users@12"], "POST /v1/dead-letters/users@12/retry"),
        (&["dead-letters", "discard", "users@12", "--yes"], "DELETE /v1/dead-letters/users@12"),
        (
            &["reactors", "retry", "welcome-mail", EVENT],
            "POST /v1/reactors/welcome-mail/dead-letters/0192d3f0-7c1e-7000-8000-3f1c5a7b9e21/retry",
        ),
        (
            &["reactors", "discard", "a/b c", EVENT, "--yes"],
            "DELETE /v1/reactors/a%2Fb%20c/dead-letters/0192d3f0-7c1e-7000-8000-3f1c5a7b9e21",
        ),
    ] {
        let application = Application::answering(&[(204, ""), (204, "")]);
        assert_eq!(application.run(arguments).stdout(), "done\n");
        assert_eq!(
            application.run(&[arguments, &["--reason", "ann & co"]].concat()).stdout(),
            "done\n"
        );
        let also = if asked.contains('?') { '&' } else { '?' };
        let with_reason = format!("{asked}{also}reason=ann%20%26%20co");
        assert_eq!(application.asked(), [asked.to_owned(), with_reason], "{arguments:?}");
    }
}

#[test]
fn an_order_that_cannot_be_undone_is_sent_only_after_a_confirmation() {
    for arguments in [
        &["processes", "skip", "welcome", "stream:user-poison", "12"][..],
        &["processes", "cancel", "welcome", "ann"],
        &["projections", "drop-old", "orders"],
        &["dead-letters", "discard", "users@12"],
        &["reactors", "discard", "welcome-mail", EVENT],
    ] {
        let application = Application::answering(&[]);
        let refused = application.run(&[arguments, &["--json"]].concat());
        let code = &refused.error()["code"];
        assert_eq!((refused.code, code.as_str()), (2, Some("confirmation-needed")));
        assert!(application.asked().is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_refusal_by_the_application_has_its_reason_and_a_missing_name_its_own_exit_code() {
    let problem = r#"{"title":"Unprocessable","status":422,"code":"still-fails",
"detail":"input 12 of stream:user-poison still fails: it cannot be read"}"#;
    let application = Application::answering(&[(422, problem), (404, problem), (503, problem)]);
    let retry = ["processes", "retry", "welcome", "stream:user-poison"];
    application.run(&retry).fails_with(1, "input 12 of stream:user-poison still fails");
    application.run(&retry).fails_with(3, "(still-fails)");
    application.run(&retry).fails_with(2, "(still-fails)");
}

#[test]
fn where_no_application_answers_it_is_said_what_to_do() {
    let nobody = "http://127.0.0.1:1/v1";
    let list = ["processes", "list", "--at"];
    run(program(&[&list[..], &[nobody]].concat()))
        .fails_with(2, &format!("no response from {nobody}: "));
    let silent = run(program(&[&list[..], &[nobody, "--json"]].concat()));
    assert_eq!(silent.error()["code"], "no-answer");
    run(program(&[&list[..], &["https://shop"]].concat())).fails_with(
        2,
        "--at must be an http:// URL, such as http://127.0.0.1:3000/v1; got https://shop",
    );
    let other = Application::answering(&[(404, "<h1>not here</h1>"), (200, "<h1>welcome</h1>")]);
    other
        .run(&["processes", "list"])
        .fails_with(2, "does not offer this operation (HTTP status 404)");
    other.run(&["processes", "list"]).fails_with(2, "must be the URL of a Gesta application");
}

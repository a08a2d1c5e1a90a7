//! Endless loops and huge allocations fail their script alone.

use std::{
    task::{Context, Waker},
    time::Duration,
};

use gesta_scripts::{Script, ScriptError, ScriptLimits, ScriptThread};

use crate::support::{evaluated, event, handle, script};

/// Limits that are reached soon.
fn tight(source: &str) -> Result<Script, ScriptError> {
    let limits = ScriptLimits::default().memory_bytes(8 << 20).steps(1_000_000);
    let mut script = Script::compile(source, limits)?;
    script.load(None, None)?;
    Ok(script)
}

fn failure(handler: &str) -> ScriptError {
    let source = format!("fromAll().when({{ $any(s, e) {{ {handler} }} }})");
    handle(&mut tight(&source).unwrap(), &event("happened", "{}")).unwrap_err()
}

#[test]
fn an_endless_loop_fails() {
    let endless = [
        "for (;;) {}",
        "while (true) { try { for (;;) {} } catch {} }",
        "(function again() { try { again() } finally { again() } })()",
        "for (;;) { [3, 1, 2].sort() }",
        "/^(a+)+$/.test('a'.repeat(40) + 'b')",
        "JSON.stringify({ toJSON() { for (;;) {} } })",
        "[...(function* () { for (;;) yield })()].length",
    ];
    for handler in endless {
        let failed = failure(handler);
        let is_memory = matches!(failed, ScriptError::OutOfMemory { .. });
        assert!(
            is_memory || matches!(failed, ScriptError::TooManySteps { .. }),
            "{handler}: {failed}"
        );
    }
}

#[test]
fn bulk_work_of_the_engine_is_limited_by_processor_time() {
    let bulk = [
        "var a = []; for (var i = 0; i < 1e5; i++) a.push(i); while (true) { a.slice() }",
        "while (true) JSON.parse('[' + '1,'.repeat(5e5) + '1]')",
        "while (true) { try { var a = []; while (true) a.push(a.slice()) } catch (x) {} }",
        "function f() { try { f() } catch (x) { f() } } f()",
        "var a = new Array(1e5).fill(7); while (true) { try { a.join(); a.indexOf(8) } catch {} }",
        "var b = new Uint8Array(4e5); while (true) { try { b.sort(); b.indexOf(8) } catch {} }",
        "while (true) { try { 'x'.repeat(1e6).split('') } catch {} }",
        "var t = 'x'.repeat(1e6); while (true) { try { t.lastIndexOf('x'.repeat(4e3) + 'y') } catch {} }",
    ];
    for handler in bulk {
        let source = format!("fromAll().when({{ $any(s, e) {{ {handler} }} }})");
        let limits = ScriptLimits::default().time(Duration::from_millis(200));
        let mut script = Script::compile(&source, limits).unwrap();
        script.load(None, None).unwrap();
        let failed = handle(&mut script, &event("happened", "{}")).unwrap_err();
        let is_limit = matches!(
            failed,
            ScriptError::TooSlow { .. }
                | ScriptError::OutOfMemory { .. }
                | ScriptError::TooManySteps { .. }
        );
        assert!(is_limit, "{handler}: {failed}");
    }
}

#[test]
fn a_script_whose_thread_is_dropped_does_not_go_on() {
    futures_executor::block_on(async {
        let limits = ScriptLimits::default().steps(u64::MAX).time(Duration::MAX);
        let source = "fromAll().when({ $any(s, e) { for (;;) {} } })".to_owned();
        let thread = ScriptThread::start(source, limits).await.unwrap();
        let (begun, has_begun) = std::sync::mpsc::channel();
        let (ended, has_ended) = std::sync::mpsc::channel();
        let endless = thread.run(move |script| {
            script.load(None, None)?;
            begun.send(()).unwrap();
            let outcome = handle(script, &event("happened", "{}")).map(|_| ());
            ended.send(outcome.clone()).unwrap();
            outcome
        });
        // The job begins with its first poll; its answer is not waited for.
        let mut endless = Box::pin(endless);
        let mut context = Context::from_waker(Waker::noop());
        assert!(endless.as_mut().poll(&mut context).is_pending());
        has_begun.recv().unwrap();
        drop(endless);
        drop(thread);
        assert_eq!(has_ended.recv().unwrap(), Err(ScriptError::ThreadEnded));
    });
}

#[test]
fn a_native_loop_over_a_false_length_is_refused() {
    for call in [
        "Array.prototype.indexOf.call({ length: 2 ** 53 }, 1)",
        "Array.prototype.forEach.call({ length: 2 ** 53 }, () => {})",
        "Array.prototype.fill.call({ length: 2 ** 53 }, 1)",
        "new Array(4e9).includes(1)",
        "new Array(4e9).reverse()",
        "'a'.repeat(3e6).indexOf('a'.repeat(1.5e6) + 'b')",
    ] {
        let failed = evaluated(call).unwrap_err().to_string();
        assert!(failed.starts_with("RangeError"), "{call}: {failed}");
    }
    assert_eq!(evaluated("[1, 2, 3].indexOf(3)").unwrap(), "2");
    assert_eq!(evaluated("[3, 1, 2].sort().map(n => n * 2).join()").unwrap(), r#""2,4,6""#);
    assert_eq!(evaluated("'a-b-c'.split('-').length").unwrap(), "3");
}

#[test]
fn a_huge_allocation_fails() {
    for handler in [
        "s.all = []; for (;;) s.all.push({ a: 'x' + s.all.length })",
        "s.text = 'x'.repeat(2 ** 29) + 'y'.repeat(2 ** 29)",
        "s.bytes = new Uint8Array(2 ** 31)",
        "let t = 'xy'; for (;;) { t += t; s.n = t.charCodeAt(t.length - 1) }",
        "s.all = new Array(5e6).fill(0).map((_, i) => ({ i }))",
    ] {
        let failed = failure(handler);
        let is_memory = matches!(failed, ScriptError::OutOfMemory { .. })
            || failed.to_string().contains("invalid string length")
            || failed.to_string().contains("string too long")
            || failed.to_string().contains("invalid array buffer length");
        assert!(is_memory, "{handler}: {failed}");
    }
}

#[test]
fn endless_recursion_fails() {
    let failed = failure("(function deeper() { return deeper() + 1 })()").to_string();
    assert!(failed.contains("call stack"), "{failed}");
}

#[test]
fn the_top_level_is_limited_too() {
    let endless = tight("for (;;) {}").unwrap_err();
    assert!(matches!(endless, ScriptError::TooManySteps { steps_max: 1_000_000 }), "{endless}");
    let huge = tight("const all = []; for (;;) all.push('x' + all.length)").unwrap_err();
    let is_limit =
        matches!(huge, ScriptError::OutOfMemory { .. } | ScriptError::TooManySteps { .. });
    assert!(is_limit, "{huge}");
}

#[test]
fn a_key_of_a_partition_and_a_transformation_are_limited_too() {
    let key = "fromAll().partitionBy(e => { for (;;) {} }).when({})";
    let failed = tight(key).unwrap().partition(&event("happened", "{}")).unwrap_err();
    assert!(matches!(failed, ScriptError::TooManySteps { .. }), "{failed}");
    let transform = "fromAll().when({}).transformBy(s => { for (;;) {} })";
    let failed = tight(transform).unwrap().result().unwrap_err();
    assert!(matches!(failed, ScriptError::TooManySteps { .. }), "{failed}");
}

#[test]
fn each_event_has_the_whole_allowance() {
    let source = "fromAll().when({ $any(s, e) { for (let i = 0; i < 300000; i++) {} } })";
    let mut script = tight(source).unwrap();
    for _ in 0..10 {
        handle(&mut script, &event("happened", "{}")).unwrap();
    }
    assert!(script.steps() >= 10 * 290_000, "{} steps", script.steps());
}

#[test]
fn other_scripts_go_on() {
    let mut good = script("fromAll().when({ $init: () => 0, $any: s => s + 1 })");
    failure("for (;;) {}");
    failure("s.all = []; for (;;) s.all.push('x' + s.all.length)");
    handle(&mut good, &event("happened", "{}")).unwrap();
    assert_eq!(good.state().unwrap(), "1");
}

#[test]
fn a_script_that_failed_works_again_from_a_state() {
    let source = "fromAll().when({ $init: () => 0, bad() { for (;;) {} }, good: s => s + 1 })";
    let mut script = tight(source).unwrap();
    handle(&mut script, &event("bad", "{}")).unwrap_err();
    script.load(Some("6"), None).unwrap();
    handle(&mut script, &event("good", "{}")).unwrap();
    assert_eq!(script.state().unwrap(), "7");
}

#[test]
fn memory_does_not_grow_with_the_number_of_events() {
    let source = "fromAll().when({ $init: () => ({ n: 0 }), $any(s, e) { s.n += e.data.n; \
                  emit('a', 'b', { copy: e.data }); log('line') } })";
    let mut script = tight(source).unwrap();
    let mut run = |events: usize| {
        for _ in 0..events {
            handle(&mut script, &event("happened", r#"{"n":1}"#)).unwrap();
        }
        script.memory_bytes()
    };
    let (early, late) = (run(1_000), run(20_000));
    assert!(late < early + (64 << 10), "{early} bytes became {late}");
}

#[test]
fn a_thread_answers_in_order_and_ends_with_its_handle() {
    futures_executor::block_on(async {
        let limits = ScriptLimits::default();
        let source = "fromAll().when({ $init: () => 0, $any: s => s + 1 })".to_owned();
        let thread = ScriptThread::start(source, limits).await.unwrap();
        assert!(thread.definition().handles_any);
        thread.run(|script| script.load(None, None)).await.unwrap();
        for expected in ["1", "2", "3"] {
            let state = thread.run(|script| {
                handle(script, &event("happened", "{}"))?;
                script.state()
            });
            assert_eq!(state.await.unwrap(), expected);
        }
        let refused = ScriptThread::start("fromAll(".to_owned(), limits).await.unwrap_err();
        assert!(matches!(refused, ScriptError::Threw { .. }), "{refused}");
    });
}

#[test]
fn a_thread_that_panicked_is_an_error() {
    futures_executor::block_on(async {
        let source = "fromAll().when({})".to_owned();
        let thread = ScriptThread::start(source, ScriptLimits::default()).await.unwrap();
        let answer: Result<(), ScriptError> = thread.run(|_| panic!("planted")).await;
        assert_eq!(answer, Err(ScriptError::ThreadEnded));
    });
}

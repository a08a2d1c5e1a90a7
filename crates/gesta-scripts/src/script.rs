//! One script in an engine of its own.
//!
//! Owns: the engine, its limits, and the calls between it and the program. Invariants:
//! - After an error the state is undefined, until [`Script::load`].
//! - Each call has the whole allowance of steps and time; those of earlier calls do not count.
//!
//! Not here: the language itself (`prelude.js`).

use std::{
    cell::Cell,
    fmt,
    rc::Rc,
    sync::{Arc, atomic::AtomicBool},
};

use rquickjs::{
    Context, Ctx, Error, Exception, FromJs, Function, IntoJs, Object, Persistent, Runtime,
    context::intrinsic, function::Args,
};

use crate::{Definition, Outputs, ScriptError, ScriptEvent, ScriptLimits, meter::Meter};

/// The language, in JavaScript.
const PRELUDE: &str = include_str!("prelude.js");
/// Part of an error's stack that is shown, in characters.
const STACK_CHARACTERS_MAX: usize = 300;

/// The parts of a context. Proxies are left out, because a proxy of an array could have another
/// length at each look; clocks and weak references, because they depend on more than the events.
type Intrinsics = (
    intrinsic::Date,
    intrinsic::Eval,
    intrinsic::RegExpCompiler,
    intrinsic::RegExp,
    intrinsic::Json,
    intrinsic::MapSet,
    intrinsic::TypedArrays,
    intrinsic::Promise,
);

/// A compiled script with one state.
///
/// ```
/// use gesta_scripts::{Script, ScriptEvent, ScriptLimits};
///
/// let script = "fromAll().when({ $init: () => ({ n: 0 }), paid(state, event) { state.n += 1 } })";
/// let mut script = Script::compile(script, ScriptLimits::default())?;
/// script.load(None, None)?;
/// let paid = ScriptEvent { event_type: "paid", stream: "order-1", ..ScriptEvent::default() };
/// script.handle(&paid, "")?;
/// assert_eq!(script.state()?, r#"{"n":1}"#);
/// # Ok::<(), gesta_scripts::ScriptError>(())
/// ```
pub struct Script {
    // Dropped before the context, whose values they are.
    driver: Driver,
    context: Context,
    runtime: Runtime,
    meter: Rc<Meter>,
    steps: Cell<u64>,
    definition: Definition,
}

/// Functions of the prelude.
struct Driver {
    partition: Callable,
    load: Callable,
    handle: Callable,
    deleted: Callable,
    state: Callable,
    shared: Callable,
    result: Callable,
}

type Callable = Persistent<Function<'static>>;

impl Script {
    /// Compiles a script and runs its top level.
    ///
    /// # Errors
    ///
    /// [`ScriptError`] if it is invalid, too long, or exceeds a limit.
    pub fn compile(source: &str, limits: ScriptLimits) -> Result<Self, ScriptError> {
        Self::compile_until(source, limits, Arc::default())
    }

    /// Compiles a script whose calls fail once the flag is set.
    pub(crate) fn compile_until(
        source: &str,
        limits: ScriptLimits,
        cancelled: Arc<AtomicBool>,
    ) -> Result<Self, ScriptError> {
        let (bytes, max) = (source.len(), ScriptLimits::SCRIPT_BYTES_MAX);
        if bytes > max {
            return Err(ScriptError::TooLong { bytes, max });
        }
        let out_of_memory =
            |_: Error| ScriptError::OutOfMemory { bytes_max: limits.memory_bytes_max };
        let meter = Rc::new(Meter::new(limits, cancelled));
        let runtime = Runtime::new().map_err(out_of_memory)?;
        runtime.set_memory_limit(limits.memory_bytes_max);
        runtime.set_max_stack_size(ScriptLimits::STACK_BYTES_MAX);
        let interrupted = Rc::clone(&meter);
        runtime.set_interrupt_handler(Some(Box::new(move || interrupted.interrupt())));
        let context = Context::custom::<Intrinsics>(&runtime).map_err(out_of_memory)?;
        meter.refill();
        let (driver, definition) = context.with(|ctx| {
            let outcome = prepare(&ctx, source, &meter);
            let outcome = outcome.map_err(|failure| error_of(&ctx, &meter, failure));
            unless_exceeded(&meter, outcome)
        })?;
        let steps = Cell::new(meter.steps());
        Ok(Self { driver, context, runtime, meter, steps, definition })
    }

    /// Returns what the top level of the script defined.
    #[must_use]
    pub const fn definition(&self) -> &Definition {
        &self.definition
    }

    /// Returns the key of the event's partition. Empty if the event belongs to none.
    ///
    /// # Errors
    ///
    /// [`ScriptError`] if `partitionBy` fails.
    pub fn partition(&mut self, event: &ScriptEvent<'_>) -> Result<String, ScriptError> {
        self.call(&self.driver.partition, |args| push_event(args, event, ""))
    }

    /// Takes a state, as JSON; without one, the initial state that the script makes. The second one
    /// is the state that partitions share.
    ///
    /// # Errors
    ///
    /// [`ScriptError`] if a state is no JSON, or the script's initial state fails.
    pub fn load(&mut self, state: Option<&str>, shared: Option<&str>) -> Result<(), ScriptError> {
        self.call(&self.driver.load, |args| {
            args.push_arg(OrNull(state))?;
            args.push_arg(OrNull(shared))
        })
    }

    /// Calls the handler of the event's type, or `$any`. The caller knows that there is one; see
    /// [`Definition::handles`].
    ///
    /// # Errors
    ///
    /// [`ScriptError`] if the handler fails. The state is undefined then.
    pub fn handle(
        &mut self,
        event: &ScriptEvent<'_>,
        partition: &str,
    ) -> Result<Outputs, ScriptError> {
        let outputs: Option<String> =
            self.call(&self.driver.handle, |args| push_event(args, event, partition))?;
        outputs_of(outputs)
    }

    /// Calls `$deleted` for a stream, which is its partition.
    ///
    /// # Errors
    ///
    /// [`ScriptError`] if the handler fails. The state is undefined then.
    pub fn deleted(&mut self, deletion: &StreamDeletion<'_>) -> Result<Outputs, ScriptError> {
        let outputs: Option<String> = self.call(&self.driver.deleted, |args| {
            args.push_arg(deletion.stream)?;
            args.push_arg(deletion.is_tombstone)?;
            args.push_arg(number(deletion.deleted_millis))
        })?;
        outputs_of(outputs)
    }

    /// Returns the state as JSON.
    ///
    /// # Errors
    ///
    /// [`ScriptError`] if the state cannot be written as JSON.
    pub fn state(&mut self) -> Result<String, ScriptError> {
        self.call(&self.driver.state, |_| Ok(()))
    }

    /// Returns the state that partitions share, as JSON; `None` if the script has none.
    ///
    /// # Errors
    ///
    /// [`ScriptError`] if the state cannot be written as JSON.
    pub fn shared(&mut self) -> Result<Option<String>, ScriptError> {
        if !self.definition.has_shared_state {
            return Ok(None);
        }
        self.call(&self.driver.shared, |_| Ok(())).map(Some)
    }

    /// Returns the state after the script's transformations, as JSON; `None` if a filter leaves
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`ScriptError`] if a transformation fails.
    pub fn result(&mut self) -> Result<Option<String>, ScriptError> {
        self.call(&self.driver.result, |_| Ok(()))
    }

    /// Returns the memory in use, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        usize::try_from(self.runtime.memory_usage().malloc_size).unwrap_or_default()
    }

    /// Returns the steps of all calls so far, rounded down to 10,000 for each.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps.get()
    }

    fn call<Answer: for<'js> FromJs<'js>>(
        &self,
        callable: &Callable,
        push: impl for<'js> FnOnce(&mut Args<'js>) -> rquickjs::Result<()>,
    ) -> Result<Answer, ScriptError> {
        self.meter.refill();
        let answer = self.context.with(|ctx| {
            let answer = callable.clone().restore(&ctx).and_then(|function| {
                let mut args = Args::new_unsized(ctx.clone());
                push(&mut args)?;
                args.apply(&function)
            });
            answer.map_err(|failure| error_of(&ctx, &self.meter, failure))
        });
        self.steps.set(self.steps.get() + self.meter.steps());
        unless_exceeded(&self.meter, answer)
    }
}

/// A deletion of a stream, as `$deleted` sees it.
///
/// ```
/// use gesta_scripts::StreamDeletion;
///
/// let deletion = StreamDeletion { stream: "order-1", is_tombstone: true, deleted_millis: 0 };
/// assert!(deletion.is_tombstone);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamDeletion<'a> {
    /// The stream's name.
    pub stream: &'a str,
    /// The stream can never be revived.
    pub is_tombstone: bool,
    /// Time of the deletion, in milliseconds since 1970-01-01T00:00Z.
    pub deleted_millis: i64,
}

/// Evaluates the language, then the script, and returns the functions to call.
fn prepare(
    ctx: &Ctx<'_>,
    source: &str,
    meter: &Rc<Meter>,
) -> rquickjs::Result<(Driver, Definition)> {
    let metered = Rc::clone(meter);
    let is_over = Function::new(ctx.clone(), move || metered.is_over())?;
    let language: Function<'_> = ctx.eval(PRELUDE)?;
    let language: Object<'_> = language.call((is_over,))?;
    let mut options = rquickjs::context::EvalOptions::default();
    options.strict = false;
    options.filename = Some("projection".to_owned());
    let _: rquickjs::Value<'_> = ctx.eval_with_options(source, options)?;
    let definition: String = language.get::<_, Function<'_>>("define")?.call(())?;
    let definition =
        serde_json::from_str(&definition).expect("the language writes what this program reads");
    let function = |name: &str| -> rquickjs::Result<Callable> {
        Ok(Persistent::save(ctx, language.get::<_, Function<'_>>(name)?))
    };
    let driver = Driver {
        partition: function("partition")?,
        load: function("load")?,
        handle: function("handle")?,
        deleted: function("deleted")?,
        state: function("state")?,
        shared: function("shared")?,
        result: function("result")?,
    };
    Ok((driver, definition))
}

/// Returns the answer of a call, or the limit that it has exceeded: a script may have caught it.
fn unless_exceeded<Answer>(
    meter: &Meter,
    answer: Result<Answer, ScriptError>,
) -> Result<Answer, ScriptError> {
    meter.error().map_or(answer, Err)
}

/// Sorts a failure of the engine.
fn error_of(ctx: &Ctx<'_>, meter: &Meter, failure: Error) -> ScriptError {
    if let Some(exceeded) = meter.error() {
        drop(ctx.catch());
        return exceeded;
    }
    let out_of_memory = ScriptError::OutOfMemory { bytes_max: meter.limits().memory_bytes_max };
    let message = match failure {
        Error::Exception => match Thrown::of(ctx) {
            Thrown::OutOfMemory => return out_of_memory,
            Thrown::Message(message) => message,
        },
        Error::Allocation => return out_of_memory,
        other => other.to_string(),
    };
    ScriptError::Threw { message }
}

/// The pending exception of a context.
enum Thrown {
    OutOfMemory,
    Message(String),
}

impl Thrown {
    fn of(ctx: &Ctx<'_>) -> Self {
        let value = ctx.catch();
        // Without memory the engine has no error object either.
        if value.is_null() {
            return Self::OutOfMemory;
        }
        let Some(exception) =
            value.as_object().and_then(|object| Exception::from_object(object.clone()))
        else {
            let text = rquickjs::Coerced::<String>::from_js(ctx, value);
            return Self::Message(text.map_or_else(|_| "threw a value".to_owned(), |text| text.0));
        };
        let message = exception.message().unwrap_or_default();
        if message == "out of memory" {
            return Self::OutOfMemory;
        }
        let kind: Option<String> = exception.as_object().get("name").ok();
        let kind = kind.unwrap_or_else(|| "Error".to_owned());
        let stack = exception.stack().unwrap_or_default();
        // The lines of the language itself do not help.
        let place = stack.lines().map(str::trim).find(|line| line.contains("projection:"));
        let place: String = place.unwrap_or_default().chars().take(STACK_CHARACTERS_MAX).collect();
        match place.is_empty() {
            true => Self::Message(format!("{kind}: {message}")),
            false => Self::Message(format!("{kind}: {message} ({place})")),
        }
    }
}

/// A text, or `null`.
struct OrNull<'a>(Option<&'a str>);

impl<'js> IntoJs<'js> for OrNull<'_> {
    fn into_js(self, ctx: &Ctx<'js>) -> rquickjs::Result<rquickjs::Value<'js>> {
        match self.0 {
            Some(text) => text.into_js(ctx),
            None => Ok(rquickjs::Value::new_null(ctx.clone())),
        }
    }
}

fn push_event(
    args: &mut Args<'_>,
    event: &ScriptEvent<'_>,
    partition: &str,
) -> rquickjs::Result<()> {
    args.push_arg(event.stream)?;
    args.push_arg(event.event_type)?;
    args.push_arg(event.id)?;
    args.push_arg(number(i64::try_from(event.revision).unwrap_or(i64::MAX)))?;
    args.push_arg(event.is_json)?;
    args.push_arg(event.data)?;
    args.push_arg(event.metadata)?;
    args.push_arg(OrNull(event.link_metadata))?;
    args.push_arg(category(event.stream))?;
    args.push_arg(number(event.created_millis))?;
    args.push_arg(partition)
}

/// The part of a stream's name before its first `-`.
fn category(stream: &str) -> &str {
    stream.split_once('-').map_or("", |(category, _)| category)
}

/// JavaScript's numbers are exact up to 2^53; revisions and times stay below.
#[expect(clippy::cast_precision_loss, reason = "numbers of events and milliseconds stay exact")]
fn number(value: i64) -> f64 {
    value as f64
}

fn outputs_of(text: Option<String>) -> Result<Outputs, ScriptError> {
    let Some(text) = text else { return Ok(Outputs::default()) };
    // Lone surrogates are text in JavaScript and have no form in UTF-8.
    serde_json::from_str(&text).map_err(|error| ScriptError::Threw {
        message: format!("the script's output is not valid text: {error}"),
    })
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("definition", &self.definition).finish_non_exhaustive()
    }
}

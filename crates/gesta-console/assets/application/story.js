// The story of one command: everything that happened because of it, in one order.
//
// A conversation has one correlation id, which commands pass on to events, and process managers
// from events to their inputs and commands. So one look-up in the log has all of it: events of
// aggregates, and of process streams, which name commands, timers and rejections. Dead letters and
// set-aside inputs belong to these events.

import { get, pathOf } from "../api.js";
import { el, fill, link } from "../dom.js";
import { conversationHref } from "../events.js";
import { kindOf, memberOf, plain, preview, split } from "../json.js";
import { eventHref, go, here, streamHref, to } from "../route.js";
import { notice, table } from "../table.js";
import { counted, localTime, time } from "../time.js";
import { column, readProcesses, readReactors } from "./parts.js";

export const title = "Story";

/** Events of a page of the story. */
const EVENTS_MAX = 300;
/** Streams that one request names, and characters of their names. */
const STREAMS_MAX = 100;
const NAMES_CHARS = 4_000;
/** Dead letters or inputs that one request reads. */
const PAGE_STUCK = 500;
/** Characters of a payload in a row. */
const PAYLOAD_CHARS = 160;

export async function render(root, { parameters, program, signal }) {
  const correlation = parameters.get("correlation") ?? "";
  fill(root, el("h1", {}, "Story"), askForm(correlation));
  if (!correlation) {
    root.append(notice("note", "Name a conversation by its correlation id. An event has it."));
    return;
  }
  const page = await get(
    "v1/all",
    { correlationId: correlation, after: parameters.get("after"), limit: EVENTS_MAX },
    signal,
  );
  const streams = [...new Set(page.events.map(({ stream }) => stream))];
  const stuck = await readStuck(program, streams, signal);
  const lines = linesOf(page.events, stuck);
  root.append(
    el(
      "div",
      { class: "bar" },
      el("span", { class: "muted" }, counted(page.events.length, "event")),
      link(conversationHref(correlation), "Timeline"),
    ),
    table({
      label: "the story",
      columns: COLUMNS,
      rows: lines,
      loaded: ["line", " on this page"],
      pages: [
        {
          label: "First",
          href: parameters.has("after") ? here({ after: null }) : null,
          key: "prev",
        },
        { label: "Next", href: page.end ? null : here({ after: page.position }), key: "next" },
      ],
      empty: "No event belongs to this conversation.",
    }),
  );
}

/** Returns the dead letters and set-aside inputs of streams by the place of their event. */
async function readStuck({ can }, streams, signal) {
  const stuck = new Map();
  const add = (stream, revision, what) => {
    const key = JSON.stringify([stream, revision]);
    stuck.set(key, [...(stuck.get(key) ?? []), what]);
  };
  if (can("listDeadLetters")) {
    for (const letter of await stuckIn("v1/dead-letters", streams, signal))
      add(letter.stream, letter.revision, {
        kind: "dead letter",
        what: letter.projection,
        text: letter.reason,
        href: to("dead-letters", { of: letter.projection }),
      });
  }
  if (can("listProcesses") && can("listSetAside")) {
    const troubled = (await readProcesses(signal)).filter((one) => one.setAside > 0);
    for (const { name } of troubled) {
      const items = await stuckIn(pathOf("processes", name, "set-aside"), streams, signal);
      for (const [subject, input] of items.flatMap((one) => one.inputs.map((it) => [one.subject, it]))) {
        const [stream, revision] = placeOf(name, subject, input);
        add(stream, revision, {
          kind: "set aside",
          what: name,
          text: input.error ?? "waits for the input before it",
          href: to("process", { name, show: "set-aside" }),
        });
      }
    }
  }
  if (can("listReactors") && can("listReactorDeadLetters")) {
    const troubled = (await readReactors(signal)).filter((one) => one.deadLetters > 0);
    for (const { name } of troubled) {
      for (const letter of await stuckIn(pathOf("reactors", name, "dead-letters"), streams, signal))
        add(letter.stream, letter.revision, {
          kind: "dead letter",
          what: name,
          text: letter.error,
          href: to("reactor", { name }),
        });
    }
  }
  return stuck;
}

/** Returns what a list of the program has of these streams: all of its pages. */
async function stuckIn(path, streams, signal) {
  const found = [];
  for (const stream of requestsOf(streams)) {
    let cursor = null;
    do {
      const page = await get(path, { stream, limit: PAGE_STUCK, cursor }, signal);
      found.push(...page.items);
      cursor = page.next;
    } while (cursor);
  }
  return found;
}

/** Divides streams into those of one request each. */
function requestsOf(streams) {
  const requests = [];
  let chars = Infinity;
  for (const stream of streams) {
    const more = encodeURIComponent(stream).length;
    if (chars + more > NAMES_CHARS || requests.at(-1).length === STREAMS_MAX) {
      requests.push([]);
      chars = 0;
    }
    requests.at(-1).push(stream);
    chars += more;
  }
  return requests;
}

/** Returns the place of the event that an input is, or in which its timer or command was decided. */
function placeOf(process, subject, input) {
  if (input.stream !== undefined) return [input.stream, input.revision];
  const instance = subject.replace(/^instance:/, "");
  const [revision] = (input.effect ?? "0").split(".");
  return [`process:${process}-${instance}`, Number(revision)];
}

function linesOf(events, stuck) {
  const commands = new Set();
  return events.flatMap((event) => {
    const place = { event, at: event.recordedAt, position: event.position };
    const line = (kind, what, text, more = {}) => ({
      ...place,
      kind,
      what,
      text,
      href: eventHref(event),
      ...more,
    });
    const own = event.stream.startsWith("process:")
      ? processLines(event, line)
      : eventLines(event, line, commands);
    const behind = stuck.get(JSON.stringify([event.stream, event.revision])) ?? [];
    return own.concat(behind.map(({ kind, what, text, href }) => line(kind, what, text, { href })));
  });
}

/** Returns the line of an event, after that of its command if it is the first event of it. */
function eventLines(event, line, commands) {
  const of = (name) => plain(memberOf(event.metadata?.text, name));
  const [command, actor] = [of("command"), of("actor")];
  const key = JSON.stringify([command, event.causationId]);
  const isFirst = command && !commands.has(key);
  commands.add(key);
  const data = event.data ? preview(event.data.text, PAYLOAD_CHARS) : "";
  return [
    ...(isFirst ? [line("command", command, actor ? `by ${actor}` : "")] : []),
    line("event", event.type, data),
  ];
}

/** Returns what a process did: the input, then the commands and timers decided on it. */
function processLines(event, line) {
  const data = event.data?.text;
  const process = event.stream.slice("process:".length);
  if (event.type === "process-reacted") {
    const [kind] = membersOf(memberOf(data, "input"));
    const effects = membersOf(memberOf(data, "effects")).map(({ key, text }) => {
      const [effect] = key === undefined ? membersOf(text) : [];
      return effect ?? { key: plain(text), text: undefined };
    });
    return [inputLine(kind, process, line), ...effects.map((effect) => effectLine(effect, line))];
  }
  if (event.type === "process-command-settled") {
    const outcome = memberOf(data, "outcome");
    const [refused] = outcome && kindOf(outcome) === "object" ? membersOf(outcome) : [];
    const id = idOf(memberOf(data, "command"));
    if (!refused) return [line("process", process, `command ${id}: ${plain(outcome)}`)];
    return [line("rejection", process, `command ${id}: ${refusalOf(refused.text)}`)];
  }
  if (event.type === "process-timer-skipped")
    return [line("timer", process, `the timer ${idOf(memberOf(data, "timer"))} is skipped`)];
  if (event.type === "process-command-resent")
    return [line("command", process, `command ${idOf(memberOf(data, "refused"))} is sent again`)];
  return [line("process", process, event.type.replace(/^process-/, "").replaceAll("-", " "))];
}

function inputLine(input, process, line) {
  if (input?.key === "event")
    return line("process", process, `handles ${plain(memberOf(input.text, "eventType"))}`);
  if (input?.key === "timer")
    return line("timer", process, `the timer ${idOf(memberOf(input.text, "timer"))} has fired`);
  if (input?.key === "rejected")
    return line(
      "rejection",
      process,
      `command ${idOf(memberOf(input.text, "command"))}: ${refusalOf(memberOf(input.text, "refusal"))}`,
    );
  return line("process", process, input?.key ?? "");
}

function effectLine({ key, text }, line) {
  const part = (name) => memberOf(text, name);
  switch (key) {
    case "send":
      return line("command", plain(part("command")), preview(part("payload"), PAYLOAD_CHARS));
    case "setTimer": {
      const due = new Date(Number(part("due")) / 1_000).toISOString();
      const timer = preview(plain(part("timer")), PAYLOAD_CHARS);
      return line("timer", "is set", `for ${localTime(due)}${timer && `: ${timer}`}`);
    }
    case "cancelTimer":
      return line("timer", "is cancelled", idOf(part("timer")));
    case "end":
      return line("process", "ends", "");
    default:
      return line("process", key, text === undefined ? "" : preview(text, PAYLOAD_CHARS));
  }
}

const membersOf = (text) =>
  text && (kindOf(text) === "object" || kindOf(text) === "array") ? split(text).members : [];

/** Returns the id of a timer or a command, as acts name it. */
const idOf = (text) => `${plain(memberOf(text, "revision"))}.${plain(memberOf(text, "ordinal"))}`;

const refusalOf = (text) =>
  [plain(memberOf(text, "code")), plain(memberOf(text, "reason"))].filter(Boolean).join(": ");

const COLUMNS = [
  column("at", "Recorded", "time", (one) => localTime(one.at), (one) => time(one.at)),
  column(
    "position",
    "Position",
    "number",
    (one) => one.position,
    (one) => link(eventHref(one.event), one.position),
  ),
  column(
    "kind",
    "Kind",
    "name",
    (one) => one.kind,
    (one) => el("span", { class: `story ${one.kind.replace(" ", "-")}` }, one.kind),
  ),
  column(
    "what",
    "What",
    "name main",
    (one) => one.what,
    (one) => link(one.href, one.what),
  ),
  column(
    "stream",
    "Stream",
    "name",
    (one) => one.event.stream,
    (one) => link(streamHref(one.event.stream), one.event.stream),
  ),
  column("text", "Details", "words most", (one) => one.text),
];

function askForm(correlation) {
  const input = el("input", {
    name: "correlation",
    value: correlation,
    size: 40,
    "aria-label": "Correlation id",
  });
  const form = el(
    "form",
    { class: "line" },
    el("label", {}, "Conversation ", input),
    el("button", {}, "Tell"),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go(to("story", { correlation: input.value.trim() }));
  });
  return form;
}

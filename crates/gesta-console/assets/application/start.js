// Start: whether the application is well, how far its parts are, and the last append.

import { get, Problem } from "../api.js";
import { el, link } from "../dom.js";
import { eventHref, streamHref, to } from "../route.js";
import { card, facts, notice, table } from "../table.js";
import { ago, grouped, time } from "../time.js";
import { Rates, watch } from "../watch.js";
import {
  column,
  countLink,
  lagText,
  processHref,
  projectionHref,
  rateText,
  reactorHref,
  readProcesses,
  readProjections,
  readReactors,
  stateMark,
} from "./parts.js";

export const title = "Start";

/** Events at the end of the store among which the last one of the application is looked for. */
const LAST_EVENTS = 50;

export async function render(root, { program, signal }) {
  const rates = new Rates();
  await watch(
    root,
    signal,
    () => read(program, signal),
    (answers) => screen(answers, program, rates),
  );
}

/** Asks for everything that the caller may see. What is hidden is `null`. */
async function read({ can }, signal) {
  const asked = {
    causes: causes(signal),
    projections: can("listProjections") ? readProjections(signal) : null,
    processes: can("listProcesses") ? readProcesses(signal) : null,
    reactors: can("listReactors") ? readReactors(signal) : null,
    last: can("readAll") ? get("v1/all", { direction: "backwards", limit: LAST_EVENTS }, signal) : null,
  };
  const names = Object.keys(asked);
  const answers = await Promise.all(Object.values(asked));
  return Object.fromEntries(names.map((name, at) => [name, answers[at]]));
}

/** Returns what keeps the application from being well, the worst first. */
async function causes(signal) {
  try {
    return (await get("health/ready", {}, signal)).causes;
  } catch (problem) {
    // An application that is not ready answers with a problem that has the same list.
    if (problem instanceof Problem && problem.causes) return problem.causes;
    throw problem;
  }
}

function screen(answers, program, rates) {
  return [
    el("h1", {}, "Start"),
    trouble(answers.causes),
    cards(answers),
    progress(answers, rates),
    el(
      "div",
      { class: "columns" },
      programFacts(program),
      answers.last && lastAppend(answers.last.events.find((event) => !event.stream.startsWith("$"))),
    ),
  ];
}

/** States whose details name them. */
const NAMED_STATES = new Set(["dead-letters", "set-aside"]);

const PLACE_OF = {
  projection: projectionHref,
  "read-models": () => to("projections"),
  "process-manager": processHref,
  // The name of the process manager, and the instance or stream that is stuck.
  process: (name) => processHref(name.split(" ", 1)[0], { show: "set-aside" }),
  reactor: reactorHref,
};

function trouble(causes) {
  const worth = causes.filter(({ severity }) => severity !== "notice");
  if (worth.length === 0) return notice("good", el("strong", {}, "No problems."));
  return notice(
    "error",
    el("strong", {}, worth.length === 1 ? "1 problem" : `${worth.length} problems`),
    el(
      "ul",
      {},
      worth.map(({ component, name, state, detail }) => {
        const words = `${component.replace("-", " ")} ${name ?? ""}`.trim();
        const place = PLACE_OF[component]?.(name);
        const shown = words[0].toUpperCase() + words.slice(1);
        const says = NAMED_STATES.has(state) ? `: ${detail}` : ` is ${state}: ${detail}`;
        return el("li", {}, place ? link(place, shown) : shown, says);
      }),
    ),
  );
}

const sum = (parts, value) => parts.reduce((all, part) => all + value(part), 0);

function cards({ projections, processes, reactors, last }) {
  const events = last && (last.events[0]?.position ?? 0);
  // Counted by the parts: the list of dead letters has all their errors.
  const dead =
    (projections || reactors) && sum([...(projections ?? []), ...(reactors ?? [])], (one) => one.deadLetters);
  const shown = (number) => (number === null ? "–" : grouped(number));
  return el(
    "div",
    { class: "cards" },
    card("Events", shown(events), to("query")),
    card("Projections", shown(projections && projections.length), to("projections")),
    card("Processes", shown(processes && processes.length), to("processes")),
    card("Reactors", shown(reactors && reactors.length), to("reactors")),
    card("Dead letters", shown(dead), to("dead-letters")),
    card(
      "Inputs set aside",
      shown(processes && sum(processes, (one) => one.setAside)),
      to("processes", { sort: "-setAside" }),
    ),
    card("Timers", shown(processes && sum(processes, (one) => one.timers)), to("processes")),
  );
}

function progress({ projections, processes, reactors, last }, rates) {
  const head = last?.events[0]?.position ?? null;
  const lag = (part) => part.lagEvents ?? (head === null ? 0 : Math.max(0, head - part.position));
  const rows = [
    ...(projections ?? []).map((one) => ({
      ...one,
      kind: "projection",
      href: projectionHref(one.name),
      stuck: one.deadLetters,
      stuckHref: to("dead-letters", { of: one.name }),
      trouble: one.error,
    })),
    ...(processes ?? []).map((one) => ({
      ...one,
      kind: "process",
      href: processHref(one.name),
      lagEvents: lag(one),
      stuck: one.setAside,
      stuckHref: processHref(one.name, { show: "set-aside" }),
      trouble: one.trouble ?? one.error,
    })),
    ...(reactors ?? []).map((one) => ({
      ...one,
      kind: "reactor",
      href: reactorHref(one.name),
      stuck: one.deadLetters,
      stuckHref: to("dead-letters", { of: one.name }),
    })),
  ].map((row) => ({ ...row, rate: rates.take(`${row.kind} ${row.name}`, row.position) }));
  return [
    el("h2", {}, "Progress"),
    table({ label: "parts of the application", columns: COLUMNS, rows, empty: NONE }),
  ];
}

const NONE = "The application has no projections, processes and reactors that you may see.";

const COLUMNS = [
  column("name", "Name", "name main", (one) => one.name, (one) => link(one.href, one.name)),
  column("kind", "Kind", "name", (one) => one.kind),
  column("state", "State", "state", (one) => one.state, (one) => stateMark(one.state)),
  column("position", "Position", "number", (one) => one.position),
  column("lag", "Lag", "number", (one) => one.lagEvents ?? 0, lagText),
  column("rate", "Rate", "number", (one) => one.rate ?? 0, (one) => rateText(one.rate)),
  column(
    "stuck",
    "Stuck",
    "number",
    (one) => one.stuck,
    (one) => countLink(one.stuck, one.stuckHref),
  ),
  column("trouble", "Trouble", "words most", (one) => one.trouble ?? ""),
];

function programFacts({ name, version, environment, secure, actor }) {
  return el(
    "section",
    {},
    el("h2", {}, "Application"),
    facts([
      ["Name", name],
      ["Version", version],
      ["Environment", environment ?? el("span", { class: "muted" }, "not named")],
      ["Protection", secure ? "credentials" : "none: open to all who reach it"],
      ["You act as", actor ?? el("span", { class: "muted" }, "nobody: your requests name no actor")],
      ["HTTP interface", el("a", { href: "../docs" }, "documentation")],
    ]),
  );
}

function lastAppend(event) {
  return el(
    "section",
    {},
    el("h2", {}, "Last append"),
    event
      ? facts([
          ["When", [time(event.recordedAt), ` (${ago(event.recordedAt)})`]],
          ["Position", link(eventHref(event), event.position)],
          ["Stream", link(streamHref(event.stream), event.stream)],
          ["Type", link(eventHref(event), event.type)],
        ])
      : el("p", { class: "muted" }, "The store has no recent events."),
  );
}

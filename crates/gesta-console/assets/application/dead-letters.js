// Dead letters of projections and reactors: what failed, what waits behind it, and what to do.

import { actButton, request } from "../acts.js";
import { get, pathOf } from "../api.js";
import { el, fill, link } from "../dom.js";
import { eventHref, here, streamHref } from "../route.js";
import { choice, table } from "../table.js";
import { counted, localTime, time } from "../time.js";
import { watch } from "../watch.js";
import { tryButton } from "./try-letter.js";
import { column, controlColumn, errorText, projectionHref, reactorHref, readReactors } from "./parts.js";

export const title = "Dead letters";

export async function render(root, { parameters, program, signal }) {
  const of = parameters.get("of");
  await watch(
    root,
    signal,
    () => read(program, signal),
    (letters) => {
      const owners = [...new Set(letters.map((letter) => letter.of))].sort();
      const shown = letters.filter((letter) => !of || letter.of === of);
      return [
        el("h1", {}, "Dead letters"),
        el(
          "p",
          { class: "muted" },
          "An event that failed at every attempt. The later events of its stream wait behind it, so that each stream is handled in order.",
        ),
        (owners.length > 1 || of) &&
          choice("Projections and reactors", [
            { label: "All", href: here({ of: null }), isOn: !of },
            ...owners.map((name) => ({
              label: name,
              href: here({ of: name }),
              isOn: of === name,
            })),
          ]),
        letterTable(shown, program),
      ];
    },
  );
}

async function read({ can }, signal) {
  const [projections, reactors] = await Promise.all([
    get("v1/dead-letters", {}, signal),
    can("listReactorDeadLetters") ? ofReactors(signal) : [],
  ]);
  return projections.items.map((letter) => ofProjection(letter, projections.items)).concat(reactors);
}

function ofProjection(letter, all) {
  const isBehind = (other) =>
    other.projection === letter.projection && other.waitsBehind === letter.position;
  return {
    ...letter,
    kind: "projection",
    of: letter.projection,
    ofHref: projectionHref(letter.projection),
    error: letter.waitsBehind === undefined ? letter.reason : "",
    behind: all.filter(isBehind).length,
    path: ["dead-letters", letter.id],
  };
}

async function ofReactors(signal) {
  const reactors = (await readReactors(signal)).filter((reactor) => reactor.deadLetters > 0);
  const lists = reactors.map(async ({ name }) => {
    const path = pathOf("reactors", name, "dead-letters");
    return (await get(path, {}, signal)).items.map((letter) => reactorLetter(name, letter));
  });
  return (await Promise.all(lists)).flat();
}

/** Returns the dead letter of a reactor in the form of all. */
export function reactorLetter(name, letter) {
  return {
    ...letter,
    kind: "reactor",
    of: name,
    ofHref: reactorHref(name),
    recordedAt: letter.since,
    behind: null,
    path: ["reactors", name, "dead-letters", letter.id],
  };
}

/** Makes the table of dead letters, with the acts for those that are marked. */
export function letterTable(letters, program) {
  const marked = new Set();
  const state = el("span", { class: "count", role: "status" });
  const acts = el("div", { class: "bar acts" });
  const say = () =>
    fill(state, marked.size === 0 ? "None is marked." : `${counted(marked.size, "letter")} marked.`);
  const requests = (method, ...verb) => () =>
    [...marked].map((letter) => request(method, nameOf(letter), ...letter.path, ...verb));
  // Letters of a stream are tried together, from the first one.
  const retries = () => {
    const seen = new Set();
    const firsts = [...marked].filter((letter) => {
      const stream = JSON.stringify([letter.of, letter.stream]);
      return !seen.has(stream) && seen.add(stream);
    });
    return firsts.map((letter) => request("POST", nameOf(letter), ...letter.path, "retry"));
  };
  say();
  if (letters.length > 0)
    fill(
      acts,
      program.can("retryDeadLetter") &&
        actButton("Retry", {
          about:
            "Each event is tried again, and then those that wait behind it, in order, up to the first one that fails.",
          requests: retries,
          kind: "primary",
        }),
      program.can("discardDeadLetter") &&
        actButton("Discard and go on", {
          about:
            "These events never take effect here. Those that wait behind them are handled. The events themselves stay in their streams.",
          requests: requests("DELETE"),
          typed: ([first, ...others]) =>
            others.length === 0 ? first.name : `discard ${others.length + 1} letters`,
        }),
      state,
    );
  const mark = (letter) => {
    const box = el("input", { type: "checkbox", "aria-label": `Mark ${nameOf(letter)}` });
    box.checked = marked.has(letter);
    box.addEventListener("change", () => {
      if (box.checked) marked.add(letter);
      else marked.delete(letter);
      say();
    });
    return box;
  };
  const all = el("button", { type: "button", class: "small" }, "Mark all");
  const made = table({
    label: "dead letters",
    columns: [controlColumn("mark", "Mark", mark), ...COLUMNS, ...tries(program)],
    rows: letters,
    empty: "There are no dead letters.",
  });
  all.addEventListener("click", () => {
    // Those that the filter shows, on this page.
    for (const box of made.querySelectorAll("td.mark input:not(:checked)")) box.click();
  });
  if (letters.length > 1) acts.append(all);
  return [acts, made];
}

/** The column of tries, for those who may read events and try them. */
function tries({ can }) {
  if (!can("tryDeadLetter") || !can("readStream")) return [];
  const cell = (letter) => (letter.kind === "projection" ? tryButton(letter) : "");
  return [controlColumn("try", "Try", cell)];
}

const nameOf = (letter) => `${letter.of}: ${letter.type} at ${letter.position}`;

const COLUMNS = [
  column(
    "of",
    "Of",
    "name main",
    (letter) => letter.of,
    (letter) => link(letter.ofHref, letter.of),
  ),
  column(
    "event",
    "Event",
    "name",
    (letter) => letter.type,
    (letter) => link(eventHref(letter), letter.type),
  ),
  column(
    "stream",
    "Stream",
    "name",
    (letter) => letter.stream,
    (letter) => link(streamHref(letter.stream), letter.stream),
  ),
  column(
    "at",
    "Since",
    "time",
    (letter) => localTime(letter.recordedAt),
    (letter) => time(letter.recordedAt),
  ),
  column("attempts", "Tries", "number", (letter) => letter.attempts ?? "–"),
  column("behind", "Behind", "number", behindText),
  column(
    "error",
    "Error",
    "error",
    (letter) => letter.error || `waits behind position ${letter.waitsBehind}`,
    (letter) =>
      letter.error
        ? errorText(letter.error)
        : el("span", { class: "muted" }, `waits behind position ${letter.waitsBehind}`),
  ),
];

function behindText(letter) {
  if (letter.waitsBehind !== undefined) return "–";
  return letter.behind ?? "its stream";
}

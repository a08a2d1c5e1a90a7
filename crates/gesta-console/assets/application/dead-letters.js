// Dead letters of projections and reactors: what failed, what waits behind it, and what to do.

import { actButton, request } from "../acts.js";
import { get, pathOf } from "../api.js";
import { el, fill, link } from "../dom.js";
import { eventHref, here, streamHref } from "../route.js";
import { choice, cursorPages, notice, table } from "../table.js";
import { counted, localTime, time } from "../time.js";
import { watch } from "../watch.js";
import { tryButton } from "./try-letter.js";
import {
  column,
  controlColumn,
  errorText,
  projectionHref,
  reactorHref,
  readProjections,
  readReactors,
} from "./parts.js";

export const title = "Dead letters";

/** Dead letters of a page. */
const PAGE_LETTERS = 100;

export async function render(root, { parameters, program, signal }) {
  const of = parameters.get("of");
  const cursor = parameters.get("cursor");
  await watch(
    root,
    signal,
    () => read(program, of, cursor, signal),
    ({ names, lists }) => {
      const [only, ...others] = lists;
      const isPaged = only !== undefined && others.length === 0;
      return [
        el("h1", {}, "Dead letters"),
        el(
          "p",
          { class: "muted" },
          "An event that failed at every attempt. The later events of its stream wait behind it, so that each stream is handled in order.",
        ),
        (names.length > 1 || of) &&
          choice("Projections and reactors", [
            { label: "All", href: here({ of: null, cursor: null }), isOn: !of },
            ...names.map((name) => ({
              label: name,
              href: here({ of: name, cursor: null }),
              isOn: of === name,
            })),
          ]),
        others.length > 0 &&
          lists.some(({ next }) => next) &&
          notice(
            "note",
            `At most the first ${PAGE_LETTERS} of each projection and reactor. Choose one to see all of its dead letters.`,
          ),
        letterTable(
          lists.flatMap(({ letters }) => letters),
          program,
          isPaged ? cursorPages(parameters, only.next) : undefined,
        ),
      ];
    },
  );
}

/** Reads a page of each projection and reactor that has dead letters, or of those named `of`. */
async function read({ can }, of, cursor, signal) {
  const [projections, reactors] = await Promise.all([
    readProjections(signal),
    can("listReactorDeadLetters") ? readReactors(signal) : [],
  ]);
  const haveSome = (all) => all.filter((one) => one.deadLetters > 0).map((one) => one.name);
  const ofKinds = [
    ...haveSome(projections).map((name) => ({ name, read: projectionLetters })),
    ...haveSome(reactors).map((name) => ({ name, read: reactorLetters })),
  ];
  const names = [...new Set([...ofKinds.map(({ name }) => name), ...(of ? [of] : [])])].sort();
  const shown = ofKinds.filter(({ name }) => !of || name === of);
  // A cursor belongs to one list.
  const page = { limit: PAGE_LETTERS, cursor: shown.length === 1 ? cursor : null };
  return { names, lists: await Promise.all(shown.map((one) => one.read(one.name, page, signal))) };
}

async function projectionLetters(name, page, signal) {
  const { items, next } = await get("v1/dead-letters", { projection: name, ...page }, signal);
  return { letters: items.map(projectionLetter), next };
}

function projectionLetter(letter) {
  return {
    ...letter,
    kind: "projection",
    of: letter.projection,
    ofHref: projectionHref(letter.projection),
    error: letter.waitsBehind === undefined ? letter.reason : "",
    path: ["dead-letters", letter.id],
  };
}

/** Reads a page of the dead letters of a reactor, in the form of all. */
export async function reactorLetters(name, page, signal) {
  const path = pathOf("reactors", name, "dead-letters");
  const { items, next } = await get(path, page, signal);
  return { letters: items.map((letter) => reactorLetter(name, letter)), next };
}

function reactorLetter(name, letter) {
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

/**
 * Makes the table of dead letters, with the acts for those that are marked. `pages` are those of
 * the server.
 */
export function letterTable(letters, program, pages) {
  const canAct = ["retryDeadLetter", "discardDeadLetter"].some((act) => program.can(act));
  const marked = new Set();
  const state = el("span", { class: "count", role: "status" });
  const acts = el("div", { class: "bar acts" });
  const say = () => {
    fill(state, marked.size === 0 ? "None is marked." : `${counted(marked.size, "letter")} marked.`);
    for (const button of acts.querySelectorAll("button.act")) button.disabled = marked.size === 0;
  };
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
  if (canAct && letters.length > 0)
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
  const marks = canAct ? [controlColumn("mark", "Mark", mark)] : [];
  const made = table({
    label: "dead letters",
    columns: [...marks, ...COLUMNS, ...tries(program)],
    rows: letters,
    // What is acted on is what is seen.
    onShown: (shown) => {
      for (const letter of marked) if (!shown.includes(letter)) marked.delete(letter);
      say();
    },
    pages,
    loaded: pages && ["letter", " on this page"],
    empty: "There are no dead letters.",
  });
  all.addEventListener("click", () => {
    // Those that the filter shows, on this page.
    for (const box of made.querySelectorAll("td.mark input:not(:checked)")) box.click();
  });
  if (canAct && letters.length > 1) acts.append(all);
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
  // In one column, so that there is room for the error.
  column(
    "event",
    "Event, stream",
    "name",
    (letter) => `${letter.type} ${letter.stream}`,
    (letter) => [
      link(eventHref(letter), letter.type),
      link(streamHref(letter.stream), letter.stream),
    ],
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

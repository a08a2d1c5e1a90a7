// The audit stream: what operators did, who, when and why.

import { get } from "../api.js";
import { el, fill, link } from "../dom.js";
import { PAGE_EVENTS } from "../events.js";
import { memberOf, plain } from "../json.js";
import { eventHref, here } from "../route.js";
import { table } from "../table.js";
import { localTime, time } from "../time.js";
import { column } from "./parts.js";

export const title = "Audit";

/** The stream in which applications on Gesta record what operators do. */
const STREAM = "audit-operations";
/** The type of the event that tells that an act has failed. */
const FAILED = "operation-failed";

export async function render(root, { parameters, signal }) {
  const page = await read(parameters, signal);
  const later = parameters.has("before") ? await readAfter(page.events, signal) : [];
  fill(
    root,
    el("h1", {}, "Audit"),
    el(
      "p",
      { class: "muted" },
      "What operators did, from the last act on. An act that has failed says so; one that was refused before it began has no row. An act on a projection is recorded before it begins: if the program ended meanwhile, the projection's screen tells how far it came.",
    ),
    table({
      label: "acts of operators",
      rows: actsOf(page.events, later),
      columns: COLUMNS,
      loaded: ["act", " on this page"],
      pages: [
        {
          label: "Newest",
          href: parameters.has("before") ? here({ before: null }) : null,
          key: "prev",
        },
        {
          label: "Next",
          href: page.end ? null : here({ before: page.position }),
          key: "next",
        },
      ],
      empty: "No operator has done anything yet.",
    }),
  );
}

/** Reads a page of the store and not of the stream, which does not exist before the first act. */
async function read(parameters, signal) {
  return await get(
    "v1/all",
    {
      stream: STREAM,
      direction: "backwards",
      limit: PAGE_EVENTS,
      before: parameters.get("before"),
    },
    signal,
  );
}

/** Reads what was recorded right after a page: failures of its orders, among others. */
async function readAfter([newest], signal) {
  if (!newest) return [];
  const { events } = await get(
    "v1/all",
    { stream: STREAM, direction: "forwards", limit: PAGE_EVENTS, after: newest.position },
    signal,
  );
  return events;
}

/**
 * Returns the acts of a page: each order with its failure, if that is here or among the `later`
 * events. A failure whose order is on an older page is a row of its own.
 */
function actsOf(events, later) {
  const isFailure = (event) => event.type === FAILED;
  const known = [...events, ...later].filter(isFailure);
  const failures = new Map(known.map((event) => [event.causationId, event]));
  const orders = new Set(events.map((event) => event.id));
  return events
    .filter((event) => !(isFailure(event) && orders.has(event.causationId)))
    .map((event) => ({ event, failure: isFailure(event) ? event : failures.get(event.id) }));
}

const COLUMNS = [
  column(
    "at",
    "When",
    "time main",
    ({ event }) => localTime(event.recordedAt),
    ({ event }) => link(eventHref(event), time(event.recordedAt)),
  ),
  column("actor", "Who", "name", ({ event }) => member(event.metadata, "actor")),
  column("operation", "What", "name", ({ event }) => member(event.data, "operation")),
  column("target", "On", "name", ({ event }) => member(event.data, "target")),
  column("reason", "Why", "words most", ({ event }) => member(event.data, "reason")),
  column(
    "outcome",
    "Failed",
    "words",
    ({ failure }) => member(failure?.data, "error"),
    ({ failure }) => failure && el("span", { class: "bad" }, member(failure.data, "error")),
  ),
];

/** Returns a member of a stored object, for people. */
const member = (json, name) => plain(memberOf(json?.text, name));

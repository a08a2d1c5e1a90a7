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
  fill(
    root,
    el("h1", {}, "Audit"),
    el(
      "p",
      { class: "muted" },
      "What operators did, from the last act on. An act that has failed says so. An act on a projection is recorded before it begins: if the program ended meanwhile, the projection's screen tells how far it came.",
    ),
    table({
      label: "acts of operators",
      rows: actsOf(page.events),
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

/**
 * Returns the acts of a page: each order with its failure, if it has one. A failure whose order is
 * on the next page is a row of its own.
 */
function actsOf(events) {
  const isFailure = (event) => event.type === FAILED;
  const failures = new Map(events.filter(isFailure).map((event) => [event.causationId, event]));
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

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

export async function render(root, { parameters, signal }) {
  const page = await read(parameters, signal);
  fill(
    root,
    el("h1", {}, "Audit"),
    el(
      "p",
      { class: "muted" },
      "What operators did, from the last act on. An act on a process manager is recorded together with what it changes, so it has happened. Others are recorded before they begin: whether one has ended well is on the screen of what it is about.",
    ),
    table({
      label: "acts of operators",
      rows: page.events,
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

const COLUMNS = [
  column(
    "at",
    "When",
    "time main",
    (event) => localTime(event.recordedAt),
    (event) => link(eventHref(event), time(event.recordedAt)),
  ),
  column("actor", "Who", "name", (event) => member(event.metadata, "actor")),
  column("operation", "What", "name", (event) => member(event.data, "operation")),
  column("target", "On", "name", (event) => member(event.data, "target")),
  column("reason", "Why", "words most", (event) => member(event.data, "reason")),
];

/** Returns a member of a stored object, for people. */
const member = (json, name) => plain(memberOf(json?.text, name));

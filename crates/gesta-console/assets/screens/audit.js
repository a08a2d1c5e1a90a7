// The audit stream of a server: what its users did, who, when and why, and failed logins.

import { get } from "../api.js";
import { el, fill, link } from "../dom.js";
import { PAGE_EVENTS } from "../events.js";
import { memberOf, plain } from "../json.js";
import { eventHref, here, streamHref, to } from "../route.js";
import { table } from "../table.js";
import { localTime, time } from "../time.js";
import { noUsers, userHref } from "./users.js";

export const title = "Audit";

export async function render(root, { parameters, program, signal }) {
  if (!program.secure) return fill(root, el("h1", {}, "Audit"), noUsers());
  const from = parameters.get("from");
  const page = await get(
    `v1/streams/${encodeURIComponent("$audit")}`,
    { direction: "backwards", limit: PAGE_EVENTS, from },
    signal,
  );
  fill(
    root,
    el("h1", {}, "Audit"),
    el("p", { class: "muted" }, "What users of the server did, from the last act on. The event of an act also has the address of its user."),
    table({
      label: "acts",
      rows: page.events.map(actOf),
      columns: COLUMNS,
      loaded: ["act", " on this page"],
      pages: [
        { label: "Newest", href: from === null ? null : here({ from: null }), key: "prev" },
        {
          label: "Next",
          href: page.next === null || page.end ? null : here({ from: page.next }),
          key: "next",
        },
      ],
      empty: "Nobody has done anything yet.",
    }),
  );
}

/** Things that an act may be about, with their screens. */
const TARGETS = {
  stream: streamHref,
  projection: (name) => to("projection", { name }),
  user: userHref,
  group: (id) => {
    const at = id.lastIndexOf("::");
    return to("group", { source: id.slice(0, at), name: id.slice(at + 2) });
  },
  scavenge: () => to("operations"),
  verification: () => to("operations"),
  backup: () => to("operations"),
};

/** Reads an event of the stream. */
function actOf(event) {
  const member = (name) => plain(memberOf(event.data?.text, name));
  const kind = Object.keys(TARGETS).find((one) => member(one) !== "");
  const target = kind ? member(kind) : "";
  return {
    event,
    who: member("by") || member("login"),
    from: member("from"),
    what: member("operation") || event.type.replace(/^\$/, "").replaceAll("-", " "),
    target,
    href: target && TARGETS[kind](target),
    why: member("reason"),
    outcome: member("outcome") || (event.type.startsWith("$login-fail") ? "refused" : "done"),
  };
}

const column = (name, label, kind, value, cell = value) => ({ name, label, kind, value, cell });

const COLUMNS = [
  column(
    "at",
    "When",
    "time main",
    ({ event }) => localTime(event.recordedAt),
    ({ event }) => link(eventHref(event), time(event.recordedAt)),
  ),
  column(
    "who",
    "Who",
    "name",
    (act) => (act.from ? `${act.who} from ${act.from}` : act.who),
    (act) => el("span", {}, act.who),
  ),
  column("what", "What", "words", (act) => act.what),
  column(
    "target",
    "On",
    "words",
    (act) => act.target,
    (act) => (act.href ? link(act.href, act.target) : act.target),
  ),
  column(
    "why",
    "Why",
    "words most",
    (act) => act.why,
    (act) => el("span", { class: "clamp" }, act.why),
  ),
  column(
    "outcome",
    "Outcome",
    "words",
    (act) => act.outcome,
    (act) => el("span", { class: act.outcome === "done" ? "" : "bad" }, act.outcome),
  ),
];

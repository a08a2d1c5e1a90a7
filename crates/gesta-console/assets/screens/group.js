// One consumer group: its consumers, and its parked events with their reasons.

import { get, Problem } from "../api.js";
import { el, fill, link } from "../dom.js";
import { kindOf, split, stringOf } from "../json.js";
import { groupLag, groupState, readGroups } from "../work.js";
import { eventHref, here, streamHref, to } from "../route.js";
import { facts, notice, problemNotice, table } from "../table.js";
import { localTime, time } from "../time.js";
import { sourceHref } from "./groups.js";

const PAGE_PARKED = 100;

export const title = ({ parameters }) => `Group ${parameters.get("name")}`;

export async function render(root, { parameters, signal }) {
  const [source, name] = [parameters.get("source"), parameters.get("name")];
  const groups = await readGroups(signal);
  const group = groups.find((one) => one.source === source && one.name === name);
  if (!group) {
    fill(root, el("h1", {}, name), notice("empty", `There is no group ${name} of ${source}.`));
    return;
  }
  fill(
    root,
    el("h1", { class: "name" }, name),
    groupFacts(group),
    el("h2", {}, "Consumers"),
    consumers(group),
    el("h2", {}, "Parked events"),
    await parked(group, parameters, signal),
  );
}

function groupFacts(group) {
  const { isTrouble, text } = groupState(group);
  return facts([
    [
      "Source",
      link(group.source === "$all" ? to("query") : streamHref(group.source), group.source),
    ],
    ["State", el("span", { class: isTrouble ? "bad" : "good" }, text)],
    ["Checkpoint", group.checkpoint === null ? "none yet" : String(group.checkpoint)],
    ["Last event read", group.lastKnown === null ? "none yet" : String(group.lastKnown)],
    ["Lag", link(sourceHref(group), groupLag(group))],
    ["In flight", String(group.inFlight)],
    ["Waiting", String(group.waiting)],
    ["Retried", String(group.retried)],
    ["Delivered", `${group.delivered}, ${group.deliveredPerSecond} each second now`],
    ["Strategy", group.strategy],
  ]);
}

function consumers(group) {
  const column = (name, label, kind, value) => ({ name, label, kind, value, cell: value });
  return table({
    label: "consumers",
    name: "consumers",
    rows: group.consumers,
    columns: [
      column("consumer", "Name", "name main", (one) => one.name || "–"),
      column("address", "From", "name", (one) => one.address),
      column("login", "User", "name", (one) => one.login),
      column("inFlight", "In flight", "number", (one) => one.inFlight),
      column("free", "Free slots", "number", (one) => one.freeSlots),
      column("delivered", "Delivered", "number", (one) => one.delivered),
    ],
    empty: "No consumer is connected.",
  });
}

async function parked(group, parameters, signal) {
  if (group.parked === 0) return notice("empty", "No event is parked.");
  let page;
  try {
    page = await get(
      `v1/streams/${encodeURIComponent(group.parkedStream)}`,
      {
        limit: PAGE_PARKED,
        direction: "backwards",
        from: parameters.get("from"),
      },
      signal,
    );
  } catch (problem) {
    if (!(problem instanceof Problem) || problem.status === 401) throw problem;
    return problemNotice(problem);
  }
  return table({
    label: "parked events",
    rows: page.events,
    columns: PARKED,
    loaded: ["parked event", " on this page"],
    pages: [
      { label: "Newest", href: parameters.has("from") ? here({ from: null }) : null, key: "prev" },
      {
        label: "Next",
        href: page.next === null || page.end ? null : here({ from: page.next }),
        key: "next",
      },
    ],
    empty: "No event is parked.",
  });
}

const PARKED = [
  {
    name: "event",
    label: "Event",
    kind: "name main",
    value: (parked) => linkText(parked),
    cell: (parked) => {
      const target = targetOf(parked);
      return target ? link(eventHref(target), linkText(parked)) : linkText(parked);
    },
  },
  {
    name: "parked",
    label: "Parked",
    kind: "time",
    value: (parked) => localTime(parked.recordedAt),
    cell: (parked) => time(parked.recordedAt),
  },
  { name: "reason", label: "Reason", kind: "wide", value: reasonOf, cell: reasonOf },
];

/** Returns the data of a link: `REVISION@STREAM`. */
function linkText(parked) {
  if (parked.dataBase64 !== undefined) {
    const bytes = Uint8Array.from(atob(parked.dataBase64), (one) => one.charCodeAt(0));
    return new TextDecoder().decode(bytes);
  }
  const text = parked.data?.text ?? "";
  return kindOf(text) === "string" ? stringOf(text) : text;
}

function targetOf(parked) {
  const found = /^(\d+)@(.+)$/s.exec(linkText(parked));
  return found && { revision: found[1], stream: found[2] };
}

function reasonOf(parked) {
  if (!parked.metadata) return "";
  const { members } = split(parked.metadata.text);
  const reason = members.find((member) => /reason/i.test(member.key))?.text;
  return reason && kindOf(reason) === "string" ? stringOf(reason) : (reason ?? "");
}

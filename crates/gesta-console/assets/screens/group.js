// One consumer group: its consumers, its parked events with their reasons, its settings, and acts on
// all of these.

import { actButton, request, withContent } from "../acts.js";
import { get, Problem } from "../api.js";
import { el, link } from "../dom.js";
import { arrive, formLink } from "../form.js";
import { kindOf, split, stringOf } from "../json.js";
import { groupLag, groupState, readGroups } from "../work.js";
import { eventHref, here, streamHref, to } from "../route.js";
import { facts, failureNotice, notice, table } from "../table.js";
import { counted, grouped, localTime, time } from "../time.js";
import { watch } from "../watch.js";
import { sourceHref } from "./groups.js";

const PAGE_PARKED = 100;

export const title = ({ parameters }) => `Group ${parameters.get("name")}`;

export async function render(root, { parameters, program, signal }) {
  await watch(
    root,
    signal,
    () => read(parameters, signal),
    ({ group, page }) => {
      const name = parameters.get("name");
      if (!group) {
        const text = `There is no group ${name} of ${parameters.get("source")}.`;
        return [el("h1", {}, name), notice("empty", text)];
      }
      return [
        el("h1", { class: "name" }, name),
        groupFacts(group),
        acts(group, program),
        el("h2", {}, "Consumers"),
        consumers(group),
        el("h2", {}, "Parked events"),
        parked(group, page, parameters, program),
        el("h2", {}, "Settings"),
        settings(group),
      ];
    },
  );
}

async function read(parameters, signal) {
  const [source, name] = [parameters.get("source"), parameters.get("name")];
  const groups = await readGroups(signal);
  const group = groups.find((one) => one.source === source && one.name === name);
  const page = group && group.parked > 0 ? await readParked(group, parameters, signal) : null;
  return { group, page };
}

/** Reads a page of parked events. A refusal is its problem. */
async function readParked(group, parameters, signal) {
  try {
    return await get(
      `v1/streams/${encodeURIComponent(group.parkedStream)}`,
      { limit: PAGE_PARKED, direction: "backwards", from: parameters.get("from") },
      signal,
    );
  } catch (problem) {
    if (!(problem instanceof Problem) || problem.status === 401) throw problem;
    // The last one was finished or discarded since the groups were read.
    return problem.status === 404 ? null : problem;
  }
}

function acts({ source, name }, { can }) {
  return el(
    "div",
    { class: "bar acts" },
    can("PUT /v1/groups/{source}/{group}") &&
      formLink("group-form", { source, name }, "Change settings"),
    can("DELETE /v1/groups/{source}/{group}") &&
      actButton("Delete the group", {
        about:
          "Its checkpoint and its parked events are lost, and its consumers are disconnected. The events of its source stay.",
        requests: [request("DELETE", `group ${name} of ${source}`, "groups", source, name)],
        typed: name,
        then: () => arrive(to("groups")),
      }),
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
  ]);
}

function consumers(group) {
  const column = (name, label, kind, value) => ({ name, label, kind, value, cell: value });
  return table({
    label: "consumers",
    loaded: ["consumer", ""],
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

function parked(group, page, parameters, program) {
  if (page === null) return notice("empty", "No event is parked.");
  if (page instanceof Problem) return [allActs(group, program), failureNotice(page)];
  const hasActs = program.can(REPLAY) || program.can(TRUNCATE);
  return [
    allActs(group, program),
    table({
      label: "parked events",
      rows: page.events,
      columns: hasActs ? [...PARKED, upTo(group, program)] : PARKED,
      loaded: ["parked event", " on this page"],
      pages: [
        {
          label: "Newest",
          href: parameters.has("from") ? here({ from: null }) : null,
          key: "prev",
        },
        {
          label: "Next",
          href: page.next === null || page.end ? null : here({ from: page.next }),
          key: "next",
        },
      ],
      empty: "No event is parked.",
    }),
  ];
}

const REPLAY = "POST /v1/groups/{source}/{group}/replay-parked";
const TRUNCATE = "POST /v1/groups/{source}/{group}/truncate-parked";

/** Makes the acts on all parked events. */
function allActs(group, { can }) {
  const { source, name, parked: number } = group;
  const waiting = waitingText(group);
  const what = `${counted(number, "parked event")} of ${name}`;
  return el(
    "div",
    { class: "bar acts" },
    can(REPLAY) &&
      actButton("Retry all", {
        about: `They are delivered to the consumers again, the oldest first.${waiting}`,
        requests: [request("POST", what, "groups", source, name, "replay-parked")],
        kind: "primary",
      }),
    can(TRUNCATE) &&
      actButton("Discard all", {
        about: "The group never delivers them again. The events themselves stay in their streams.",
        requests: [request("POST", what, "groups", source, name, "truncate-parked")],
        typed: name,
      }),
  );
}

/** Says that nothing is delivered before there is a consumer. */
function waitingText({ consumers }) {
  return consumers.length === 0
    ? " No consumer is connected now: they wait for one, until the server starts again."
    : "";
}

/** Makes the column of acts on a parked event and all older ones: a group takes them in order. */
function upTo(group, { can }) {
  const { source, name } = group;
  const act = (verb, parked) => {
    const what = `parked events up to ${linkText(parked)}`;
    const made = request("POST", what, "groups", source, name, verb);
    return [withContent(made, { parameters: { stopAt: parked.revision + 1 } })];
  };
  return {
    name: "acts",
    label: "Acts",
    kind: "acts",
    isControl: true,
    value: () => "",
    cell: (parked) =>
      el(
        "span",
        { class: "buttons" },
        can(REPLAY) &&
          actButton("Retry to here", {
            about: `This event and all that were parked before it are delivered again.${waitingText(group)}`,
            requests: act("replay-parked", parked),
            kind: "small",
          }),
        can(TRUNCATE) &&
          actButton("Discard to here", {
            about:
              "The group never delivers this event and those that were parked before it again. The events themselves stay in their streams.",
            requests: act("truncate-parked", parked),
            typed: name,
            kind: "small",
          }),
      ),
  };
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
  { name: "reason", label: "Reason", kind: "words most", value: reasonOf, cell: reasonOf },
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

function settings({ settings: kept, filter }) {
  const least = kept.minCheckpointCount;
  return facts([
    ["Strategy", kept.strategy],
    ["Began at", startText(kept.startFrom)],
    ["Filter", filter && filterText(filter)],
    ["Time for an answer", kept.messageTimeoutMs ? millis(kept.messageTimeoutMs) : "no limit"],
    ["Retries before an event is parked", String(kept.maxRetryCount)],
    ["Consumers at most", kept.maxSubscriberCount ? String(kept.maxSubscriberCount) : "no limit"],
    [
      "Checkpoint",
      `after ${millis(kept.checkpointAfterMs)}, with ${least} to ${kept.maxCheckpointCount} events`,
    ],
    [
      "Buffers",
      `${kept.liveBufferSize} live, ${kept.historyBufferSize} while it catches up, read ${kept.readBatchSize} at once`,
    ],
    ["Targets of links", kept.resolveLinks ? "are delivered" : "are not looked up"],
  ]);
}

const millis = (number) => `${grouped(number)} ms`;

function startText(start) {
  if (start === "start") return "the first event";
  return start === "end" ? "the end of that moment" : String(start);
}

function filterText({ on, regex, prefixes }) {
  const what = on === "stream" ? "streams" : "event types";
  return regex ? `${what} that match ${regex}` : `${what} that begin with ${prefixes.join(", ")}`;
}

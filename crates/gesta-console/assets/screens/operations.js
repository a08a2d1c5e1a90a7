// Operations: the scavenge of the store, and the settings of the server with their sources.

import { actButton, request, withContent } from "../acts.js";
import { get } from "../api.js";
import { el, fill } from "../dom.js";
import { numberInput } from "../form.js";
import { facts, notice, table } from "../table.js";
import { duration, grouped, size, time } from "../time.js";
import { watch } from "../watch.js";

export const title = "Operations";

export async function render(root, { program, signal }) {
  const { settings } = await get("v1/config", {}, signal);
  const scavenge = el("section", {});
  fill(
    root,
    el("h1", {}, "Operations"),
    el("h2", {}, "Scavenge"),
    el(
      "p",
      { class: "muted" },
      "A scavenge removes the events that are hidden from readers, and gives their space back.",
    ),
    scavenge,
    el("h2", {}, "Settings"),
    table({
      label: "settings",
      rows: settings,
      columns: SETTINGS,
      empty: "The program that serves the store tells no settings.",
    }),
  );
  await watch(
    scavenge,
    signal,
    () => get("v1/scavenge", {}, signal),
    (answer) => scavengeView(answer, program),
  );
}

function scavengeView({ supported, last }, program) {
  if (!supported)
    return notice("empty", "Only a store in a directory is scavenged; others keep hidden events.");
  const isRunning = last?.state === "running";
  return [
    last ? scavengeFacts(last) : notice("empty", "None was started since the start of the server."),
    el(
      "div",
      { class: "bar acts" },
      !isRunning && program.can("POST /v1/scavenge") && start(),
      isRunning &&
        program.can("DELETE /v1/scavenge/{id}") &&
        actButton("Stop the scavenge", {
          about: "It ends after its present step. What was reclaimed stays reclaimed.",
          requests: [request("DELETE", `scavenge ${last.scavengeId}`, "scavenge", last.scavengeId)],
        }),
    ),
  ];
}

function start() {
  const threshold = numberInput("threshold", "", { max: 100 });
  return el(
    "span",
    { class: "buttons group" },
    actButton("Start a scavenge", {
      about: "The store is served meanwhile. Hidden events cannot be brought back afterwards.",
      requests: () => {
        if (!threshold.reportValidity()) return [];
        const parameters = { threshold: threshold.value };
        return [withContent(request("POST", "the store", "scavenge"), { parameters })];
      },
      kind: "primary",
    }),
    el("label", {}, "of segments with at least ", threshold, " % to reclaim"),
  );
}

const KINDS = { completed: "good", failed: "bad" };

function scavengeFacts(scavenge) {
  const { state, startedAt, endedAt, bytesDone, bytesTotal } = scavenge;
  const seconds = endedAt && (new Date(endedAt).getTime() - new Date(startedAt).getTime()) / 1_000;
  const share = bytesTotal > 0 ? Math.floor((bytesDone / bytesTotal) * 100) : 0;
  return facts([
    ["State", el("span", { class: KINDS[state] ?? null }, state)],
    ["Error", scavenge.error && el("span", { class: "bad" }, scavenge.error)],
    [
      "Progress",
      state === "running"
        ? [
            el("progress", { value: bytesDone, max: Math.max(1, bytesTotal), "aria-label": "Progress" }),
            ` ${share} %, ${size(bytesDone)} of ${size(bytesTotal)}`,
          ]
        : `${size(bytesDone)} of ${size(bytesTotal)} examined`,
    ],
    ["Reclaimed", size(scavenge.bytesReclaimed)],
    ["Events removed", grouped(scavenge.eventsRemoved)],
    ["Started", time(startedAt)],
    ["Ended", endedAt && [time(endedAt), `, after ${duration(seconds)}`]],
    ["Id", scavenge.scavengeId],
  ]);
}

const SETTINGS = [
  {
    name: "name",
    label: "Setting",
    kind: "name main",
    value: (setting) => setting.name,
    cell: (setting) => setting.name,
  },
  {
    name: "value",
    label: "Value",
    kind: "wide",
    value: (setting) => setting.values.join(", "),
    cell: (setting) =>
      setting.values.length > 0
        ? setting.values.join(", ")
        : el("span", { class: "muted" }, "not set"),
  },
  {
    name: "source",
    label: "Source",
    kind: "words source",
    value: (setting) => setting.source,
    cell: (setting) => setting.source,
  },
];

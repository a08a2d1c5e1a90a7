// Operations: scavenge, verification and backups of the store, and the settings of the server with
// their sources.

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
  const verification = el("section", {});
  const backups = el("section", {});
  // Outside of what is read again, so that a name that is being typed stays.
  const target = el("div", { class: "bar acts" });
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
    el("h2", {}, "Verification"),
    el(
      "p",
      { class: "muted" },
      "A verification reads every byte of the store, and changes nothing.",
    ),
    verification,
    el("h2", {}, "Backups"),
    el(
      "p",
      { class: "muted" },
      "A backup has every event that was acknowledged before it began. ",
      el("code", {}, "gesta restore"),
      " makes a store of it.",
    ),
    target,
    backups,
    el("h2", {}, "Settings"),
    table({
      label: "settings",
      loaded: ["setting", ""],
      rows: settings,
      columns: SETTINGS,
      empty: "The program that serves the store tells no settings.",
    }),
  );
  await Promise.all([
    watch(
      scavenge,
      signal,
      () => get("v1/scavenge", {}, signal),
      (answer) => scavengeView(answer, program),
    ),
    watch(
      verification,
      signal,
      () => get("v1/verify", {}, signal),
      (answer) => verificationView(answer, program),
    ),
    watch(
      backups,
      signal,
      () => get("v1/backup", {}, signal),
      (answer) => {
        if (answer.supported && target.childElementCount === 0 && program.can("POST /v1/backup"))
          fill(target, startBackup());
        return backupsView(answer, program);
      },
    ),
  ]);
}

function verificationView({ supported, last }, program) {
  if (!supported)
    return notice("empty", "Only a store in a directory is verified; databases have tools of their own.");
  const isRunning = last?.state === "running";
  return [
    last ? workFacts(last, verified) : notice("empty", "None was started since the start of the server."),
    el(
      "div",
      { class: "bar acts" },
      !isRunning &&
        program.can("POST /v1/verify") &&
        actButton("Verify the store", {
          about: "The store is served meanwhile. Its disk and two processors are busy for that time.",
          requests: [request("POST", "the store", "verify")],
          kind: "primary",
        }),
      isRunning &&
        program.can("DELETE /v1/verify/{id}") &&
        actButton("Stop the verification", {
          about: "It ends after its present segment, without a result.",
          requests: [request("DELETE", `verification ${last.id}`, "verify", last.id)],
        }),
    ),
  ];
}

function verified({ sound, events, damage, indexDamage }) {
  const places = (list) =>
    list.length > 0 ? el("ul", {}, ...list.map((place) => el("li", {}, place))) : null;
  return [
    ["Result", el("span", { class: sound ? "good" : "bad" }, sound ? "sound" : "DAMAGED")],
    ["Readable events", grouped(events)],
    ["Damage", places(damage)],
    ["Damage of the index", places(indexDamage)],
  ];
}

function backupsView({ supported, last, backups }, program) {
  if (!supported)
    return notice(
      "empty",
      "A store in a directory is backed up by a server that was started with --backups DIRECTORY.",
    );
  return [
    last && workFacts(last, backedUp),
    last?.state === "running" &&
      program.can("DELETE /v1/backup/{id}") &&
      el(
        "div",
        { class: "bar acts" },
        actButton("Stop the backup", {
          about: "It ends after its present segment. An earlier backup of its name stays.",
          requests: [request("DELETE", `backup ${last.name}`, "backup", last.id)],
        }),
      ),
    table({ label: "backups", loaded: ["backup", ""], rows: backups, columns: BACKUPS, empty: "There is no backup." }),
  ];
}

function backedUp({ position, bytes, bytesCopied }) {
  return [
    ["Last event", grouped(position)],
    ["Size", `${size(bytes)}, of which ${size(bytesCopied)} were copied`],
  ];
}

function startBackup() {
  const name = el("input", {
    name: "backup",
    required: true,
    maxlength: 100,
    pattern: "[A-Za-z0-9_\\-][A-Za-z0-9_.\\-]*",
    title: "letters, digits, -, _ and .",
  });
  return el(
    "span",
    { class: "buttons group" },
    actButton("Start a backup", {
      about: "The store is served meanwhile. A backup of this name is brought up to date.",
      requests: () => {
        if (!name.reportValidity()) return [];
        return [withContent(request("POST", "the store", "backup"), { parameters: { name: name.value } })];
      },
      kind: "primary",
    }),
    el("label", {}, "named ", name),
  );
}

/** Facts of a verification or a backup. */
function workFacts(work, resultFacts) {
  const { name, state, error, startedAt, endedAt, bytesDone, bytesTotal, result } = work;
  const seconds = endedAt && (new Date(endedAt).getTime() - new Date(startedAt).getTime()) / 1_000;
  return facts([
    ["Name", name],
    ["State", el("span", { class: KINDS[state] ?? null }, state)],
    ["Error", error && el("span", { class: "bad" }, error)],
    ...(result ? resultFacts(result) : []),
    [
      "Progress",
      state === "running" ? progressOf(bytesDone, bytesTotal) : `${size(bytesDone)} of ${size(bytesTotal)} read`,
    ],
    ["Started", time(startedAt)],
    ["Ended", endedAt && [time(endedAt), `, after ${duration(seconds)}`]],
    ["Id", work.id],
  ]);
}

function progressOf(bytesDone, bytesTotal) {
  const share = bytesTotal > 0 ? Math.floor((bytesDone / bytesTotal) * 100) : 0;
  return [
    el("progress", { value: bytesDone, max: Math.max(1, bytesTotal), "aria-label": "Progress" }),
    ` ${share} %, ${size(bytesDone)} of ${size(bytesTotal)}`,
  ];
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
  return facts([
    ["State", el("span", { class: KINDS[state] ?? null }, state)],
    ["Error", scavenge.error && el("span", { class: "bad" }, scavenge.error)],
    [
      "Progress",
      state === "running"
        ? progressOf(bytesDone, bytesTotal)
        : `${size(bytesDone)} of ${size(bytesTotal)} examined`,
    ],
    ["Reclaimed", size(scavenge.bytesReclaimed)],
    ["Events removed", grouped(scavenge.eventsRemoved)],
    ["Started", time(startedAt)],
    ["Ended", endedAt && [time(endedAt), `, after ${duration(seconds)}`]],
    ["Id", scavenge.scavengeId],
  ]);
}

const BACKUPS = [
  {
    name: "name",
    label: "Backup",
    kind: "name main",
    value: (backup) => backup.name,
    cell: (backup) => backup.name,
  },
  {
    name: "position",
    label: "Last event",
    kind: "number",
    value: (backup) => backup.position,
    cell: (backup) => (backup.position === null ? "" : grouped(backup.position)),
  },
  {
    name: "bytes",
    label: "Size",
    kind: "number",
    value: (backup) => backup.bytes,
    cell: (backup) => (backup.bytes === null ? "" : size(backup.bytes)),
  },
  {
    name: "taken",
    label: "Completed",
    value: (backup) => backup.takenAt,
    cell: (backup) => backup.takenAt && time(backup.takenAt),
  },
  {
    name: "error",
    label: "Error",
    kind: "words",
    value: (backup) => backup.error ?? "",
    cell: (backup) => backup.error && el("span", { class: "bad" }, backup.error),
  },
];

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

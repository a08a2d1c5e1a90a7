// One instance of a process manager: its timers, commands and set-aside inputs.

import { actButton, request } from "../acts.js";
import { get, pathOf } from "../api.js";
import { el, link } from "../dom.js";
import { preview } from "../json.js";
import { streamHref } from "../route.js";
import { facts, notice, table } from "../table.js";
import { localTime, time } from "../time.js";
import { watch } from "../watch.js";
import { column, controlColumn, errorText, processHref, stateMark } from "./parts.js";
import { fireButton, untilText } from "./process.js";
import { inputColumns } from "./set-aside.js";

export const title = ({ parameters }) => `${parameters.get("process")} ${parameters.get("id")}`;

/** Characters of a payload in a table. */
const PAYLOAD_CHARS = 200;

export async function render(root, { parameters, program, signal }) {
  const [process, id] = [parameters.get("process") ?? "", parameters.get("id") ?? ""];
  const context = { process, id, program };
  await watch(
    root,
    signal,
    () => get(pathOf("processes", process, "instances", id), {}, signal),
    (instance) => [
      el("h1", { class: "name" }, id),
      instance.trouble && notice("error", el("strong", {}, instance.trouble)),
      acts(instance, context),
      facts([
        ["Process manager", link(processHref(process), process)],
        ["State", stateMark(instance.state)],
        ["Stream", link(streamHref(instance.stream), instance.stream)],
        ["Revision", instance.revision ?? null],
      ]),
      parts(instance, context),
    ],
  );
}

function acts({ id, state }, { process, program }) {
  const isOver = state === "ended" || state === "cancelled";
  if (!program.can("cancelProcess") || isOver) return null;
  return el(
    "div",
    { class: "bar acts" },
    actButton("Cancel the instance", {
      about:
        "It ends now. Its timers and the commands that are not sent yet are dropped, with its set-aside inputs. What it has done stays.",
      requests: [request("POST", id, "processes", process, "instances", id, "cancel")],
      typed: id,
    }),
  );
}

function parts(instance, context) {
  const section = (heading, name, rows, columns, empty) => [
    el("h2", {}, heading),
    rows.length === 0
      ? el("p", { class: "muted" }, empty)
      : table({ label: heading, name, rows, columns }),
  ];
  const subject = `instance:${instance.id}`;
  const inputs = instance.setAside.map((input) => ({ ...input, subject }));
  return [
    section(
      "Inputs set aside",
      "inputs",
      inputs,
      inputColumns(context.process, context.program),
      "None: it has handled all of its inputs.",
    ),
    section("Timers", "timers", instance.timers, timerColumns(context), "No timer is pending."),
    section(
      "Commands to send",
      "commands",
      instance.commands,
      commandColumns(),
      "All decided commands have been carried out.",
    ),
    section(
      "Refused commands",
      "refused",
      instance.refused,
      refusedColumns(context),
      "No command was refused for good.",
    ),
  ];
}

const payloadColumn = (label, value) =>
  column(label.toLowerCase(), label, "wide half", (one) => payloadText(value(one).text));

/** Returns a payload as text. `null` is that of a timer or command without data. */
const payloadText = (text) => (text === "null" ? "no data" : preview(text, PAYLOAD_CHARS));

const timerColumns = ({ process, id, program }) => [
  column("due", "Due", "time", (one) => localTime(one.due), (one) => time(one.due)),
  column("in", "In", "name", (one) => one.due, (one) => untilText(one.due)),
  column("id", "Id", "number", (one) => one.id),
  payloadColumn("Timer", (one) => one.timer),
  controlColumn("acts", "Acts", (one) => fireButton(process, id, one.id, program)),
];

const commandColumns = () => [
  column("id", "Id", "number", (one) => one.id),
  column("name", "Command", "name main", (one) => one.name),
  payloadColumn("Payload", (one) => one.payload),
];

const refusedColumns = (context) => [
  ...commandColumns(),
  column(
    "reason",
    "Reason",
    "error half",
    (one) => `${one.code}: ${one.reason}`,
    (one) => errorText(`${one.code}: ${one.reason}`),
  ),
  controlColumn("acts", "Acts", (one) => resendButton(context, one)),
];

function resendButton({ process, id, program }, { id: command, name }) {
  if (!program.can("resendProcessCommand")) return "";
  const path = ["processes", process, "instances", id, "commands", command, "resend"];
  return actButton("Send again", {
    about: `The command ${name} is sent once more, as a new command.`,
    requests: [request("POST", name, ...path)],
    kind: "small",
  });
}

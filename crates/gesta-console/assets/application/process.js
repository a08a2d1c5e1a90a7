// One process manager: its instances by state, its timers, and the inputs that it has set aside.

import { actButton, request } from "../acts.js";
import { get, pathOf } from "../api.js";
import { el, link } from "../dom.js";
import { here } from "../route.js";
import { choice, cursorPages, facts, notice, table } from "../table.js";
import { ago, grouped, localTime, time } from "../time.js";
import { watch } from "../watch.js";
import { column, controlColumn, errorText, instanceHref, stateMark } from "./parts.js";
import { inputColumns } from "./set-aside.js";

export const title = ({ parameters }) => `Process manager ${parameters.get("name")}`;

const STATES = ["running", "troubled", "ended", "cancelled"];
/** Instances or inputs of a page. */
const PAGE_ROWS = 100;
/** Timers that are listed. */
const TIMERS_MAX = 200;

export async function render(root, { parameters, program, signal }) {
  const name = parameters.get("name") ?? "";
  const show = parameters.get("show") ?? "running";
  await watch(
    root,
    signal,
    () => read(name, show, parameters, signal),
    ([process, content]) => [
      el("h1", { class: "name" }, name),
      process.trouble && notice("error", el("strong", {}, process.trouble)),
      acts(process, program),
      processFacts(process),
      choices(process, show),
      CONTENTS[kindOf(show)].draw(content, { name, parameters, program }),
    ],
  );
}

const kindOf = (show) => (Object.hasOwn(CONTENTS, show) ? show : "instances");

async function read(name, show, parameters, signal) {
  const process = await get(pathOf("processes", name), {}, signal);
  // A search for what does not exist would read the stream of every instance.
  if (process.instances?.[show] === 0) return [process, { items: [] }];
  return [process, await CONTENTS[kindOf(show)].read(name, show, parameters, signal)];
}

function acts({ name, state }, { can }) {
  const order = (verb) => [request("POST", name, "processes", name, verb)];
  const isStopped = state === "paused" || state === "halted";
  const made = [
    can("resumeProcess") &&
      isStopped &&
      actButton("Resume", {
        about: "It handles events again, fires its timers and sends its commands.",
        requests: order("resume"),
        kind: "primary",
      }),
    can("pauseProcess") &&
      !isStopped &&
      actButton("Pause", {
        about:
          "It finishes its work in hand. Then it handles no events, fires no timers and sends no commands until it is resumed, or until the program starts again.",
        requests: order("pause"),
      }),
  ].filter(Boolean);
  return made.length > 0 && el("div", { class: "bar acts" }, made);
}

function processFacts(process) {
  return facts([
    ["State", stateMark(process.state)],
    ["Position", grouped(process.position)],
    ["Commands to send", grouped(process.commands)],
    ["Node", process.node ?? null],
  ]);
}

function choices({ instances, timers, setAside }, show) {
  const option = (label, value) => ({
    label,
    href: here({ show: value, cursor: null, sort: null, filter: null, page: null }),
    isOn: show === value,
  });
  return choice("Instances, timers and inputs", [
    ...STATES.map((state) => option(`${state} ${grouped(instances?.[state] ?? 0)}`, state)),
    option("all", "all"),
    option(`timers ${grouped(timers)}`, "timers"),
    option(`set aside ${grouped(setAside)}`, "set-aside"),
  ]);
}

/** What the screen can show: how it is read, and how it is drawn. */
const CONTENTS = {
  instances: {
    read: (name, show, parameters, signal) =>
      get(
        pathOf("processes", name, "instances"),
        {
          state: STATES.includes(show) ? show : null,
          cursor: parameters.get("cursor"),
          limit: PAGE_ROWS,
        },
        signal,
      ),
    draw: ({ items, next }, { name, parameters }) => [
      // A search reads a bounded number of instances, in order of their ids.
      next &&
        items.length < PAGE_ROWS &&
        notice(
          "note",
          "The search stopped after the instances that it reads at once. “Next” goes on with it.",
        ),
      table({
        label: "instances",
        rows: items,
        columns: instanceColumns(name),
        loaded: ["instance", " on this page"],
        pages: cursorPages(parameters, next),
        empty: next ? "None so far." : "There are no instances in this state.",
      }),
    ],
  },
  timers: {
    read: (name, show, parameters, signal) =>
      get(pathOf("processes", name, "timers"), { limit: TIMERS_MAX }, signal),
    draw: ({ items }, context) =>
      table({
        label: "timers",
        rows: items,
        columns: timerColumns(context),
        empty: "No timer is pending on this node.",
      }),
  },
  "set-aside": {
    read: (name, show, parameters, signal) =>
      get(
        pathOf("processes", name, "set-aside"),
        { cursor: parameters.get("cursor"), limit: PAGE_ROWS },
        signal,
      ),
    draw: ({ items, next }, { name, parameters, program }) =>
      table({
        label: "inputs set aside",
        rows: items.flatMap(({ subject, inputs }) => inputs.map((input) => ({ ...input, subject }))),
        columns: inputColumns(name, program),
        loaded: ["input", " on this page"],
        pages: cursorPages(parameters, next),
        empty: "No input is set aside.",
      }),
  },
};

const instanceColumns = (name) => [
  column(
    "id",
    "Instance",
    "name main",
    (one) => one.id,
    (one) => link(instanceHref(name, one.id), one.id),
  ),
  column("state", "State", "state", (one) => one.state, (one) => stateMark(one.state)),
  column("revision", "Revision", "number", (one) => one.revision ?? "–"),
  column("setAside", "Inputs set aside", "number", (one) => one.setAside),
  column("error", "Error", "error", (one) => one.error ?? "", (one) => errorText(one.error ?? "")),
];

const timerColumns = ({ name, program }) => [
  column("due", "Due", "time", (one) => localTime(one.due), (one) => time(one.due)),
  column("in", "In", "name", (one) => one.due, (one) => untilText(one.due)),
  column(
    "instance",
    "Instance",
    "main wide",
    (one) => one.instance,
    (one) => link(instanceHref(name, one.instance), one.instance),
  ),
  controlColumn("acts", "Acts", (one) => fireButton(name, one.instance, one.id, program)),
];

/** Returns the time until a moment, or since it. */
export function untilText(moment) {
  const seconds = (new Date(moment).getTime() - Date.now()) / 1_000;
  if (seconds <= 0) return `due ${ago(moment)}`;
  return ago(new Date(Date.now() - seconds * 1_000).toISOString()).replace(/ ago$/, "");
}

/** Makes the button that fires a timer. */
export function fireButton(process, instance, timer, { can }) {
  if (!can("fireProcessTimer")) return "";
  return actButton("Fire now", {
    about: `The timer ${timer} of ${instance} fires at once, as if its time had come.`,
    requests: [
      request(
        "POST",
        `timer ${timer} of ${instance}`,
        "processes",
        process,
        "instances",
        instance,
        "timers",
        timer,
        "fire",
      ),
    ],
    kind: "small",
  });
}

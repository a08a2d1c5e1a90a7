// Process managers of an application, with their outstanding work.

import { get, pathOf } from "../api.js";
import { el, link } from "../dom.js";
import { table } from "../table.js";
import { watch } from "../watch.js";
import {
  column,
  countLink,
  instanceHref,
  processHref,
  readProcesses,
  stateMark,
  withNodes,
} from "./parts.js";

export const title = "Processes";

/** Commands of a manager that are listed. */
const COMMANDS_MAX = 200;

export async function render(root, { program, signal }) {
  await watch(
    root,
    signal,
    () => read(program, signal),
    ({ processes, commands }) => [
      el("h1", {}, "Process managers"),
      table({
        label: "process managers",
        columns: withNodes(COLUMNS, processes),
        rows: processes,
        empty: "The application has no process managers.",
      }),
      commands && [
        el("h2", {}, "Commands to send"),
        table({
          label: "commands to send",
          name: "commands",
          columns: COMMAND_COLUMNS,
          rows: commands,
          empty: "No command is outstanding.",
        }),
      ],
    ],
  );
}

/** Reads the managers, and the commands that they have decided and not executed yet. */
async function read({ can }, signal) {
  const processes = await readProcesses(signal);
  if (!can("listOutstandingCommands")) return { processes };
  const lists = processes
    .filter(({ commands }) => commands > 0)
    .map(async ({ name }) => {
      const { items } = await get(pathOf("processes", name, "commands"), { limit: COMMANDS_MAX }, signal);
      return items.map((command) => ({ ...command, process: name }));
    });
  return { processes, commands: (await Promise.all(lists)).flat() };
}

const waitsFor = ({ troubled }) =>
  troubled ? "its instance is stuck" : "is sent, or waits for its next try";

const COMMAND_COLUMNS = [
  column(
    "process",
    "Process manager",
    "name",
    (one) => one.process,
    (one) => link(processHref(one.process), one.process),
  ),
  column(
    "instance",
    "Instance",
    "name main",
    (one) => one.instance,
    (one) => link(instanceHref(one.process, one.instance), one.instance),
  ),
  column("command", "Command", "name", (one) => one.name),
  column("id", "Id", "number", (one) => one.id),
  column("waits", "State", "words most", waitsFor),
];

const shows = (show) => (one) => processHref(one.name, { show });

const COLUMNS = [
  column(
    "name",
    "Process manager",
    "name main",
    (one) => one.name,
    (one) => link(processHref(one.name), one.name),
  ),
  column("state", "State", "state", (one) => one.state, (one) => stateMark(one.state)),
  column("position", "Position", "number", (one) => one.position),
  column("timers", "Timers", "number", (one) => one.timers, (one) =>
    countLink(one.timers, shows("timers")(one)),
  ),
  column("commands", "Commands to send", "number", (one) => one.commands),
  column("troubled", "Stuck", "number", (one) => one.troubled, (one) =>
    countLink(one.troubled, shows("troubled")(one)),
  ),
  column("setAside", "Inputs set aside", "number", (one) => one.setAside, (one) =>
    countLink(one.setAside, shows("set-aside")(one)),
  ),
  column("node", "Node", "name", (one) => one.node ?? ""),
  column("error", "Trouble", "words most", (one) => one.trouble ?? one.error ?? ""),
];

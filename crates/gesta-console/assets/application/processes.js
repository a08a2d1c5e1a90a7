// Process managers of an application, with their outstanding work.

import { el, link } from "../dom.js";
import { table } from "../table.js";
import { watch } from "../watch.js";
import { column, countLink, processHref, readProcesses, stateMark } from "./parts.js";

export const title = "Processes";

export async function render(root, { signal }) {
  await watch(
    root,
    signal,
    () => readProcesses(signal),
    (processes) => [
      el("h1", {}, "Process managers"),
      table({
        label: "process managers",
        columns: COLUMNS,
        rows: processes,
        empty: "The application has no process managers.",
      }),
    ],
  );
}

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
  column("error", "Trouble", "wide", (one) => one.trouble ?? one.error ?? ""),
];

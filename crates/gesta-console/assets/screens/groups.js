// Consumer groups: their progress, and the events that they have parked.

import { el, link } from "../dom.js";
import { formLink } from "../form.js";
import { groupLag, groupState, readGroups } from "../work.js";
import { streamHref, to } from "../route.js";
import { table } from "../table.js";
import { watch } from "../watch.js";

export const title = "Groups";

export async function render(root, { program, signal }) {
  await watch(
    root,
    signal,
    () => readGroups(signal),
    (groups) => [
      el("h1", {}, "Consumer groups"),
      program.can("POST /v1/groups") &&
        el("div", { class: "bar" }, formLink("group-form", {}, "New group")),
      table({
        label: "consumer groups",
        loaded: ["group", ""],
        rows: groups,
        columns: COLUMNS,
        empty: "The store has no consumer groups.",
      }),
    ],
  );
}

const groupHref = (group) => to("group", { source: group.source, name: group.name });

const number = (name, label, value, href) => ({
  name,
  label,
  kind: "number",
  value,
  cell: (group) => (href ? link(href(group), value(group)) : value(group)),
});

const COLUMNS = [
  {
    name: "name",
    label: "Group",
    kind: "name main",
    value: (group) => group.name,
    cell: (group) => link(groupHref(group), group.name),
  },
  {
    name: "source",
    label: "Source",
    kind: "name",
    value: (group) => group.source,
    cell: (group) =>
      link(group.source === "$all" ? to("query") : streamHref(group.source), group.source),
  },
  {
    name: "status",
    label: "State",
    kind: "name",
    value: (group) => groupState(group).text,
    cell: (group) =>
      el("span", { class: groupState(group).isTrouble ? "bad" : "good" }, groupState(group).text),
  },
  number("consumers", "Consumers", (group) => group.consumers.length, groupHref),
  number("lag", "Lag", groupLag, (group) => sourceHref(group)),
  number("inFlight", "In flight", (group) => group.inFlight),
  number(
    "parked",
    "Parked",
    (group) => group.parked,
    (group) => streamHref(group.parkedStream),
  ),
  number("delivered", "Delivered", (group) => group.delivered),
];

/** Returns the address of what a group has not finished. */
export function sourceHref(group) {
  if (group.source === "$all")
    return to("query", { direction: "forwards", after: group.checkpoint ?? 0 });
  return streamHref(group.source, {
    direction: "forwards",
    from: group.checkpoint === null ? 0 : group.checkpoint + 1,
  });
}

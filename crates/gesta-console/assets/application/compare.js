// The comparison of a rebuild that awaits confirmation with the present rows. Nothing changes.

import { ask, pathOf, Problem } from "../api.js";
import { openDialog } from "../dialog.js";
import { el, fill } from "../dom.js";
import { facts, notice, problemNotice } from "../table.js";
import { counted, grouped } from "../time.js";

const LABEL = "New rows beside the present ones";

/** Makes the button that compares, and shows the outcome in a dialog. */
export function compareButton(name) {
  const button = el("button", { type: "button" }, "Compare");
  button.addEventListener("click", () => open(name));
  return button;
}

async function open(name) {
  const outcome = el("div", { role: "status" }, "Reading all rows of both builds…");
  const close = el("button", { type: "button" }, "Close");
  const content = el(
    "div",
    { class: "act-form" },
    el("h2", {}, LABEL),
    outcome,
    el("span", { class: "buttons" }, close),
  );
  const { signal } = openDialog(LABEL, "act-dialog wide", content, close);
  try {
    fill(outcome, shown(await ask(pathOf("projections", name, "compare"), {}, signal)));
  } catch (problem) {
    if (signal.aborted) return;
    if (!(problem instanceof Problem)) throw problem;
    fill(outcome, problemNotice(problem));
  }
}

function shown({ equal, liveBuild, rebuiltBuild, position, tables }) {
  const verdict = equal
    ? notice("good", el("strong", {}, "Both builds have the same rows."))
    : notice("error", el("strong", {}, "The builds have different rows."));
  const about = `Build ${rebuiltBuild} beside build ${liveBuild}, both as of position ${grouped(position)}.`;
  const differing = tables.filter((table) => !table.equal);
  return [
    verdict,
    el("p", {}, about),
    facts(tables.map((table) => [table.name, counts(table)])),
    ...differing.flatMap(differences),
  ];
}

function counts({ equal, liveRows, rebuiltRows }) {
  if (equal) return `${counted(liveRows, "row")}, the same in both`;
  return `${counted(liveRows, "present row")}, ${counted(rebuiltRows, "new row")}, not the same`;
}

function differences({ name, onlyLive, onlyRebuilt, more }) {
  return [
    rows(`Only present: ${name}`, onlyLive),
    rows(`Only new: ${name}`, onlyRebuilt),
    more && el("p", { class: "muted" }, `There may be more differences in ${name}.`),
  ].filter(Boolean);
}

function rows(heading, texts) {
  if (texts.length === 0) return null;
  return el("section", {}, el("h3", {}, heading), el("pre", { class: "rows" }, texts.join("\n")));
}

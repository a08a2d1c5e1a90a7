// A dead letter that is tried with a copy of its event's data, which people edit. Nothing changes.

import { ask, get, pathOf, Problem } from "../api.js";
import { openDialog } from "../dialog.js";
import { el, fill } from "../dom.js";
import { jsonText, UnusableValue } from "../form.js";
import { pretty } from "../json.js";
import { notice, problemNotice } from "../table.js";
import { counted } from "../time.js";

/** Makes the button that opens the dialog. */
export function tryButton(letter) {
  const button = el("button", { type: "button", class: "small" }, "Edit and try");
  button.addEventListener("click", () => open(letter));
  return button;
}

async function open(letter) {
  const data = el("textarea", {
    name: "data",
    rows: 14,
    spellcheck: "false",
    disabled: true,
    "aria-label": "Data of the copy",
  });
  const state = el("div", { class: "act-state", role: "status" });
  const go = el("button", { class: "primary", disabled: true }, "Try");
  const close = el("button", { type: "button" }, "Close");
  const form = el(
    "form",
    { class: "act-form" },
    el("h2", {}, "Try with other data"),
    el(
      "p",
      {},
      `A copy of ${letter.type} at ${letter.position} is applied by ${letter.of}, then the events that wait behind it. All of it is taken back: neither the rows nor the event change.`,
    ),
    data,
    state,
    el("span", { class: "buttons" }, go, close),
  );
  const { signal } = openDialog("Try with other data", "act-dialog wide", form, close);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      jsonText("The data", data.value);
    } catch (error) {
      if (!(error instanceof UnusableValue)) throw error;
      return fill(state, notice("error", error.message));
    }
    go.disabled = true;
    fill(state, "Trying…");
    const result = await tried(letter, data.value, signal);
    if (signal.aborted) return;
    fill(state, result);
    go.disabled = false;
  });
  try {
    data.value = await dataOf(letter, signal);
    data.disabled = false;
    go.disabled = false;
    data.focus();
  } catch (problem) {
    if (signal.aborted) return;
    if (!(problem instanceof Problem)) throw problem;
    fill(state, problemNotice(problem));
  }
}

/** Returns the data of a letter's event, laid out. */
async function dataOf({ stream, revision }, signal) {
  const page = await get(pathOf("streams", stream), { from: revision, limit: 1 }, signal);
  const event = page.events.find((one) => one.revision === revision);
  if (!event) throw new Problem(404, { detail: "the event was deleted" });
  if (!event.data) throw new Problem(422, { detail: "the data of the event are not JSON" });
  return pretty(event.data.text);
}

async function tried(letter, text, signal) {
  try {
    return outcome(await ask(pathOf(...letter.path, "try"), { data: text }, signal));
  } catch (problem) {
    if (!(problem instanceof Problem)) {
      if (signal.aborted) return null;
      throw problem;
    }
    return problemNotice(problem);
  }
}

function outcome({ applies, error, behind, failsBehind, errorBehind }) {
  if (!applies) return notice("error", el("strong", {}, "It still fails: "), error);
  const after = behind > 0 ? ` ${counted(behind, "event")} behind it would follow.` : "";
  if (failsBehind === undefined)
    return notice("good", el("strong", {}, "It applies with these data."), after, " Nothing was stored.");
  return notice(
    "error",
    el("strong", {}, `It applies with these data, and the event at ${failsBehind} behind it fails: `),
    errorBehind,
  );
}

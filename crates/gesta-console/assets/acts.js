// Acts: changes by an operator, each with a reason, which the audit stream of the program keeps.
//
// An act is asked for in a dialog. A destructive one needs the name of what it changes to be typed.
// Several acts of one dialog run one after the other, and those that fail are listed.

import { change, pathOf, Problem } from "./api.js";
import { openDialog } from "./dialog.js";
import { el, fill, visible } from "./dom.js";
import { lookAgain } from "./route.js";
import { notice, problemNotice } from "./table.js";
import { counted } from "./time.js";

/** Characters of a reason at most: the program refuses longer ones. */
const REASON_CHARS_MAX = 1_000;
/** Characters of a name that people have to type at most. */
const TYPED_CHARS_MAX = 100;

/** `false`: the program has no users and keeps no audit stream, so a reason would be lost. */
let keepsReasons = true;

/** Sets whether the program keeps reasons. */
export function setKeepsReasons(next) {
  keepsReasons = next;
}

/** Makes a request of an act: a method and a path, with a name for people. */
export const request = (method, name, ...parts) => ({ method, name, path: pathOf(...parts) });

/** Adds parameters of the query, and a body as the text of JSON, to a request. */
export const withContent = (request, { parameters, body }) => ({ ...request, parameters, body });

/**
 * Makes the button of an act. `about` says what will happen, `requests` are its requests, or a
 * function that returns them when the button is pressed. `typed` is the name to be typed, or a
 * function of the requests that returns it. `then` is called after a success, in place of a new look
 * at the screen.
 */
export function actButton(label, { about, requests, typed, kind = "", then }) {
  return el(
    "button",
    {
      type: "button",
      class: `act ${kind} ${typed ? "destructive" : ""}`,
      onclick: () => {
        const all = typeof requests === "function" ? requests() : requests;
        const name = typeof typed === "function" ? typed(all) : typed;
        if (all.length > 0) ask({ label, about, requests: all, typed: name, then });
      },
    },
    label,
  );
}

/**
 * Returns the text to be typed for a name: the name, unless it is too long for people or has
 * characters that a field does not take.
 */
function toType(name, label) {
  if (!name) return null;
  const isTypeable = name.length <= TYPED_CHARS_MAX && visible(name) === name && !/[\n\t]/.test(name);
  return isTypeable ? name : label.toLowerCase();
}

/** Asks for an act in a dialog, and carries it out. A form asks so when it is submitted. */
export function ask({ label, about, requests, typed: named, then }) {
  const typed = toType(named, label);
  const reason = el("textarea", {
    name: "reason",
    required: true,
    rows: 2,
    maxlength: REASON_CHARS_MAX,
    placeholder: "Why, for those who read the audit stream",
  });
  const name = el("input", { name: "name", autocomplete: "off", spellcheck: "false" });
  const state = el("div", { class: "act-state", role: "status" });
  const go = el("button", { class: typed ? "primary destructive" : "primary" }, label);
  const close = el("button", { type: "button" }, "Close");
  const form = el(
    "form",
    { class: "act-form" },
    el("h2", {}, label),
    el("p", {}, about),
    what(requests),
    keepsReasons
      ? el("label", {}, "Reason", reason)
      : el("p", { class: "muted" }, "This server has no users, and keeps no audit stream."),
    typed && el("label", {}, el("span", {}, "Type ", el("code", {}, typed), " to go on"), name),
    state,
    el("span", { class: "buttons" }, go, close),
  );
  const allow = () => {
    const isExplained = !keepsReasons || reason.value.trim() !== "";
    go.disabled = !isExplained || (Boolean(typed) && name.value !== typed);
  };
  form.addEventListener("input", allow);
  const { dialog, signal } = openDialog(label, "act-dialog", form, close);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    go.disabled = true;
    const failed = await carryOut(requests, reason.value.trim(), state, signal);
    if (signal.aborted) return;
    const isDone = failed.length === 0;
    if (isDone && then) then();
    // A form that was refused stays as it is.
    else if (isDone || !then) lookAgain();
    if (isDone) return dialog.close();
    fill(state, failures(failed, requests.length));
    allow();
  });
  allow();
  (keepsReasons ? reason : typed ? name : go).focus();
}

/** Names what the requests change, the first of many. */
function what(requests) {
  const shown = requests.slice(0, 5).map(({ name }) => el("li", {}, name));
  const more = requests.length - shown.length;
  return el("ul", { class: "act-what" }, shown, more > 0 && el("li", {}, `and ${more} more`));
}

/** Carries out requests in turn. Returns those that failed. */
async function carryOut(requests, reason, state, signal) {
  const failed = [];
  for (const [at, { method, path, name, parameters, body }] of requests.entries()) {
    if (requests.length > 1) fill(state, `${at + 1} of ${requests.length}: ${name}`);
    try {
      await change(method, path, { ...parameters, reason }, signal, body);
    } catch (problem) {
      if (signal.aborted) return failed;
      if (!(problem instanceof Problem)) throw problem;
      failed.push({ name, problem });
    }
  }
  return failed;
}

function failures(failed, all) {
  if (all === 1) return problemNotice(failed[0].problem);
  return notice(
    "error",
    el("strong", {}, `${counted(failed.length, "act")} of ${all} failed.`),
    el(
      "ul",
      {},
      failed.map(({ name, problem }) => el("li", {}, `${name}: ${problem.message}`)),
    ),
  );
}

// Forms whose submission is an act: fields with their labels, and values that are checked before
// the act is asked for.

import { ask } from "./acts.js";
import { el, fill, link } from "./dom.js";
import { go, lookAgain, to } from "./route.js";
import { notice } from "./table.js";

/** A value of a form that cannot be used. Its text is for people. */
export class UnusableValue extends Error {}

/** Makes a field with its label, and a hint below. */
export function field(label, input, hint) {
  return el("label", {}, label, input, hint && el("small", {}, hint));
}

/** Makes a field that takes all of the width. */
export function wideField(label, input, hint) {
  return el("label", { class: "whole" }, label, input, hint && el("small", {}, hint));
}

/** Makes a box to be ticked. */
export function boxField(label, input, hint) {
  return el(
    "label",
    { class: "box" },
    el("span", {}, input, " ", label),
    hint && el("small", {}, hint),
  );
}

export const textInput = (name, value, attributes = {}) =>
  el("input", { name, value: value ?? "", autocomplete: "off", spellcheck: "false", ...attributes });

export const numberInput = (name, value, attributes = {}) =>
  el("input", { name, type: "number", min: 0, step: 1, value: value ?? "", ...attributes });

export function boxInput(name, isOn) {
  const box = el("input", { name, type: "checkbox" });
  box.checked = isOn;
  return box;
}

export function areaInput(name, value, attributes = {}) {
  const area = el("textarea", { name, rows: 8, spellcheck: "false", class: "code", ...attributes });
  area.value = value ?? "";
  return area;
}

/** Makes a choice of `[value, label]`. */
export function selectInput(name, value, options) {
  const select = el(
    "select",
    { name },
    options.map(([one, label]) => el("option", { value: one }, label)),
  );
  select.value = value;
  return select;
}

/** Makes a field for a new password, and one for its repetition. `read` returns it. */
export function passwordFields() {
  const make = (name) =>
    el("input", { name, type: "password", autocomplete: "new-password", required: true });
  const [first, second] = [make("password"), make("repeated")];
  return {
    fields: [field("New password", first), field("The same again", second)],
    read() {
      if (first.value === second.value) return first.value;
      throw new UnusableValue("The two passwords differ: type the same one twice.");
    },
  };
}

/**
 * Makes a form. `act` reads the fields and returns what `ask` needs besides the label; it throws
 * `UnusableValue`.
 */
export function actForm({ label, fields, act, cancel }) {
  const state = el("div", { class: "form-state", role: "alert" });
  const form = el(
    "form",
    { class: "fields act-fields", "aria-label": label },
    fields,
    state,
    el(
      "span",
      { class: "buttons" },
      el("button", { class: "primary" }, label),
      cancel && link(cancel, "Cancel"),
    ),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    fill(state);
    try {
      ask({ label, ...act() });
    } catch (error) {
      if (!(error instanceof UnusableValue)) throw error;
      fill(state, notice("error", error.message));
    }
  });
  return form;
}

/** Goes to a screen after an act, also if it is the one that is shown. */
export function arrive(href) {
  if (location.hash === href) lookAgain();
  else go(href);
}

/** Checks that a text is JSON, and returns it as it is: numbers keep their digits. */
export function jsonText(label, text) {
  try {
    JSON.parse(text);
  } catch (error) {
    throw new UnusableValue(`${label} must be JSON: ${error.message}`);
  }
  return text;
}

/** Returns the names of a list with commas, or of a JSON array. */
export function namesOf(label, text) {
  const trimmed = text.trim();
  if (!trimmed.startsWith("[")) return trimmed.split(",").map((one) => one.trim()).filter(Boolean);
  const names = JSON.parse(jsonText(label, trimmed));
  if (names.every((one) => typeof one === "string")) return names;
  throw new UnusableValue(`${label} must be an array of names.`);
}

/** Returns names as a field shows them: with commas, or as a JSON array if a name needs it. */
export function namesText(names) {
  const isPlain = names.every((one) => !/^\[|,|^\s|\s$|^$/.test(one));
  return isPlain ? names.join(", ") : JSON.stringify(names);
}

/** Makes the link to a form, as a button looks. */
export const formLink = (screen, parameters, label) =>
  el("a", { class: "button", href: to(screen, parameters) }, label);

// The state of one aggregate: at each revision, as of a time or a position, and what has changed
// since another revision.
//
// The slider reads the state of the revision that it stands at. States of revisions never change,
// so each is read once.

import { get, pathOf, Problem } from "../api.js";
import { differences } from "../differences.js";
import { el, fill, link } from "../dom.js";
import { preview } from "../json.js";
import { payloadView } from "../payload.js";
import { eventHref, go, here, keep, streamHref } from "../route.js";
import { facts, failureNotice, notice, table } from "../table.js";
import { counted, grouped, localTime, momentInput, ofInput, time } from "../time.js";
import { column } from "./parts.js";

/** Characters of a value in a row. */
const VALUE_CHARS = 400;
/** Text of JSON that stands for the state before the first event. */
const NOTHING = "{}";

export const title = ({ parameters }) =>
  `State of ${parameters.get("category")}-${parameters.get("id")}`;

export async function render(root, { parameters, signal }) {
  const [category, id] = [parameters.get("category") ?? "", parameters.get("id") ?? ""];
  const states = new States(pathOf("aggregates", category, id));
  const head = el("h1", { class: "name" }, `${category}-${id}`);
  const moment = momentOf(parameters);
  let first;
  try {
    first = await states.at(moment, signal);
  } catch (problem) {
    if (!(problem instanceof Problem) || problem.status === 401) throw problem;
    fill(root, head, timeForm(parameters), nowLink(), refusal(problem, moment));
    return;
  }
  if (first.head === undefined) {
    fill(root, head, severalStreams(), timeForm(parameters), nowLink(), view(first));
    return;
  }
  const below = el("div");
  const slider = new Slider(states, below, first, parameters, signal);
  fill(root, head, el("div", { class: "bar" }, slider.form, timeForm(parameters)), below);
  await slider.show(first);
}

/** Returns the moment of an address, as the program takes it. */
function momentOf(parameters) {
  if (parameters.get("revision")) return `revision:${parameters.get("revision")}`;
  return parameters.get("asOf") ?? "";
}

const severalStreams = () =>
  notice(
    "note",
    "This aggregate reads events of several streams. Its state has no revisions: it is shown as of a time.",
  );

const nowLink = () => el("p", {}, link(here({ asOf: null, revision: null, with: null }), "As of now"));

function refusal(problem, moment) {
  if (problem.status !== 404) return failureNotice(problem);
  const when = moment ? ` as of ${moment}` : "";
  return notice("empty", `There is no state${when}: ${problem.message}.`);
}

/** States of one aggregate, which are read once for each revision. */
class States {
  constructor(path) {
    this.path = path;
    this.known = new Map();
  }

  async at(asOf, signal) {
    const known = this.known.get(asOf);
    if (known) return known;
    const state = await get(this.path, { asOf }, signal);
    if (state.head !== undefined) this.known.set(`revision:${state.lastEvent.revision}`, state);
    return state;
  }

  atRevision(revision, signal) {
    return this.at(`revision:${revision}`, signal);
  }
}

class Slider {
  constructor(states, below, { head, lastEvent }, parameters, signal) {
    Object.assign(this, { states, below, head, signal });
    this.revision = lastEvent.revision;
    this.other = revisionOf(parameters.get("with"), head);
    this.refused = this.other === null ? parameters.get("with") : null;
    this.input = el("input", {
      type: "range",
      min: 0,
      max: head,
      value: this.revision,
      "aria-label": "Revision",
      disabled: head === 0,
    });
    this.label = el("output", {});
    this.input.addEventListener("input", () => this.go(Number(this.input.value)));
    const step = (label, to, key) =>
      el(
        "button",
        { type: "button", class: "small", "aria-label": label, onclick: () => this.go(to()) },
        key,
      );
    this.form = el(
      "div",
      { class: "slider", role: "group", "aria-label": "Revision" },
      step("First revision", () => 0, "«"),
      step("Revision before", () => this.revision - 1, "‹"),
      this.input,
      step("Revision after", () => this.revision + 1, "›"),
      step("Last revision", () => this.head, "»"),
      this.label,
    );
  }

  /** Reads and shows the state at another revision. A read that is overtaken shows nothing. */
  async go(revision) {
    this.revision = Math.min(Math.max(0, revision), this.head);
    this.input.value = this.revision;
    this.say();
    keep({ revision: this.revision, asOf: null });
    const wanted = this.revision;
    try {
      const state = await this.states.atRevision(wanted, this.signal);
      if (this.revision === wanted && !this.signal.aborted) await this.show(state);
    } catch (problem) {
      if (this.signal.aborted) return;
      if (!(problem instanceof Problem)) throw problem;
      fill(this.below, failureNotice(problem));
    }
  }

  say() {
    fill(this.label, `Revision ${grouped(this.revision)} of ${grouped(this.head)}`);
  }

  async show(state) {
    this.say();
    const { revision } = state.lastEvent;
    const other = this.other ?? revision - 1;
    const base = other >= 0 ? await this.states.atRevision(other, this.signal) : null;
    if (this.signal.aborted || this.revision !== revision) return;
    const middle = [this.refusal(), changes(base, state, other), this.compareForm(revision)];
    fill(this.below, view(state, middle));
  }

  /** A comparison that an address asks for and that cannot be made. */
  refusal() {
    if (this.refused === null) return null;
    const last = `the last one is ${grouped(this.head)}`;
    return notice("note", `There is no revision ${this.refused} to compare with; ${last}.`);
  }

  compareForm(revision) {
    const input = el("input", {
      type: "number",
      min: 0,
      max: this.head,
      value: this.other,
      placeholder: "the one before",
      "aria-label": "Compared with revision",
    });
    const form = el(
      "form",
      { class: "line compare" },
      el("label", {}, "Compared with revision ", input),
      el("button", {}, "Compare"),
      this.other !== null && link(here({ with: null, revision }), "the one before"),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.other = revisionOf(input.value, this.head);
      this.refused = null;
      keep({ with: this.other });
      this.go(this.revision);
    });
    return form;
  }
}

/** Reads the number of a revision; `null` if there is none up to the last one. */
function revisionOf(text, head) {
  const isNumber = /^\d{1,15}$/.test(text ?? "");
  return isNumber && Number(text) <= head ? Number(text) : null;
}

/** Makes the facts of a state, what has changed, and the state. */
function view({ lastEvent, stream, data }, middle = []) {
  return [
    facts([
      ["Last event", link(eventHref(lastEvent), `${lastEvent.type} at revision ${lastEvent.revision}`)],
      ["Recorded", time(lastEvent.recordedAt)],
      ["Position", grouped(lastEvent.position)],
      ["Stream", link(streamHref(lastEvent.stream), lastEvent.stream)],
      lastEvent.stream === stream ? ["", null] : ["Own stream", stream],
    ]),
    ...middle,
    payloadView("State", data),
  ];
}

function changes(base, state, other) {
  const { found, isWhole } = differences(base?.data.text ?? NOTHING, state.data.text);
  const since = base ? `since revision ${grouped(base.lastEvent.revision)}` : "by the first event";
  return [
    el("h2", {}, `Changed ${since}`),
    !isWhole && el("p", { class: "muted" }, `The first ${counted(found.length, "difference")}.`),
    table({
      label: "changes",
      name: "changes",
      columns: base ? COLUMNS : COLUMNS.filter(({ name }) => name !== "before"),
      rows: found,
      loaded: ["place", ""],
      empty: base && other === state.lastEvent.revision ? "It is the same revision." : "Nothing has changed.",
    }),
  ];
}

const valueOf = (text) => (text === undefined ? "" : preview(text, VALUE_CHARS));
const cellOf = (text) =>
  text === undefined ? el("span", { class: "muted" }, "none") : el("code", {}, valueOf(text));

const COLUMNS = [
  column("place", "Place", "name main", (one) => one.place, (one) => el("code", {}, one.place)),
  column("before", "Before", "wide half", (one) => valueOf(one.before), (one) => cellOf(one.before)),
  column("after", "After", "wide half", (one) => valueOf(one.after), (one) => cellOf(one.after)),
];

function timeForm(parameters) {
  const asOf = parameters.get("asOf") ?? "";
  const input = momentInput(asOf, { "aria-label": "As of a time" });
  const form = el(
    "form",
    { class: "line" },
    el("label", {}, "As of ", input),
    el("button", {}, "Go"),
    asOf && el("span", { class: "muted" }, `shown as of ${localTime(asOf)}`),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go(here({ asOf: ofInput(input.value) || null, revision: null }));
  });
  return form;
}

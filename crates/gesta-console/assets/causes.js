// Causes and effects of an event as a tree: from its first known cause down to what it led to.
//
// A cause is the id of an event, or of a command, which is in no stream and has only its effects.
// The way up is followed to a bounded number of causes, and effects open level by level. An event
// that is met again is not opened again, so that ids that name each other in a circle end.

import { get, Problem } from "./api.js";
import { el, fill, link, put } from "./dom.js";
import { conversationHref, isEventId } from "./events.js";
import { memberOf, plain } from "./json.js";
import { eventHref, streamHref, to } from "./route.js";
import { failureNotice } from "./table.js";
import { localTime } from "./time.js";

/** Causes that are followed upwards. */
const CAUSES_MAX = 50;
/** Effects of one cause that are shown. */
const EFFECTS_MAX = 100;
/** Levels below the event that are open at first. */
const OPEN_LEVELS = 3;
/** Effects of all causes that are looked up without a click. */
const LOOKUPS_MAX = 40;

/** Fills a section with the tree of an event. */
export async function causeTree(section, event, signal) {
  fill(
    section,
    el("h2", {}, "Causes and effects"),
    el("p", { class: "muted" }, "Looking them up …"),
  );
  try {
    const view = new CauseView(event, signal);
    const tree = await view.tree();
    fill(section, el("h2", {}, "Causes and effects"), tree, conversation(event));
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    fill(section, el("h2", {}, "Causes and effects"), failureNotice(problem));
  }
}

function conversation(event) {
  if (!event.correlationId) return null;
  return el(
    "p",
    {},
    link(conversationHref(event.correlationId), "The whole conversation over time"),
  );
}

class CauseView {
  constructor(event, signal) {
    this.event = event;
    this.signal = signal;
    this.met = new Set();
    this.lookups = 0;
  }

  async tree() {
    const { command, events } = await this.causes();
    const list = el("ul", { class: "causes-tree" });
    let level = list;
    if (command !== null) level = this.addStep(level, commandLine(command));
    for (const cause of events) {
      this.met.add(cause.id);
      level = this.addStep(level, this.line(cause));
    }
    const item = el("li", { "aria-current": "true" }, this.line(this.event));
    level.append(item);
    this.met.add(this.event.id);
    await this.addEffects(item, this.event, 0);
    if (command !== null && events.length === 0) await this.addSiblings(level, command);
    return list;
  }

  /**
   * Returns the causes from the first one down, and the command before them: its id and, if the
   * first event says it, its name.
   */
  async causes() {
    const events = [];
    const seen = new Set([this.event.id]);
    let id = this.event.causationId;
    while (id && events.length < CAUSES_MAX) {
      if (seen.has(id)) return { command: null, events };
      const name = commandOf(id, events[0] ?? this.event);
      const command = { id, name };
      if (!isEventId(id) || name) return { command, events };
      const found = await this.find(id);
      if (!found) return { command, events };
      seen.add(found.id);
      events.unshift(found);
      id = found.causationId;
    }
    return { command: null, events };
  }

  async find(id) {
    try {
      return (await get(`v1/events/${encodeURIComponent(id)}`, {}, this.signal)).events[0];
    } catch (problem) {
      // A cause may be a command whose id has the form of an event's.
      if (problem instanceof Problem && (problem.status === 404 || problem.status === 501))
        return null;
      throw problem;
    }
  }

  addStep(level, line) {
    const inner = el("ul");
    level.append(el("li", {}, line, inner));
    return inner;
  }

  /** Adds the other events that the same command caused. */
  async addSiblings(level, command) {
    const effects = await this.effects(command.id);
    for (const sibling of effects.events.filter((one) => !this.met.has(one.id))) {
      level.append(el("li", {}, this.line(sibling)));
    }
  }

  async effects(id) {
    this.lookups += 1;
    return get("v1/all", { causationId: id, limit: EFFECTS_MAX }, this.signal);
  }

  /** Adds the effects of an event below its item, or a button that does. */
  async addEffects(item, cause, depth) {
    if (depth >= OPEN_LEVELS || this.lookups >= LOOKUPS_MAX) {
      const button = el("button", { type: "button", class: "small" }, "Effects");
      button.addEventListener("click", async () => {
        button.remove();
        this.lookups = 0;
        await this.addEffects(item, cause, 0);
      });
      item.append(" ", button);
      return;
    }
    const { events, end } = await this.effects(cause.id);
    if (events.length === 0) {
      if (depth === 0) put(item, [el("p", { class: "muted" }, "No event names it as its cause.")]);
      return;
    }
    const list = el("ul");
    item.append(list);
    for (const effect of events) await this.addEffect(list, effect, depth);
    if (!end) list.append(el("li", {}, link(to("query", { causation: cause.id }), "All effects")));
  }

  async addEffect(list, effect, depth) {
    const item = el("li", {}, this.line(effect));
    list.append(item);
    if (this.met.has(effect.id)) {
      put(item, [el("span", { class: "muted" }, " (shown above)")]);
      return;
    }
    this.met.add(effect.id);
    await this.addEffects(item, effect, depth + 1);
  }

  line(event) {
    const isShown = event.id === this.event.id;
    return el(
      "span",
      { class: "event-line" },
      isShown ? el("strong", {}, event.type) : link(eventHref(event), event.type),
      el("span", { class: "muted" }, " in "),
      link(streamHref(event.stream), event.stream),
      " ",
      el("time", { class: "muted", datetime: event.recordedAt }, localTime(event.recordedAt)),
    );
  }
}

/** Returns the name of a command, if an event says that it is its own, or tells its outcome. */
function commandOf(id, event) {
  const of = (name) => plain(memberOf(event.metadata?.text, name));
  return of("commandId") === id ? of("command") : commandOfOutcome(event);
}

/** Names the command of a process manager whose outcome an event of its stream records. */
function commandOfOutcome({ stream, type, data }) {
  if (!stream.startsWith("process:")) return "";
  const refused = memberOf(memberOf(data?.text, "input"), "rejected");
  const outcome = type === "process-command-settled" ? data?.text : refused;
  const command = memberOf(outcome, "command");
  if (command === undefined) return "";
  return `${memberOf(command, "revision")}.${memberOf(command, "ordinal")} of ${stream}`;
}

function commandLine({ id, name }) {
  return el(
    "span",
    { class: "event-line" },
    el("span", { class: "muted" }, name ? "command " : "cause "),
    link(to("query", { causation: id }), name || id),
    !name && el("span", { class: "muted" }, " (a command, or an event that is gone)"),
  );
}

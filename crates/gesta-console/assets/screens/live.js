// Live: the end of the store, or of a selection of it, as events arrive.
//
// The newest event is on top. A viewer who scrolls down reads: the list stands still then, and new
// events wait until the viewer is back at the top. Both are bounded. A broken feed is followed
// again from its last event.

import { follow, get, Problem } from "../api.js";
import { el, fill, link } from "../dom.js";
import { categoryOf, eventColumns } from "../events.js";
import { readAnswer } from "../json.js";
import { go, here, to } from "../route.js";
import { matches, ofField, selectionOf, serverFilter, shownInField } from "../selection.js";
import { problemNotice } from "../table.js";
import { counted } from "../time.js";

/** Rows that are kept. */
const ROWS_MAX = 300;
/** Events that wait; older ones are dropped from the list, not from the store. */
const WAITING_MAX = 300;
/** Pause before a broken feed is followed again, in milliseconds. */
const PAUSE_MS = 2_000;

/** The parameter of the stream. */
const STREAM = "of";
/** Fields of the selection: parameter, member, label, and an example. */
const FIELDS = [
  ["category", "category", "Category", "order"],
  ["type", "type", "Type", "order-placed, order-paid"],
  ["tag", "tag", "Tags (all of them)", "customer:17850"],
  [STREAM, "stream", "Stream", "order-1"],
  ["text", "text", "Words in the data", ""],
];

export const title = "Live";

export function render(root, { parameters, program, signal }) {
  const wish = selectionOf(parameters, STREAM);
  const list = new LiveList(wish);
  fill(
    root,
    el("h1", {}, "Live"),
    selectionForm(wish),
    el(
      "div",
      { class: "bar" },
      list.state,
      list.resume,
      link(to("query", wish), "As a query"),
    ),
    list.problem,
    el("div", { class: "table live" }, el("div", { class: "scroll" }, list.table)),
  );
  const onScroll = () => list.scrolled(window.scrollY > 40);
  window.addEventListener("scroll", onScroll, { passive: true, signal });
  // The screen is ready before the feed ends.
  const feed = program.kind === "application" ? APPLICATION_FEED : SERVER_FEED;
  followFeed(list, { ...feed, filter: serverFilter(wish) }, signal);
}

/** The feed of a server, which begins at its end if it is asked to. */
const SERVER_FEED = {
  path: "v1/subscribe",
  begin: async () => ({ atEnd: "true" }),
};

/** The feed of an application, which begins after a position. */
const APPLICATION_FEED = {
  path: "v1/events",
  begin: async (signal) => {
    const { events } = await get("v1/all", { direction: "backwards", limit: 1 }, signal);
    return { after: events[0]?.position ?? 0 };
  },
  isLiveAtOnce: true,
};

async function followFeed(list, { path, begin, filter, isLiveAtOnce }, signal) {
  let after = null;
  while (!signal.aborted) {
    try {
      list.say("Connecting …");
      const place = after === null ? await begin(signal) : { after };
      if (isLiveAtOnce) list.caughtUp();
      await follow(
        path,
        { ...filter, ...place },
        signal,
        (message) => {
          after = message.id ?? after;
          list.take(message);
        },
      );
      list.say("The server has ended the feed; connecting again.");
    } catch (error) {
      if (error.name === "AbortError" || signal.aborted) return;
      list.say("The feed is broken; connecting again.");
      // A refusal stays one.
      if (error instanceof Problem && error.status >= 400 && error.status < 500)
        return list.fail(error);
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

class LiveList {
  constructor(wish) {
    this.wish = wish;
    this.state = el("span", { class: "live-state", role: "status" }, "Connecting …");
    this.problem = el("div");
    this.resume = el(
      "button",
      { type: "button", class: "resume", hidden: true, onclick: () => window.scrollTo({ top: 0 }) },
      "",
    );
    this.body = el(
      "tbody",
      {},
      el("tr", {}, el("td", { class: "empty", colspan: COLUMNS.length }, "Waiting for events …")),
    );
    this.table = el(
      "table",
      { "aria-label": "Live events" },
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          COLUMNS.map((column) => el("th", { scope: "col", class: column.kind }, column.label)),
        ),
      ),
      this.body,
    );
    this.waiting = [];
    this.received = 0;
    this.isStill = false;
  }

  say(text) {
    fill(this.state, text);
  }

  fail(problem) {
    this.say("Stopped.");
    fill(this.problem, problemNotice(problem));
  }

  caughtUp() {
    this.say(
      this.received
        ? `${counted(this.received, "event")} since this screen was opened`
        : "Waiting for events",
    );
  }

  take({ name, text }) {
    if (name === "caught-up") this.caughtUp();
    if (name === "problem") this.fail(new Problem(500, readAnswer(text)));
    // An application names the message of an event by its type.
    if (["caught-up", "checkpoint", "problem"].includes(name)) return;
    const event = readAnswer(text);
    if (!matches(event, this.wish)) return;
    this.received += 1;
    this.waiting.push(event);
    if (this.waiting.length > WAITING_MAX) this.waiting.shift();
    this.say(`${counted(this.received, "event")} since this screen was opened`);
    this.schedule();
  }

  scrolled(isAway) {
    this.isStill = isAway;
    this.schedule();
  }

  /** Shows what waits at the next frame, so that a burst is laid out once. */
  schedule() {
    if (this.isScheduled) return;
    this.isScheduled = true;
    requestAnimationFrame(() => {
      this.isScheduled = false;
      if (this.isStill) this.offer();
      else this.show();
    });
  }

  offer() {
    this.resume.hidden = false;
    fill(
      this.resume,
      this.waiting.length
        ? `${counted(this.waiting.length, "new event")}: back to the top`
        : "Stands still: back to the top",
    );
  }

  show() {
    this.resume.hidden = true;
    if (this.waiting.length === 0) return;
    this.body.querySelector(".empty")?.parentElement.remove();
    for (const event of this.waiting) this.body.prepend(row(event));
    this.waiting = [];
    while (this.body.rows.length > ROWS_MAX) this.body.lastChild.remove();
  }
}

const COLUMNS = eventColumns("position", "stream", "type", "recorded", "tags", "data");

function row(event) {
  const cells = COLUMNS.map((column) =>
    el(
      "td",
      { class: column.kind, title: String(column.value(event)).slice(0, 400) },
      column.cell(event),
    ),
  );
  const narrow = [
    ["type", event.type],
    ["category", categoryOf(event.stream)],
  ].filter(([, value]) => value);
  cells.at(-1).prepend(
    el(
      "span",
      { class: "narrow" },
      narrow.map(([name, value]) =>
        el(
          "a",
          {
            href: here({ category: null, type: null, tag: null, of: null, [name]: value }),
            title: `Only ${name} ${value}`,
          },
          `only this ${name}`,
        ),
      ),
    ),
  );
  return el("tr", {}, cells);
}

function selectionForm(wish) {
  const form = el(
    "form",
    { class: "fields" },
    FIELDS.map(([name, member, label, placeholder]) =>
      el("label", {}, label, el("input", { name, placeholder, value: shownInField(wish, member) })),
    ),
    el(
      "span",
      { class: "buttons" },
      el("button", {}, "Follow"),
      el("a", { href: to("live") }, "Everything"),
    ),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const fields = new FormData(form);
    const asked = FIELDS.map(([name, member]) => [name, ofField(member, fields.get(name))]);
    go(to("live", Object.fromEntries(asked)));
  });
  return form;
}

// Start: what this server is, how much is in its store, and what is wrong.
//
// Counting streams reads their names, so the screen begins with a bounded number of them. All are
// counted on request, with the progress of it.

import { get, isWell, Problem } from "../api.js";
import { el, fill, link } from "../dom.js";
import { groupState, projectionState, readGroups, readProjections } from "../work.js";
import { streamHref, eventHref, to } from "../route.js";
import { card, facts, failureNotice, notice } from "../table.js";
import { ago, counted, duration, grouped, localTime, size, time } from "../time.js";
import { watch } from "../watch.js";

/** Streams, and categories, that the screen counts unasked. */
const COUNTED_MAX = 1_000;
/** Names of one answer while all are counted. */
const ANSWER_NAMES = 1_000;

/** Pause between two readings, in milliseconds: each one counts streams. */
const PAUSE_MS = 5_000;

export const title = "Start";

export async function render(root, { program: server, signal }) {
  const all = countOfAll(root, signal);
  await watch(
    root,
    signal,
    () => read(signal),
    (answers) => [
      el("h1", {}, "Start"),
      trouble(answers),
      cards(answers, all.number),
      given(answers.counts)?.streamsAreAll === false && all.line,
      el(
        "div",
        { class: "columns" },
        serverFacts(server, answers),
        lastAppend(answers.last),
        storeFacts(answers.store),
      ),
    ],
    PAUSE_MS,
  );
}

/** Asks for everything. An answer that was refused is its problem: the others are shown. */
async function read(signal) {
  const asked = {
    health: isWell("health/ready", signal),
    last: get("v1/all", { direction: "backwards", limit: 1 }, signal),
    counts: get("v1/counts", { limit: COUNTED_MAX }, signal),
    store: get("v1/store", {}, signal),
    groups: readGroups(signal),
    projections: readProjections(signal),
    figures: get("stats", {}, signal),
  };
  const names = Object.keys(asked);
  const settled = await Promise.allSettled(Object.values(asked));
  const answers = {};
  settled.forEach((one, at) => {
    if (one.status === "rejected" && !(one.reason instanceof Problem)) throw one.reason;
    if (one.status === "rejected" && one.reason.status === 401) throw one.reason;
    answers[names[at]] = one.status === "fulfilled" ? one.value : one.reason;
  });
  return answers;
}

const given = (answer) => (answer instanceof Problem ? null : answer);

function trouble({ health, groups, projections, figures }) {
  const found = [];
  if (health !== true) found.push(["The server is not ready: ", given(health) ?? health.message]);
  for (const group of given(groups) ?? []) {
    const { isTrouble, text } = groupState(group);
    const href = to("group", { source: group.source, name: group.name });
    if (isTrouble) found.push([link(href, `Group ${group.name} of ${group.source}`), `: ${text}`]);
  }
  for (const projection of given(projections) ?? []) {
    const { isTrouble, text } = projectionState(projection);
    const href = to("projection", { name: projection.name });
    if (isTrouble) found.push([link(href, `Projection ${projection.name}`), `: ${text}`]);
  }
  const refused = given(figures)?.connections_refused_total;
  if (refused > 0)
    found.push([`${grouped(refused)} connections were refused because there were too many.`]);
  const hidden = [groups, projections, figures].some(
    (one) => one instanceof Problem && one.status === 403,
  );
  const note =
    hidden &&
    el(
      "p",
      {},
      "Your user may not see groups, projections or figures, so their problems are not shown.",
    );
  if (found.length === 0 && note)
    return notice("note", el("strong", {}, "No problems in what you may see."), note);
  if (found.length === 0) return notice("good", el("strong", {}, "No problems."));
  return notice(
    "error",
    el("strong", {}, found.length === 1 ? "1 problem" : `${found.length} problems`),
    el(
      "ul",
      {},
      found.map((one) => el("li", {}, one)),
    ),
    note,
  );
}

/** Makes the cards. `streamsOfAll` is the number of all streams, once they are counted. */
function cards({ counts, groups, projections, figures }, streamsOfAll) {
  const held = given(counts);
  const atLeast = (number, areAll) => `${grouped(number)}${areAll ? "" : "+"}`;
  const areAll = held?.streamsAreAll;
  const streams =
    held &&
    (!areAll && streamsOfAll ? grouped(streamsOfAll) : atLeast(held.streams, areAll));
  const categories = held && atLeast(held.categories, held.categoriesAreAll);
  const parked = given(groups)?.reduce((sum, group) => sum + group.parked, 0);
  const own = given(projections)?.filter((projection) => !projection.ofSystem);
  return el(
    "div",
    { class: "cards" },
    card("Events", held ? grouped(held.events) : "–", to("query")),
    card("Streams", streams ?? "–", to("streams")),
    card("Categories", categories ?? "–", to("streams")),
    card("Consumer groups", given(groups) ? grouped(groups.length) : "–", to("groups")),
    card(
      "Parked events",
      parked === undefined ? "–" : grouped(parked),
      to("groups", { sort: "-parked" }),
    ),
    card("Projections", own ? grouped(own.length) : "–", to("projections")),
    card(
      "Subscriptions",
      given(figures) ? grouped(figures.subscriptions_open) : "–",
      null,
      "open now",
    ),
  );
}

/**
 * Makes the line that offers to count all streams, and tells how far that is. It stays while the
 * screen is drawn again, with the number once it is known.
 */
function countOfAll(root, signal) {
  const all = { number: null, line: null };
  const line = el("p", { class: "muted count-all", role: "status" });
  const button = el("button", { type: "button", class: "small" }, "Count all");
  button.addEventListener("click", async () => {
    try {
      all.number = await countStreams(signal, (number) =>
        fill(line, `Counting reads the name of each stream: ${grouped(number)} so far …`),
      );
      fill(root.querySelector(`a.card[href="${to("streams")}"] strong`), grouped(all.number));
      fill(line, `All ${counted(all.number, "stream")} are counted.`);
    } catch (problem) {
      if (signal.aborted) return;
      if (!(problem instanceof Problem)) throw problem;
      fill(line, `The streams are not counted: ${problem.message}.`);
    }
  });
  all.line = fill(line, `The first ${grouped(COUNTED_MAX)} streams are counted. `, button);
  return all;
}

async function countStreams(signal, tell) {
  let number = 0;
  let after = null;
  for (;;) {
    const page = await get("v1/streams", { after, limit: ANSWER_NAMES }, signal);
    number += page.names.length;
    if (!page.next) return number;
    after = page.next;
    tell(number);
  }
}

function serverFacts(server, { figures }) {
  const seen = given(figures);
  const uptime = server.uptimeSeconds + (performance.now() - server.describedAt) / 1_000;
  return el(
    "section",
    {},
    el("h2", {}, "Server"),
    facts([
      ["Version", server.version],
      [
        "Environment",
        server.environment ??
          el("span", { class: "muted" }, "not named (gesta serve --environment)"),
      ],
      ["Store", server.store ?? null],
      ["Protection", server.secure ? "TLS and users" : "none: loopback only"],
      ["Up for", `${duration(uptime)}, since ${localTime(server.startedAt)}`],
      [
        "Connections",
        seen && `${grouped(seen.connections_open)} of at most ${grouped(seen.connections_max)}`,
      ],
      ["Memory", seen?.resident_memory_bytes ? size(seen.resident_memory_bytes) : null],
      ["HTTP interface", el("a", { href: "../v1/docs" }, "documentation")],
    ]),
  );
}

function lastAppend(last) {
  const section = el("section", {}, el("h2", {}, "Last append"));
  if (last instanceof Problem)
    return fill(section, el("h2", {}, "Last append"), failureNotice(last));
  const [event] = last.events;
  if (!event) {
    section.append(el("p", { class: "muted" }, "The store has no events yet."));
    return section;
  }
  section.append(
    facts([
      ["When", [time(event.recordedAt), ` (${ago(event.recordedAt)})`]],
      ["Position", link(eventHref(event), event.position)],
      ["Stream", link(streamHref(event.stream), event.stream)],
      ["Type", link(eventHref(event), event.type)],
    ]),
  );
  return section;
}

function storeFacts(store) {
  if (store instanceof Problem)
    return el("section", {}, el("h2", {}, "Store"), failureNotice(store));
  return el(
    "section",
    {},
    el("h2", {}, "Store"),
    facts([
      ["Durability", store.durability],
      ["Largest event", size(store.limits.eventBytesMax)],
      ["Largest append", size(store.limits.appendBytesMax)],
      [
        "Features",
        el(
          "details",
          {},
          el("summary", {}, `${store.features.length} optional features`),
          el(
            "ul",
            {},
            store.features.map((one) => el("li", {}, one)),
          ),
        ),
      ],
    ]),
  );
}

// One stream: its events both ways, its metadata, and acts on it.

import { actButton, request, withContent } from "../acts.js";
import { get, Problem } from "../api.js";
import { el, fill, link } from "../dom.js";
import { categoryOf, columnsFor, PAGE_EVENTS } from "../events.js";
import { arrive, formLink } from "../form.js";
import { payloadView } from "../payload.js";
import { categoryHref, go, here, streamHref, to } from "../route.js";
import { choice, facts, failureNotice, notice, table } from "../table.js";
import { shownCategories, stateHref } from "../states.js";
import { momentInput, ofInput } from "../time.js";

export const title = ({ parameters }) => parameters.get("name") ?? "Stream";

export async function render(root, { parameters, program, signal }) {
  const name = parameters.get("name") ?? "";
  const isBackward = parameters.get("direction") !== "forwards";
  const path = `v1/streams/${encodeURIComponent(name)}`;
  const [page, described, shown] = await Promise.all([
    orProblem(
      get(
        path,
        {
          from: parameters.get("from"),
          fromTime: parameters.get("fromTime"),
          direction: isBackward ? "backwards" : "forwards",
          limit: PAGE_EVENTS,
        },
        signal,
      ),
    ),
    orProblem(get(`${path}/metadata`, {}, signal)),
    shownCategories(program, signal),
  ]);
  fill(
    root,
    el("h1", { class: "name" }, name),
    streamFacts(name, described),
    acts(name, described, program),
    el(
      "div",
      { class: "bar" },
      directions(isBackward),
      jumpForm(),
      el(
        "span",
        { class: "links" },
        stateHref(name, shown) && link(stateHref(name, shown), "State"),
        link(to("live", { of: name }), "Live"),
        link(to("lanes", { stream: name }), "Timeline"),
      ),
    ),
    page instanceof Problem ? refused(page) : events(page, parameters, isBackward),
    metadata(described),
  );
}

async function orProblem(answer) {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof Problem && error.status !== 401) return error;
    throw error;
  }
}

function refused(problem) {
  return problem.status === 404 ? notice("empty", problem.message) : failureNotice(problem);
}

function streamFacts(name, described) {
  const category = categoryOf(name);
  return facts([
    ["Category", category && !name.startsWith("$") ? link(categoryHref(category), category) : null],
    ["State", described instanceof Problem ? null : described.state],
  ]);
}

/** Makes the acts that the caller has the rights to. An application changes streams by commands. */
function acts(name, described, { kind }) {
  if (kind !== "server" || described instanceof Problem) return null;
  const { state } = described;
  const may = (right) => described.rights.includes(right);
  const isUsable = state !== "tombstoned" && may("append");
  const request_ = () => request("DELETE", `stream ${name}`, "streams", name);
  return el(
    "div",
    { class: "bar acts" },
    isUsable && formLink("append", { stream: name }, "Append an event"),
    isUsable &&
      may("set-metadata") &&
      formLink("stream-metadata", { name }, "Change the metadata"),
    state === "live" &&
      may("delete") &&
      actButton("Delete", {
        about:
          "Its events are hidden, and a scavenge removes them for ever. A later append goes on with the next revision.",
        requests: [request_()],
        typed: name,
        then: () => arrive(streamHref(name)),
      }),
    isUsable &&
      may("delete") &&
      actButton("Tombstone", {
        about:
          "Its events are hidden, and the name can never be used again. This cannot be taken back.",
        requests: [withContent(request_(), { parameters: { tombstone: "true" } })],
        typed: name,
        then: () => arrive(streamHref(name)),
      }),
  );
}

function directions(isBackward) {
  return choice("Order", [
    {
      label: "Newest first",
      href: here({ direction: null, from: null, fromTime: null }),
      isOn: isBackward,
    },
    {
      label: "Oldest first",
      href: here({ direction: "forwards", from: null, fromTime: null }),
      isOn: !isBackward,
    },
  ]);
}

function jumpForm() {
  const revision = el("input", {
    type: "number",
    min: 0,
    placeholder: "revision",
    "aria-label": "Revision",
  });
  const moment = momentInput("", { "aria-label": "Time" });
  const form = el(
    "form",
    { class: "line" },
    el("label", {}, "From ", revision),
    el("label", {}, "or ", moment),
    el("button", {}, "Go"),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const fromTime = ofInput(moment.value);
    go(here({ from: fromTime ? null : revision.value, fromTime: fromTime || null }));
  });
  return form;
}

function events({ events, next, end }, parameters, isBackward) {
  const first = events[0]?.revision;
  // The page before ends where this one begins, and is as long.
  const before = isBackward ? first + PAGE_EVENTS : Math.max(0, first - PAGE_EVENTS);
  const isFirst = !parameters.has("from") && !parameters.has("fromTime");
  const hasBefore = !isFirst && first !== undefined && (isBackward || first > 0);
  const isIndex = events.some((event) => event.ordinal !== undefined);
  const names = isIndex
    ? ["position", "stream", "type", "recorded", "tags", "data"]
    : ["revision", "type", "recorded", "tags", "data"];
  return table({
    label: "events of the stream",
    columns: columnsFor(events, ...names),
    rows: events,
    loaded: ["event", " on this page"],
    pages: [
      {
        label: isBackward ? "Newest" : "Oldest",
        href: isFirst ? null : here({ from: null, fromTime: null }),
      },
      {
        label: "Previous",
        href: hasBefore && !isIndex ? here({ from: before, fromTime: null }) : null,
        key: "prev",
      },
      {
        label: "Next",
        href: next === null || end ? null : here({ from: next, fromTime: null }),
        key: "next",
      },
    ],
    empty: "There are no events in this direction.",
  });
}

function metadata(described) {
  if (described instanceof Problem) return null;
  const { metadata, metadataRevision } = described;
  if (metadataRevision === null)
    return el("p", { class: "muted" }, "No metadata are set for this stream.");
  return payloadView("Metadata of the stream", metadata);
}

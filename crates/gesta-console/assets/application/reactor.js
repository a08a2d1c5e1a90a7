// One reactor: its progress and its dead letters.

import { actButton, request } from "../acts.js";
import { get, pathOf } from "../api.js";
import { el } from "../dom.js";
import { cursorPages, facts, notice } from "../table.js";
import { grouped } from "../time.js";
import { Rates, watch } from "../watch.js";
import { letterTable, reactorLetters } from "./dead-letters.js";
import { lagText, rateText, stateMark } from "./parts.js";

export const title = ({ parameters }) => `Reactor ${parameters.get("name")}`;

/** Dead letters of a page. */
const PAGE_LETTERS = 100;

export async function render(root, { parameters, program, signal }) {
  const name = parameters.get("name") ?? "";
  const rates = new Rates();
  const read = () =>
    Promise.all([
      get(pathOf("reactors", name), {}, signal),
      reactorLetters(name, { limit: PAGE_LETTERS, cursor: parameters.get("cursor") }, signal),
    ]);
  await watch(root, signal, read, ([reactor, { letters, next }]) => [
    el("h1", { class: "name" }, name),
    reactor.trouble && notice("error", el("strong", {}, reactor.trouble)),
    acts(reactor, program),
    facts([
      ["State", stateMark(reactor.state)],
      ["Position", grouped(reactor.position)],
      ["Lag", lagText(reactor)],
      ["Rate", rateText(rates.take(name, reactor.position))],
      ["Streams that are tried again", grouped(reactor.retrying)],
      ["Node", reactor.node ?? null],
    ]),
    el("h2", {}, "Dead letters"),
    letterTable(letters, program, cursorPages(parameters, next)),
  ]);
}

function acts({ name, state }, { can }) {
  const order = (verb) => [request("POST", name, "reactors", name, verb)];
  const isStopped = state === "paused" || state === "halted";
  const made = [
    can("resumeReactor") &&
      isStopped &&
      actButton("Resume", {
        about: "It goes on with the events since it stopped.",
        requests: order("resume"),
        kind: "primary",
      }),
    can("pauseReactor") &&
      !isStopped &&
      actButton("Pause", {
        about:
          "It finishes the effects in hand, and has no further ones until it is resumed, or until the program starts again.",
        requests: order("pause"),
      }),
  ].filter(Boolean);
  return made.length > 0 && el("div", { class: "bar acts" }, made);
}

// Screens that follow what they show: they read again and again, and replace what has changed.
//
// A screen stands still while its reader types in it, moves in it by keys, presses a button, has
// marked rows or a selection, or has a dialog open.

import { Problem } from "./api.js";
import { fill } from "./dom.js";
import { notice } from "./table.js";

/** Pause between two readings, in milliseconds. */
const PAUSE_MS = 2_000;
/** Time over which a rate is measured, in milliseconds. */
const RATE_MS = 20_000;

/**
 * Reads and draws, then goes on until the screen is left. The promise ends with the first drawing.
 * `draw` gets the answers and returns the content. `pauseMs` is for what costs more to read.
 */
export async function watch(root, signal, read, draw, pauseMs = PAUSE_MS) {
  const first = await read();
  if (signal.aborted) return;
  fill(root, draw(first));
  goOn(root, signal, read, draw, pauseMs);
}

async function goOn(root, signal, read, draw, pauseMs) {
  for (;;) {
    await pause(signal, pauseMs);
    if (signal.aborted) return;
    if (document.hidden || isBusy(root)) continue;
    try {
      const answers = await read();
      if (signal.aborted) return;
      if (!isBusy(root)) fill(root, draw(answers));
    } catch (error) {
      if (signal.aborted || !(error instanceof Problem)) return;
      // A refusal for want of credentials has asked for others.
      if (error.status === 401) return;
      if (!root.querySelector(".stale"))
        root.prepend(notice("error stale", `This is not up to date: ${error.message}.`));
    }
  }
}

function pause(signal, pauseMs) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      // One signal serves all pauses of a screen, which may stay open for days.
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, pauseMs);
    signal.addEventListener("abort", end);
  });
}

/** A button of the pointer is down: what it is on must still be there when it goes up. */
let isPressed = false;
addEventListener("pointerdown", () => (isPressed = true), { capture: true });
for (const end of ["pointerup", "pointercancel", "dragend"])
  addEventListener(end, () => (isPressed = false), { capture: true });
// That of the window alone: elements lose the focus to what is pressed.
addEventListener("blur", () => (isPressed = false));

function isBusy(root) {
  return (
    isPressed ||
    root.querySelector("input:focus, :focus-visible") !== null ||
    document.querySelector("dialog") !== null ||
    root.querySelector("input:checked, details[open]") !== null ||
    !getSelection().isCollapsed
  );
}

/** Rates of positions, from what was read in the last seconds. */
export class Rates {
  constructor() {
    this.seen = new Map();
  }

  /** Takes a position. Returns the events a second, or `null` at first. */
  take(name, position, now = performance.now()) {
    const seen = (this.seen.get(name) ?? []).filter((one) => now - one.now <= RATE_MS);
    seen.push({ position, now });
    this.seen.set(name, seen);
    const [oldest] = seen;
    const seconds = (now - oldest.now) / 1_000;
    // A rebuild, or another node, may begin from an earlier position.
    if (seconds < 1 || position < oldest.position) return null;
    return (position - oldest.position) / seconds;
  }
}

// Keys: everything is reached without a pointer.

import { placeOf, showKeys } from "./frame.js";
import { go, to } from "./route.js";

/** Time within which a letter follows `g`, in milliseconds. */
const SEQUENCE_MS = 1_500;

/** The moment at which `g` was pressed. */
let begun = -Infinity;

/** Begins to listen. */
export function listenForKeys() {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog")) return;
    if (isField(event.target)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (take(event.key)) event.preventDefault();
  });
}

function isField(element) {
  return element.matches?.("input, textarea, select");
}

/** Carries out a key. Returns `false` if it means nothing here. */
function take(key) {
  const isSequence = performance.now() - begun < SEQUENCE_MS;
  begun = -Infinity;
  if (isSequence) {
    const screen = placeOf(key);
    if (screen) go(to(screen));
    return Boolean(screen);
  }
  switch (key) {
    case "g":
      begun = performance.now();
      return true;
    case "/":
      return focus(
        document.querySelector("main input.filter") ?? document.querySelector("main input"),
      );
    case "j":
      return move(1);
    case "k":
      return move(-1);
    case "[":
      return follow("prev");
    case "]":
      return follow("next");
    case "d":
      document.querySelector("button.theme").click();
      return true;
    case "?":
      showKeys();
      return true;
    default:
      return false;
  }
}

function focus(element) {
  element?.focus();
  return Boolean(element);
}

/** Moves to the link of another row. */
function move(step) {
  const rows = [...document.querySelectorAll("main tbody tr")]
    .map((row) => row.querySelector("a"))
    .filter(Boolean);
  const at = rows.findIndex((one) => one.closest("tr").contains(document.activeElement));
  const next = at < 0 ? (step > 0 ? 0 : rows.length - 1) : at + step;
  return focus(rows[next]);
}

function follow(rel) {
  const found = document.querySelector(`main a[rel="${rel}"]`);
  if (found) go(found.getAttribute("href"));
  return Boolean(found);
}

// The console: its frame, the choice of the screen, keys, the sign-in.
//
// A screen is a module with `title` and `render(root, context)`. It gets a signal that ends with
// it, so that no answer of an old screen changes a new one.

import { setKeepsReasons } from "./acts.js";
import * as api from "./api.js";
import { el, fill, link } from "./dom.js";
import { frame, setEnvironment, setPlace, setPlaces, setUser } from "./frame.js";
import { listenForKeys } from "./keys.js";
import { current, to } from "./route.js";
import { failureNotice, notice } from "./table.js";
import { askForSignIn } from "./sign-in.js";
import { describeProgram } from "./program.js";
import * as application from "./application.js";
import * as server from "./server.js";

/** The screens of each kind of program, with those of its navigation. */
const KINDS = { application, server };

const main = el("main", { id: "main", tabindex: "-1" });
document.body.append(frame(main));
listenForKeys();

let leaving = new AbortController();
let program = null;

async function show() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const { screen, parameters } = current();
  main.dataset.state = "loading";
  let heading = "Gesta";
  const root = el("div", { class: `screen screen-${screen}` });
  try {
    program ??= await describe(signal);
    const { screens } = KINDS[program.kind];
    const module = Object.hasOwn(screens, screen) ? screens[screen] : null;
    setPlace(screen);
    if (!module) return noSuchScreen(screen);
    const context = { parameters, signal, program };
    heading = typeof module.title === "function" ? module.title(context) : module.title;
    document.title = `${heading} · ${program.name ?? "Gesta"}`;
    const rendered = module.render(root, context);
    if (!signal.aborted) fill(main, root);
    await rendered;
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") return;
    if (error instanceof api.Problem && error.status === 401) return;
    if (!(error instanceof api.Problem)) console.error(error);
    // What was drawn stays: its form has what the reader asked for.
    if (!root.isConnected || !root.hasChildNodes()) fill(main, el("h1", {}, heading), root);
    root.querySelector(".reading")?.remove();
    root.append(failureNotice(error));
  }
  if (!signal.aborted) main.dataset.state = "ready";
}

async function describe(signal) {
  const found = await describeProgram(signal);
  setPlaces(KINDS[found.kind].places(found));
  setEnvironment(found);
  setKeepsReasons(found.kind === "application" || found.secure);
  const ownHref = found.kind === "server" && found.login ? to("user", { login: found.login }) : null;
  setUser(found.login ?? found.actor, found.login ? signOut : null, ownHref);
  return found;
}

function noSuchScreen(screen) {
  fill(
    main,
    el("h1", {}, "No such screen"),
    notice("empty", `There is no screen “${screen}”. `, link("#/start", "Start")),
  );
  main.dataset.state = "ready";
}

function signOut() {
  api.setProof(null);
}

api.signIn.addEventListener("sign-in-needed", (event) => {
  // Several requests of a screen may be refused; the first one has the reason.
  if (main.dataset.state === "sign-in") return;
  setUser(null);
  setPlaces([]);
  main.dataset.state = "sign-in";
  askForSignIn(main, event.reason, event.isApplication);
});
api.signIn.addEventListener("proof-changed", () => {
  // The program says to each user who they are.
  program = null;
  show();
});
// An act has changed what the screen shows, or the reader asks for it once more.
addEventListener("look-again", () => show());
addEventListener("hashchange", () => {
  scrollTo({ top: 0 });
  show();
});
show();

// The console: its frame, the choice of the screen, keys, the sign-in.
//
// A screen is a module with `title` and `render(root, context)`. It gets a signal that ends with
// it, so that no answer of an old screen changes a new one.

import * as api from "./api.js";
import { el, fill, link } from "./dom.js";
import { frame, setEnvironment, setPlace, setUser } from "./frame.js";
import { listenForKeys } from "./keys.js";
import { current } from "./route.js";
import { notice, problemNotice } from "./table.js";
import { askForSignIn } from "./sign-in.js";
import * as eventScreen from "./screens/event.js";
import * as group from "./screens/group.js";
import * as groups from "./screens/groups.js";
import * as lanes from "./screens/lanes.js";
import * as live from "./screens/live.js";
import * as projection from "./screens/projection.js";
import * as projections from "./screens/projections.js";
import * as query from "./screens/query.js";
import * as start from "./screens/start.js";
import * as stream from "./screens/stream.js";
import * as streams from "./screens/streams.js";

const SCREENS = {
  start,
  streams,
  stream,
  event: eventScreen,
  lanes,
  live,
  query,
  groups,
  group,
  projections,
  projection,
};

const main = el("main", { id: "main", tabindex: "-1" });
document.body.append(frame(main));
listenForKeys();

let leaving = new AbortController();
let server = null;

async function show() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const { screen, parameters } = current();
  const module = Object.hasOwn(SCREENS, screen) ? SCREENS[screen] : null;
  setPlace(screen);
  main.dataset.state = "loading";
  if (!module) {
    fill(
      main,
      el("h1", {}, "No such screen"),
      notice("empty", `There is no screen “${screen}”. `, link("#/start", "Start")),
    );
    main.dataset.state = "ready";
    return;
  }
  const context = { parameters, signal, server };
  const heading = typeof module.title === "function" ? module.title(context) : module.title;
  document.title = `${heading} · Gesta`;
  try {
    server ??= await api.get("v1/server", {}, signal);
    context.server = server;
    setEnvironment(server);
    setUser(server.login, signOut);
    const root = el("div", { class: `screen screen-${screen}` });
    const rendered = module.render(root, context);
    if (!signal.aborted) fill(main, root);
    await rendered;
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") return;
    if (error instanceof api.Problem && error.status === 401) return;
    if (!(error instanceof api.Problem)) console.error(error);
    fill(main, el("h1", {}, heading), problemNotice(error));
  }
  if (!signal.aborted) main.dataset.state = "ready";
}

function signOut() {
  api.setProof(null);
}

api.signIn.addEventListener("sign-in-needed", (event) => {
  // Several requests of a screen may be refused; the first one has the reason.
  if (main.dataset.state === "sign-in") return;
  setUser(null);
  main.dataset.state = "sign-in";
  askForSignIn(main, event.reason);
});
api.signIn.addEventListener("proof-changed", () => {
  // The server says to each user who they are.
  server = null;
  show();
});
addEventListener("hashchange", () => {
  scrollTo({ top: 0 });
  show();
});
show();

// The frame of all screens: navigation, the name of the environment, the theme, the user.

import { el, fill, link } from "./dom.js";
import { to } from "./route.js";
import { ZONE } from "./time.js";

/** Screens of the navigation: those that the program has. */
let places = [];
let links = [];

const THEMES = ["auto", "light", "dark"];
const THEME_KEY = "gesta-theme";

const badge = el("span", { class: "badge", hidden: true });
const user = el("span", { class: "user" });
const screens = el("nav", { "aria-label": "Screens" });

/** Makes the frame around the content. */
export function frame(main) {
  setTheme(storedTheme());
  return el(
    "div",
    { class: "frame" },
    el("a", { href: "#main", class: "skip", onclick: skip }, "To the content"),
    el(
      "header",
      { class: "top" },
      link("#/start", el("span", { class: "brand" }, "Gesta")),
      badge,
      screens,
      el(
        "span",
        { class: "end" },
        user,
        themeButton(),
        el(
          "button",
          { type: "button", class: "small", title: "Keys: ?", onclick: showKeys },
          "Keys",
        ),
      ),
    ),
    main,
    el("footer", {}, `Times are in ${ZONE}.`),
  );

  function skip(event) {
    event.preventDefault();
    main.focus();
  }
}

/** Sets the screens of the navigation: `{ screen, label, key, also }`, with the key after `g`. */
export function setPlaces(next) {
  places = next;
  links = places.map(({ screen, label, key }) =>
    el("a", { href: to(screen), "aria-keyshortcuts": `g ${key}`, title: `Keys: g ${key}` }, label),
  );
  fill(screens, links);
}

/** Returns the screen of a key that follows `g`, if there is one. */
export function placeOf(key) {
  return places.find((one) => one.key === key)?.screen;
}

/** Marks the place of a screen in the navigation. */
export function setPlace(screen) {
  places.forEach((place, at) => {
    const isHere = place.screen === screen || place.also?.includes(screen);
    if (isHere) links[at].setAttribute("aria-current", "page");
    else links[at].removeAttribute("aria-current");
  });
}

/** Shows the name of the environment. Production is marked so that nobody takes it for a test. */
export function setEnvironment({ environment, secure }) {
  const name = environment ?? (secure ? null : "insecure");
  badge.hidden = name === null;
  badge.className = `badge ${kindOf(name ?? "")}`;
  fill(badge, name ?? "");
  badge.title = environment ? "Environment" : "Neither TLS nor users: loopback only";
}

function kindOf(name) {
  if (/^prod/i.test(name)) return "production";
  return /^(stag|pre|uat)/i.test(name) ? "staging" : "other";
}

/** Shows who is signed in, as a link to their own screen and with a button that signs out. */
export function setUser(name, signOut, href) {
  if (!name) return fill(user);
  return fill(
    user,
    href ? link(href, name) : name,
    signOut && [
      " ",
      el("button", { type: "button", class: "small", onclick: signOut }, "Sign out"),
    ],
  );
}

function themeButton() {
  const button = el("button", { type: "button", class: "small theme", title: "Keys: d" }, label());
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(storedTheme()) + 1) % THEMES.length];
    setTheme(next);
    fill(button, label());
  });
  return button;

  function label() {
    return `Theme: ${storedTheme()}`;
  }
}

function setTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem(THEME_KEY, theme);
  } catch {
    // A browser that stores nothing begins with its own theme.
  }
}

function storedTheme() {
  try {
    const stored = localStorage.getItem(THEME_KEY);
    return THEMES.includes(stored) ? stored : "auto";
  } catch {
    return document.documentElement.dataset.theme ?? "auto";
  }
}

const keys = () => [
  ["g, then a letter", places.map(({ label, key }) => `${key} ${label}`).join(", ")],
  ["/", "to the filter, or the first field"],
  ["j, k", "to the next or the previous row"],
  ["Enter", "opens the row"],
  ["[, ]", "the previous or the next page"],
  ["d", "another theme"],
  ["Escape", "leaves a field, or closes this list"],
  ["?", "this list"],
];

/** Shows the keys. */
export function showKeys() {
  const dialog = el(
    "dialog",
    { class: "keys", "aria-label": "Keys" },
    el("h2", {}, "Keys"),
    el(
      "dl",
      { class: "facts" },
      keys().map(([key, text]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, text)]),
    ),
    el("form", { method: "dialog" }, el("button", { autofocus: true }, "Close")),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

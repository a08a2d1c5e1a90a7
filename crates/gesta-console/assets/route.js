// Addresses of screens: `#/name?parameter=value`.
//
// The part after `#` never leaves the browser, so names of streams are in no log of a proxy, and
// the console works below any path. Every choice of a screen is a parameter, so every screen is a
// link.

/** Returns the screen and the parameters of the page's address. */
export function current() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?", 2);
  return { screen: decoded(path) || "start", parameters: new URLSearchParams(query ?? "") };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Returns the address of a screen. Parameters without a value are left out. */
export function to(screen, parameters = {}) {
  const query = new URLSearchParams();
  const entries = parameters instanceof URLSearchParams ? parameters : Object.entries(parameters);
  for (const [name, value] of entries) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") query.append(name, one);
    }
  }
  const text = query.toString();
  return text ? `#/${screen}?${text}` : `#/${screen}`;
}

/** Returns the address of this screen with other values. A value of `null` removes a parameter. */
export function here(changes) {
  const { screen, parameters } = current();
  for (const [name, value] of Object.entries(changes)) {
    parameters.delete(name);
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") parameters.append(name, one);
    }
  }
  return to(screen, parameters);
}

/** Changes the address without a new screen: the back button leaves it out. */
export function keep(changes) {
  history.replaceState(null, "", here(changes));
}

/** Draws this screen anew, from what the program answers now. */
export function lookAgain() {
  dispatchEvent(new Event("look-again"));
}

/** Goes to another screen. */
export function go(href) {
  location.hash = href;
}

export const streamHref = (stream, more = {}) => to("stream", { name: stream, ...more });
export const categoryHref = (category) => to("query", { category });
export const typeHref = (type) => to("query", { type });
export const tagHref = (tag) => to("query", { tag });
export const eventHref = (event) => to("event", { stream: event.stream, revision: event.revision });

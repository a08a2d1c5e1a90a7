// Elements of the page.
//
// Texts become text nodes, never markup: what is stored cannot change the page. Styles are classes,
// because the page's policy allows no inline style.

/** Attributes that people read. */
const SHOWN = new Set(["title", "aria-label"]);

/**
 * Makes an element. Attributes that begin with `on` are listeners; `null`, `undefined` and `false`
 * are left out, also among the children.
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else element.setAttribute(name, SHOWN.has(name) ? visible(String(value)) : value);
  }
  put(element, children);
  return element;
}

/** Adds children: elements, texts, numbers, and lists of them. */
export function put(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : visible(String(child)));
  }
  return element;
}

/** Replaces all children. */
export function fill(element, ...children) {
  element.replaceChildren();
  return put(element, children);
}

/**
 * Returns a text in which characters without a picture are shown by their pictures, and marks of
 * direction are named: they would hide or reorder what is around them.
 */
export function visible(text) {
  return text.replace(
    /[\u0000-\u0008\u000b-\u001f\u007f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (one) => {
      const code = one.charCodeAt(0);
      if (code < 0x20) return String.fromCharCode(0x2400 + code);
      if (code === 0x7f) return "\u2421";
      return `⟨U+${code.toString(16).toUpperCase()}⟩`;
    },
  );
}

/** Makes a link to a screen. */
export function link(href, ...children) {
  return el("a", { href }, ...children);
}

/** Makes a button that copies a text. */
export function copyButton(text, label = "Copy") {
  const button = el(
    "button",
    { type: "button", class: "small", title: "Copy to the clipboard" },
    label,
  );
  button.addEventListener("click", async () => {
    const isDone = await copy(typeof text === "function" ? text() : text);
    button.textContent = isDone ? "Copied" : "Not copied";
    setTimeout(() => {
      button.textContent = label;
    }, 1500);
  });
  return button;
}

async function copy(text) {
  try {
    // Browsers have a clipboard over TLS and on loopback only.
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/** Hands a file to the browser, without a server. */
export function download(name, type, parts) {
  const url = URL.createObjectURL(new Blob(parts, { type }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

// Stored data and metadata: as a tree that opens level by level, or as text.
//
// A payload may have 16 MiB and any depth. What is shown at once is bounded: the members of a
// level, the characters of a text, and the levels that are open at first.

import { copyButton, download, el, fill } from "./dom.js";
import { kindOf, pretty, preview, split, stringOf } from "./json.js";
import { grouped, size } from "./time.js";

/** Members that a level shows at first, and more at each further step. */
const MEMBERS_STEP = 200;
/** Characters that a text shows at first. */
const TEXT_CHARS_MAX = 20_000;
/** Characters of a value beyond which it begins closed, and is laid out only if it is asked for. */
const OPEN_CHARS_MAX = 20_000;
/** Levels that are open at first. */
const OPEN_LEVELS = 4;
/** The text in place of a masked value. */
const MASK = "[personal]";
/** Bytes of binary data that are shown. */
const HEX_BYTES_MAX = 1_024;

/** Makes the view of a payload: `json` is `RawJson`, `base64` a text; either may be absent. */
export function payloadView(label, json, base64, contentType) {
  if (json) return jsonView(label, json.text);
  if (base64 !== undefined) return binaryView(label, base64, contentType);
  return el(
    "section",
    { class: "payload" },
    el("h2", {}, label),
    el("p", { class: "muted" }, "None."),
  );
}

/** Returns a short form of a payload, for a row of a table. */
export function payloadPreview(event, max = 200) {
  if (event.data) return preview(event.data.text, max);
  if (event.dataBase64 === undefined) return "";
  const bytes = bytesOf(event.dataBase64.slice(0, 400));
  const text = textOf(bytes);
  return text === null ? `${grouped(byteCount(event.dataBase64))} bytes` : preview(text, max);
}

function jsonView(label, text) {
  const content = el("div", { class: "json" });
  const choose = el("span", { class: "buttons" });
  const showTree = () => fill(content, el("div", { class: "tree" }, node(text, 0)));
  const showText = () =>
    fill(content, longText(text.length > OPEN_CHARS_MAX ? text : pretty(text)));
  const button = (name, show) =>
    el("button", { type: "button", class: "small", onclick: show }, name);
  fill(
    choose,
    button("Tree", showTree),
    button("Text", showText),
    copyButton(text),
    button("Save", () => download("data.json", "application/json", [text])),
  );
  showTree();
  return el(
    "section",
    { class: "payload" },
    el(
      "header",
      {},
      el("h2", {}, label),
      el("span", { class: "muted" }, size(text.length)),
      choose,
    ),
    content,
  );
}

function node(text, level) {
  const kind = kindOf(text);
  if (kind === "object" || kind === "array") return nested(text, kind, level);
  if (kind === "string") return stringNode(text);
  return el("span", { class: kind }, text.trim());
}

function stringNode(text) {
  if (text.trim() === JSON.stringify(MASK))
    return el("span", { class: "muted", title: "Personal data: your roles do not show it" }, MASK);
  if (text.length <= OPEN_CHARS_MAX)
    return el("span", { class: "string" }, JSON.stringify(stringOf(text)));
  return el("span", { class: "string" }, longText(stringOf(text)));
}

function nested(text, kind, level) {
  const [open, close] = kind === "object" ? ["{", "}"] : ["[", "]"];
  const first = split(text, 1);
  if (first.members.length === 0) return el("span", { class: "literal" }, open + close);
  const count = el("span", { class: "size" });
  const details = el("details", {}, el("summary", {}, el("code", {}, preview(text, 120)), count));
  const members = el("ul");
  let isFilled = false;
  const open_ = () => {
    if (isFilled || !details.open) return;
    isFilled = true;
    const number = showMembers(members, text, level);
    fill(count, `${open} ${grouped(number)} ${close}`);
  };
  details.addEventListener("toggle", open_);
  details.append(members);
  // Deep and large values stay closed, so that nothing is built that nobody asked for.
  if (level < OPEN_LEVELS && text.length <= OPEN_CHARS_MAX) {
    details.open = true;
    open_();
  }
  return details;
}

/** Adds the members of a value to a list, in steps. Returns their number. */
function showMembers(list, text, level) {
  const { members } = split(text);
  let shown = 0;
  const more = el("li", { class: "more" });
  const step = () => {
    const next = members.slice(shown, shown + MEMBERS_STEP);
    next.forEach((member, at) => list.insertBefore(memberItem(member, shown + at, level), more));
    shown += next.length;
    const left = members.length - shown;
    if (left === 0) more.remove();
    else
      fill(
        more,
        el(
          "button",
          { type: "button", class: "small", onclick: step },
          `Show more (${grouped(left)} left)`,
        ),
      );
  };
  list.append(more);
  step();
  return members.length;
}

function memberItem({ key, text }, index, level) {
  const name =
    key === undefined ? el("span", { class: "index" }, index) : el("span", { class: "key" }, key);
  return el("li", {}, name, ": ", node(text, level + 1));
}

function longText(text) {
  const box = el("pre");
  if (text.length <= TEXT_CHARS_MAX) return fill(box, text);
  const all = el(
    "button",
    { type: "button", class: "small" },
    `Show all ${grouped(text.length)} characters`,
  );
  all.addEventListener("click", () => fill(box, text));
  return el("div", {}, fill(box, `${text.slice(0, TEXT_CHARS_MAX)}…`), all);
}

function binaryView(label, base64, contentType) {
  const bytes = bytesOf(base64);
  const text = textOf(bytes);
  const content = text === null ? el("pre", { class: "hex" }, hex(bytes)) : longText(text);
  const note = `${size(bytes.length)}${contentType ? `, ${contentType}` : ""}`;
  return el(
    "section",
    { class: "payload" },
    el(
      "header",
      {},
      el("h2", {}, label),
      el("span", { class: "muted" }, note),
      el(
        "span",
        { class: "buttons" },
        copyButton(text ?? base64, text === null ? "Copy base64" : "Copy"),
        el(
          "button",
          {
            type: "button",
            class: "small",
            onclick: () => download("data.bin", "application/octet-stream", [bytes]),
          },
          "Save",
        ),
      ),
    ),
    content,
  );
}

function byteCount(base64) {
  return (base64.length / 4) * 3 - (base64.match(/=*$/)?.[0].length ?? 0);
}

function bytesOf(base64) {
  const whole = base64.slice(0, base64.length - (base64.length % 4));
  const binary = atob(whole);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at += 1) bytes[at] = binary.charCodeAt(at);
  return bytes;
}

/** Returns bytes as text, or `null` if they are no UTF-8 for people. */
function textOf(bytes) {
  if (bytes.length === 0) return "";
  try {
    // The end of a preview may cut a character.
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: true });
    return /[\u0000-\u0008\u000e-\u001f]/.test(text) ? null : text;
  } catch {
    return null;
  }
}

function hex(bytes) {
  const lines = [];
  const shown = bytes.subarray(0, HEX_BYTES_MAX);
  for (let at = 0; at < shown.length; at += 16) {
    const row = [...shown.subarray(at, at + 16)];
    const digits = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const text = row
      .map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "·"))
      .join("");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${digits.padEnd(47)}  ${text}`);
  }
  const left = bytes.length - shown.length;
  if (left > 0) lines.push(`… ${grouped(left)} more bytes`);
  return lines.join("\n");
}

// JSON without loss: numbers keep their digits, objects keep order and repeated keys.
//
// `JSON.parse` rounds numbers beyond 2^53 and drops repeated keys, so stored values are never read
// by it. `readAnswer` reads the envelope of an answer and leaves stored values as `RawJson`, their
// text. `split` divides such a text into the members of its first level, so that a tree of any
// depth and size is read only as far as it is opened. Neither calls itself on stored values.

/** JSON that is not read yet: its text. */
export class RawJson {
  constructor(text) {
    this.text = text;
  }
}

/** Members of answers that hold stored values. */
const STORED = new Set(["data", "metadata", "upcast", "payload", "timer", "examples"]);

const QUOTE = 34;
const BACKSLASH = 92;

/** Returns the value of an answer. Members that hold stored values become `RawJson`. */
export function readAnswer(text) {
  const [value, end] = readValue(text, skipSpace(text, 0));
  if (skipSpace(text, end) !== text.length) throw new SyntaxError("text after the value");
  return value;
}

function readValue(text, at) {
  switch (text[at]) {
    case "{":
      return readObject(text, at);
    case "[":
      return readArray(text, at);
    default: {
      const end = endOfValue(text, at);
      return [JSON.parse(text.slice(at, end)), end];
    }
  }
}

function readObject(text, at) {
  const object = Object.create(null);
  at = skipSpace(text, at + 1);
  if (text[at] === "}") return [object, at + 1];
  for (;;) {
    const keyEnd = endOfString(text, at);
    const key = JSON.parse(text.slice(at, keyEnd));
    at = skipSpace(text, expect(text, skipSpace(text, keyEnd), ":"));
    if (STORED.has(key)) {
      const end = endOfValue(text, at);
      object[key] = new RawJson(text.slice(at, end));
      at = end;
    } else {
      [object[key], at] = readValue(text, at);
    }
    at = skipSpace(text, at);
    if (text[at] === "}") return [object, at + 1];
    at = skipSpace(text, expect(text, at, ","));
  }
}

function readArray(text, at) {
  const array = [];
  at = skipSpace(text, at + 1);
  if (text[at] === "]") return [array, at + 1];
  for (;;) {
    let value;
    [value, at] = readValue(text, at);
    array.push(value);
    at = skipSpace(text, at);
    if (text[at] === "]") return [array, at + 1];
    at = skipSpace(text, expect(text, at, ","));
  }
}

/** Returns the kind of a value: `object`, `array`, `string`, `number` or `literal`. */
export function kindOf(text) {
  switch (text[0]) {
    case "{":
      return "object";
    case "[":
      return "array";
    case '"':
      return "string";
    case "t":
    case "f":
    case "n":
      return "literal";
    default:
      return "number";
  }
}

/**
 * Divides an object or an array into its members: `{ key, text }`, without `key` in an array.
 * Reads the text once, and at most `limit` members of it.
 */
export function split(text, limit = Infinity) {
  const isObject = text[0] === "{";
  const close = isObject ? "}" : "]";
  const members = [];
  let at = skipSpace(text, 1);
  if (text[at] === close) return { members, isWhole: true };
  for (;;) {
    if (members.length >= limit) return { members, isWhole: false };
    const member = {};
    if (isObject) {
      const keyEnd = endOfString(text, at);
      member.key = JSON.parse(text.slice(at, keyEnd));
      at = skipSpace(text, expect(text, skipSpace(text, keyEnd), ":"));
    }
    const end = endOfValue(text, at);
    member.text = text.slice(at, end);
    members.push(member);
    at = skipSpace(text, end);
    if (text[at] === close) return { members, isWhole: true };
    at = skipSpace(text, expect(text, at, ","));
  }
}

/** Returns the text of a member of an object, or `undefined`. */
export function memberOf(text, key) {
  if (text === undefined || kindOf(text) !== "object") return undefined;
  return split(text).members.find((member) => member.key === key)?.text;
}

/** Returns a value for people: a JSON string without its quotes, and other JSON as it is. */
export function plain(text) {
  if (text === undefined || text === "null") return "";
  return kindOf(text) === "string" ? stringOf(text) : text;
}

/** Returns the text of a JSON string. */
export function stringOf(text) {
  return JSON.parse(text);
}

/** Returns the first `max` characters of a value on one line, with a mark if there are more. */
export function preview(text, max) {
  const begin = text.slice(0, max + 1).replace(/\s+/g, " ");
  return text.length > max ? `${begin.slice(0, max)}…` : begin;
}

/** Lays a value out on lines, by two spaces for each level. */
export function pretty(text) {
  let laid = "";
  let depth = 0;
  let at = 0;
  const line = () => "\n" + "  ".repeat(Math.min(depth, 100));
  while (at < text.length) {
    const one = text[at];
    if (one === '"') {
      const end = endOfString(text, at);
      laid += text.slice(at, end);
      at = end;
      continue;
    }
    at += 1;
    if (one === "{" || one === "[") {
      const next = skipSpace(text, at);
      if (text[next] === "}" || text[next] === "]") {
        laid += one + text[next];
        at = next + 1;
        continue;
      }
      depth += 1;
      laid += one + line();
    } else if (one === "}" || one === "]") {
      depth -= 1;
      laid += line() + one;
    } else if (one === ",") {
      laid += one + line();
    } else if (one === ":") {
      laid += ": ";
    } else if (!isSpace(one)) {
      laid += one;
    }
  }
  return laid;
}

function endOfValue(text, at) {
  const first = text[at];
  if (first === '"') return endOfString(text, at);
  if (first === "{" || first === "[") return endOfNested(text, at);
  let end = at;
  while (end < text.length && !isEnd(text[end])) end += 1;
  if (end === at) throw new SyntaxError(`no value at ${at}`);
  return end;
}

function endOfNested(text, at) {
  let depth = 0;
  for (; at < text.length; at += 1) {
    const one = text.charCodeAt(at);
    if (one === QUOTE) {
      at = endOfString(text, at) - 1;
    } else if (one === 123 || one === 91) {
      depth += 1;
    } else if (one === 125 || one === 93) {
      depth -= 1;
      if (depth === 0) return at + 1;
    }
  }
  throw new SyntaxError("a value does not end");
}

function endOfString(text, at) {
  if (text.charCodeAt(at) !== QUOTE) throw new SyntaxError(`no text at ${at}`);
  let end = at + 1;
  for (;;) {
    end = text.indexOf('"', end);
    if (end < 0) throw new SyntaxError("a text does not end");
    let backslashes = 0;
    while (text.charCodeAt(end - 1 - backslashes) === BACKSLASH) backslashes += 1;
    end += 1;
    // Two backslashes are one that was escaped; an odd number escapes the quote.
    if (backslashes % 2 === 0) return end;
  }
}

function expect(text, at, one) {
  if (text[at] !== one) throw new SyntaxError(`no ${one} at ${at}`);
  return at + 1;
}

function skipSpace(text, at) {
  while (at < text.length && isSpace(text[at])) at += 1;
  return at;
}

function isSpace(one) {
  return one === " " || one === "\n" || one === "\r" || one === "\t";
}

function isEnd(one) {
  return isSpace(one) || one === "," || one === "}" || one === "]" || one === ":";
}

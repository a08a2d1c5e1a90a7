// Requests to the program: its HTTP interface, and the user who makes them. Paths begin with `v1/`
// here, whatever the prefix of the program's routes is.
//
// The proof of the user is a variable of this page: it is in no storage and no cookie, and it is
// gone when the page is reloaded. Requests omit the browser's own credentials, so that a refusal
// does not open the browser's dialog; only a sign-in by certificate uses them.

import { readAnswer } from "./json.js";

const BASE = new URL("../", document.baseURI.replace(/[?#].*$/, ""));

let proof = null;
let prefix = "v1";
let isApplication = false;

/** Events: `proof-changed`, and `sign-in-needed` with a `reason`, which is empty at first. */
export const signIn = new EventTarget();

/** A refusal by the server, or a failure to reach it. */
export class Problem extends Error {
  constructor(status, { code, detail, advice, title, right, causes } = {}) {
    super(detail || title || `the server answered with status ${status}`);
    this.status = status;
    this.code = code;
    this.advice = advice ?? (right && `It needs the right “${right}”.`);
    this.causes = causes;
  }
}

/** Sets the prefix of the program's routes, and whether it is an application. */
export function setProgram(next) {
  prefix = next.api;
  isApplication = next.kind === "application";
}

/** Makes a path of parts, each of which may have any characters. */
export function pathOf(...parts) {
  return ["v1", ...parts.map(encodeURIComponent)].join("/");
}

/** Sets the proof of later requests: a login and a password, a token, or a certificate. */
export function setProof(next) {
  proof = next;
  signIn.dispatchEvent(new Event("proof-changed"));
}

/** Returns the proof of a login and a password (RFC 7617, in UTF-8). */
export function basicProof(login, password) {
  const bytes = new TextEncoder().encode(`${login}:${password}`);
  return { authorization: `Basic ${btoa(String.fromCharCode(...bytes))}` };
}

/** Returns the proof of a bearer token. */
export function tokenProof(token) {
  return { authorization: `Bearer ${token.trim()}` };
}

/** Returns the proof of an API key. */
export function keyProof(key) {
  return { "x-api-key": key.trim() };
}

/** The proof of a certificate that the browser presents. */
export const CERTIFICATE_PROOF = { usesBrowser: true };

/** Returns the address of a path, with the parameters that have a value. */
export function address(path, parameters = {}) {
  const url = new URL(path.replace(/^v1(?=\/)/, prefix), BASE);
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") url.searchParams.append(name, one);
    }
  }
  return url;
}

/** Returns the answer to a request. Throws `Problem`. */
export async function get(path, parameters, signal) {
  const response = await send(address(path, parameters), "application/json", signal);
  return readAnswer(await response.text());
}

/** Returns the text of the answer to a request, with the digits of all numbers. Throws `Problem`. */
export async function getText(path, parameters, signal) {
  const response = await send(address(path, parameters), "application/json", signal);
  return await response.text();
}

/**
 * Changes something, and waits for the answer. `body` is the text of a JSON document, if the request
 * has one: text, because numbers within keep their digits then. Throws `Problem`.
 */
export async function change(method, path, parameters, signal, body) {
  await send(address(path, parameters), "application/json", signal, method, body);
}

/** Sends a value as JSON to an operation that changes nothing. Returns the answer. */
export async function ask(path, value, signal) {
  const body = JSON.stringify(value);
  const response = await send(address(path), "application/json", signal, "POST", body);
  return readAnswer(await response.text());
}

/** Returns `true` if a path answers with success, and else the text of the refusal. */
export async function isWell(path, signal) {
  try {
    await send(address(path), "*/*", signal);
    return true;
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    return problem.message;
  }
}

async function send(url, accept, signal, method = "GET", body = undefined) {
  const { usesBrowser, ...own } = proof ?? {};
  const type = body === undefined ? {} : { "content-type": "application/json" };
  const headers = { accept, ...type, ...own };
  const credentials = usesBrowser ? "same-origin" : "omit";
  let response;
  try {
    response = await fetch(url, { method, headers, body, credentials, cache: "no-store", signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "the server cannot be reached" });
  }
  if (response.ok) return response;
  const problem = new Problem(response.status, await problemOf(response));
  if (response.status === 401) askForProof(proof ? problem.message : "");
  throw problem;
}

/** Asks for another proof, with the reason why the last one did not do. */
export function askForProof(reason) {
  const event = new Event("sign-in-needed");
  event.reason = reason;
  event.isApplication = isApplication;
  proof = null;
  signIn.dispatchEvent(event);
}

async function problemOf(response) {
  const text = await response.text();
  try {
    return readAnswer(text);
  } catch {
    return { detail: text.trim() };
  }
}

/**
 * Reads server-sent events until the feed ends. Calls `take` with `{ name, id, text }` for each,
 * in order, and waits for it. `EventSource` cannot carry a proof.
 */
export async function follow(path, parameters, signal, take) {
  const response = await send(address(path, parameters), "text/event-stream", signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let pieces = [];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    pieces.push(value);
    // A large event comes in many pieces, which are joined once.
    if (!value.includes("\n")) continue;
    let rest = pieces.join("");
    let end;
    while ((end = rest.indexOf("\n\n")) >= 0) {
      const message = messageOf(rest.slice(0, end));
      rest = rest.slice(end + 2);
      if (message) await take(message);
    }
    pieces = rest ? [rest] : [];
  }
}

function messageOf(block) {
  const message = { name: "message", id: null, text: null };
  for (const line of block.split("\n")) {
    if (line.startsWith("data: ")) message.text = line.slice(6);
    else if (line.startsWith("event: ")) message.name = line.slice(7);
    else if (line.startsWith("id: ")) message.id = line.slice(4);
  }
  return message.text === null ? null : message;
}

"use strict";

const of = (id) => document.getElementById(id);
const endpoint = "graphql";
let running = null;

const introspection = `{ __schema {
  queryType { name } mutationType { name } subscriptionType { name }
  types { name kind description
    fields { name description args { name type { ...T } } type { ...T } }
    inputFields { name description type { ...T } }
    enumValues { name }
    possibleTypes { name } } } }
fragment T on __Type { kind name ofType { kind name ofType { kind name ofType { kind name } } } }`;

function typeText(type) {
  if (type.kind === "NON_NULL") return typeText(type.ofType) + "!";
  if (type.kind === "LIST") return "[" + typeText(type.ofType) + "]";
  return type.name;
}

function element(name, text, parent) {
  const made = document.createElement(name);
  made.textContent = text;
  parent.append(made);
  return made;
}

function showType(type) {
  const details = element("details", "", of("schema"));
  element("summary", type.name, details);
  if (type.description) element("small", type.description, details);
  for (const field of type.fields || type.inputFields || []) {
    const given = (field.args || []).map((it) => it.name + ": " + typeText(it.type));
    const inside = given.length ? "(" + given.join(", ") + ")" : "";
    const line = element("p", field.name + inside + ": " + typeText(field.type), details);
    if (field.description) element("small", field.description, line);
  }
  for (const item of type.enumValues || []) element("p", item.name, details);
  for (const member of type.possibleTypes || []) element("p", member.name, details);
}

function search() {
  const wanted = of("search").value.toLowerCase();
  for (const details of of("schema").children) {
    const found = details.textContent.toLowerCase().includes(wanted);
    details.hidden = !found;
    details.open = wanted !== "" && found;
  }
}

async function loadSchema() {
  const response = await fetch(endpoint, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ query: introspection }),
  });
  const { data } = await response.json();
  if (!data) {
    of("schema").textContent = "The server does not show its schema.";
    return;
  }
  const roots = ["queryType", "mutationType", "subscriptionType"];
  const names = roots.map((root) => data.__schema[root] && data.__schema[root].name);
  const rank = (type) => (names.includes(type.name) ? names.indexOf(type.name) : 3);
  const shown = data.__schema.types.filter((type) => !type.name.startsWith("__"));
  shown.sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
  shown.forEach(showType);
}

function isSubscription(text) {
  return /^\s*subscription\b/m.test(text.replace(/#.*$/gm, ""));
}

function show(json) {
  of("answer").textContent = JSON.stringify(json, null, 2);
}

/* Shows the latest event; a page that keeps all of them would grow without bound. */
async function follow(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  let number = 0;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data: {"));
      if (!data.length) continue;
      number += 1;
      of("state").textContent = "answer " + number;
      show(JSON.parse(data[0].slice(6)));
    }
  }
}

async function run() {
  if (running) running.abort();
  running = new AbortController();
  const own = running;
  of("stop").disabled = false;
  of("state").textContent = "…";
  try {
    const query = of("query").value;
    const variables = JSON.parse(of("variables").value || "{}");
    const more = JSON.parse(of("headers").value || "{}");
    const live = isSubscription(query);
    const accept = live ? "text/event-stream" : "application/graphql-response+json";
    const response = await fetch(endpoint, {
      method: "POST",
      headers: { ...more, accept, "content-type": "application/json" },
      body: JSON.stringify({ query, variables }),
      signal: own.signal,
    });
    of("state").textContent = String(response.status);
    const type = response.headers.get("content-type") || "";
    if (type.startsWith("text/event-stream")) await follow(response);
    else show(await response.json());
  } catch (error) {
    if (error.name !== "AbortError") of("answer").textContent = String(error);
  } finally {
    if (running === own) of("stop").disabled = true;
  }
}

of("run").addEventListener("click", run);
of("stop").addEventListener("click", () => running && running.abort());
of("search").addEventListener("input", search);
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run();
});
of("query").value = "{\n  __typename\n}\n";
loadSchema().catch((error) => { of("schema").textContent = String(error); });

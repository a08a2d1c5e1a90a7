// The form of a new event.
//
// The event gets its id when the form is opened, so a request that is sent again after an unknown
// outcome is recognized by the server.

import { request, withContent } from "../acts.js";
import { el, fill } from "../dom.js";
import {
  actForm,
  areaInput,
  arrive,
  field,
  jsonText,
  numberInput,
  selectInput,
  textInput,
  UnusableValue,
  wideField,
} from "../form.js";
import { streamHref, to } from "../route.js";

const FORMS = [
  ["json", "JSON"],
  ["text", "Text"],
  ["base64", "Bytes in base64"],
];

/** The content types of the forms, unless another one is given. */
const CONTENT_TYPES = {
  text: "text/plain; charset=utf-8",
  base64: "application/octet-stream",
};

export const title = "Append an event";

export async function render(root, { parameters }) {
  fill(root, el("h1", {}, "Append an event"), appendForm(parameters.get("stream") ?? ""));
}

function appendForm(to_) {
  // Only pages over TLS and of loopback have it; the server makes an id otherwise.
  const id = crypto.randomUUID?.();
  const stream = textInput("stream", to_, { required: true });
  const type = textInput("type", "", { required: true, placeholder: "order-placed" });
  const form = selectInput("form", "json", FORMS);
  const contentType = textInput("contentType", "", { placeholder: "by the form" });
  const data = areaInput("data", "{}", { rows: 10 });
  const metadata = areaInput("metadata", "", { rows: 4, placeholder: '{ "actor": "ann" }' });
  const tags = areaInput("tags", "", { rows: 2, placeholder: "customer:17850" });
  const correlation = textInput("correlationId", "");
  const causation = textInput("causationId", "");
  const expected = selectInput("expected", "any", [
    ["any", "Any"],
    ["no-stream", "The stream has no events"],
    ["stream-exists", "The stream has events"],
    ["exact", "This revision"],
  ]);
  const revision = numberInput("revision", "");
  return actForm({
    label: "Append the event",
    fields: [
      field("Stream", stream),
      field("Type", type),
      field("Expected", expected),
      field("Revision", revision, "of the last event, if it is expected"),
      field("Data are", form),
      field("Content type", contentType),
      field("Correlation id", correlation),
      field("Causation id", causation),
      wideField("Data", data),
      wideField("Metadata, as JSON", metadata, "may be empty"),
      wideField("Tags, one on each line", tags),
    ],
    cancel: to_ ? streamHref(to_) : to("streams"),
    act() {
      const event = [
        id && ["id", JSON.stringify(id)],
        ["type", JSON.stringify(type.value)],
        ...dataMembers(form.value, contentType.value.trim(), data.value),
        metadata.value.trim() !== "" && ["metadata", jsonText("Metadata", metadata.value)],
        ["tags", JSON.stringify(linesOf(tags.value))],
        correlation.value !== "" && ["correlationId", JSON.stringify(correlation.value)],
        causation.value !== "" && ["causationId", JSON.stringify(causation.value)],
      ];
      const part = [
        ["stream", JSON.stringify(stream.value)],
        ["expected", expectedText(expected.value, revision.value)],
        ["events", `[${objectText(event)}]`],
      ];
      const name = `${type.value} to ${stream.value}`;
      const after = streamHref(stream.value);
      return {
        about: "An event is a fact: it cannot be changed or taken back later.",
        requests: [
          withContent(request("POST", name, "append"), {
            body: `{"streams":[${objectText(part)}]}`,
          }),
        ],
        then: () => arrive(after),
      };
    },
  });
}

/** Returns an object of members with values that are texts of JSON already. */
function objectText(members) {
  const given = members.filter(Boolean);
  return `{${given.map(([name, text]) => `${JSON.stringify(name)}:${text}`).join(",")}}`;
}

function dataMembers(form, contentType, text) {
  const type = contentType || CONTENT_TYPES[form];
  const typed = type ? [["contentType", JSON.stringify(type)]] : [];
  if (form === "json") return [["data", jsonText("Data", text)], ...typed];
  const base64 = form === "text" ? base64Of(text) : checkedBase64(text);
  return [["dataBase64", JSON.stringify(base64)], ...typed];
}

function base64Of(text) {
  const bytes = new TextEncoder().encode(text);
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

function checkedBase64(text) {
  const plain = text.replace(/\s+/g, "");
  try {
    atob(plain);
  } catch {
    throw new UnusableValue("Data must be base64, with padding.");
  }
  return plain;
}

function expectedText(expected, revision) {
  if (expected !== "exact") return JSON.stringify(expected);
  if (/^\d+$/.test(revision)) return revision.replace(/^0+(?=\d)/, "");
  throw new UnusableValue("Give the revision that the stream is expected to have.");
}

const linesOf = (text) =>
  text
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);

// What two applications of others do with the database: an order service that appends the events of
// an aggregate and reads the tail behind its stored view, and a user service that follows the
// category of its users live.
//
// Usage: node applications.js PACKAGE HOST:PORT, with NODE_PATH at the installed packages.
"use strict";

const assert = require("node:assert/strict");
const { readFileSync } = require("node:fs");
const { randomUUID } = require("node:crypto");
const { address, authority, clients, Client, login, url, runAll } = require("./connected.js");
const { END, FORWARDS, StreamNotFoundError, jsonEvent } = clients;

/** A client by an endpoint and options, as the older package has it. */
function connected() {
  if (clients.KurrentDBClient) return Client.connectionString(url(login));
  if (!login) return new Client({ endpoint: address }, { insecure: true });
  const [username, password] = login.split(":");
  const rootCertificate = readFileSync(authority);
  return new Client({ endpoint: address }, { rootCertificate }, { username, password });
}

const client = connected();

/** Appends events to the stream of an aggregate, whose name is the bare id. */
async function saveEvents(id, events) {
  await client.appendToStream(id, events.map((event) => jsonEvent(event)));
}

/** Reads the events of an aggregate from a revision on. */
async function getEvents(id, from) {
  const read = client.readStream(id, { direction: FORWARDS, fromRevision: BigInt(from) });
  const events = [];
  for await (const { event } of read) {
    events.push({ type: event.type, data: event.data, position: Number(event.revision) });
  }
  return events;
}

/** Folds events into a stored view. */
function viewed(view, events) {
  const changed = { ...view, items: [...view.items], discounts: [...view.discounts] };
  for (const { type, data, position } of events) {
    if (type === "OrderCreatedEvent") changed.customerId = data.order.customerId;
    if (type === "OrderItemAddedEvent") changed.items.push(data.orderItem.productId);
    if (type === "DiscountAppliedEvent") changed.discounts.push(data.discount.value);
    changed.eventPosition = position;
  }
  return changed;
}

const created = (customerId) => ({ type: "OrderCreatedEvent", data: { order: { customerId } } });
const added = (orderId, productId) => ({
  type: "OrderItemAddedEvent",
  data: { orderId, orderItem: { productId, unitPrice: 5, quantity: 2 } },
});
const discounted = (orderId, value) => ({
  type: "DiscountAppliedEvent",
  data: { orderId, discount: { type: "fixed", value } },
});

/** The next event of a subscription. */
const next = (subscription) =>
  new Promise((resolve, reject) => {
    subscription.once("data", resolve);
    subscription.once("error", reject);
  });

/** A subscription to the category, which is live. */
async function liveUsers(options) {
  const subscription = client.subscribeToStream("$ce-users", { fromRevision: END, ...options });
  await new Promise((resolve, reject) => {
    subscription.once("caughtUp", resolve);
    subscription.once("error", reject);
  });
  return subscription;
}

const userId = () => String(100 + Math.floor(Math.random() * 900));
const userEvent = (type, id) =>
  jsonEvent({ type, data: { userDto: { userId: id, firstName: "Ann", lastName: "B" } } });

const scenarios = {
  async "orders: a view is brought up to date by the events behind it"() {
    const id = randomUUID();
    await saveEvents(id, [created("ann"), added(id, "book"), added(id, "pen"), discounted(id, 3)]);
    const empty = { customerId: undefined, items: [], discounts: [] };
    const stored = viewed(empty, await getEvents(id, 0));
    assert.deepEqual(stored, {
      customerId: "ann",
      items: ["book", "pen"],
      discounts: [3],
      eventPosition: 3,
    });
    // Nothing has happened since, and the stream is there all the same.
    assert.deepEqual(await getEvents(id, stored.eventPosition + 1), []);
    await saveEvents(id, [added(id, "ink")]);
    const tail = await getEvents(id, stored.eventPosition + 1);
    assert.deepEqual(tail.map(({ position }) => position), [4]);
    assert.deepEqual(viewed(stored, tail).items, ["book", "pen", "ink"]);
  },

  async "orders: an unknown order is the client's own error"() {
    await assert.rejects(getEvents(randomUUID(), 0), (error) => {
      assert.ok(error instanceof StreamNotFoundError);
      return true;
    });
  },

  async "users: the category is followed live with its links resolved"() {
    const subscription = await liveUsers({ resolveLinkTos: true });
    const id = userId();
    for (const type of ["UserCreatedEvent", "UserUpdatedEvent", "UserDeletedEvent"]) {
      const received = next(subscription);
      await client.appendToStream(`users-${id}`, userEvent(type, id));
      const { event, link } = await received;
      assert.equal(event.streamId, `users-${id}`);
      assert.equal(event.type, type);
      assert.equal(event.data.userDto.userId, id);
      assert.equal(link.streamId, "$ce-users");
    }
    await subscription.unsubscribe();
  },

  async "users: a link names the event that it stands for"() {
    const subscription = await liveUsers({});
    const id = userId();
    const received = next(subscription);
    await client.appendToStream(`users-${id}`, userEvent("UserCreatedEvent", id));
    const { event } = await received;
    assert.equal(event.type, "$>");
    const [revision, stream] = Buffer.from(event.data).toString().split("@");
    assert.equal(stream, `users-${id}`);
    const read = client.readStream(stream, { fromRevision: BigInt(revision), maxCount: 1 });
    for await (const found of read) assert.equal(found.event.data.userDto.userId, id);
    await subscription.unsubscribe();
  },
};

runAll(scenarios, [client]);

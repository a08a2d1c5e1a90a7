// Appends, reads and subscriptions through an official package for Node.
//
// Usage: node streams.js PACKAGE HOST:PORT, with NODE_PATH at the installed packages.
"use strict";

const assert = require("node:assert/strict");
const { randomUUID } = require("node:crypto");
const { packageName, clients, Client, client, login, url, fresh, runAll } = require(
  "./connected.js",
);
const {
  BACKWARDS,
  END,
  FORWARDS,
  NO_STREAM,
  START,
  STREAM_EXISTS,
  StreamDeletedError,
  StreamNotFoundError,
  WrongExpectedVersionError,
  binaryEvent,
  eventTypeFilter,
  excludeSystemEvents,
  jsonEvent,
  streamNameFilter,
} = clients;

/** The expectation of an append, which the two packages name differently. */
const expecting = (state) => ({ expectedRevision: state, streamState: state });
const placed = (n) => jsonEvent({ type: "placed", data: { n }, metadata: { by: "ann" } });

async function collect(events) {
  const all = [];
  for await (const resolved of events) all.push(resolved);
  return all;
}

/** The next event of a subscription. */
function next(subscription) {
  return new Promise((resolve, reject) => {
    subscription.once("data", resolve);
    subscription.once("error", reject);
  });
}

const scenarios = {
  async "appends with each expectation and reads back"() {
    const stream = fresh("order");
    const first = placed(1);
    const appended = await client.appendToStream(stream, first, expecting(NO_STREAM));
    assert.equal(appended.success, true);
    assert.equal(appended.nextExpectedRevision, 0n);
    assert.ok(appended.position.commit > 0n);
    await client.appendToStream(stream, [placed(2), placed(3)], expecting(0n));
    await client.appendToStream(stream, placed(4), expecting(STREAM_EXISTS));
    const again = await client.appendToStream(stream, first, expecting(NO_STREAM));
    assert.equal(again.nextExpectedRevision, 0n);
    const events = await collect(
      client.readStream(stream, { direction: FORWARDS, fromRevision: START }),
    );
    assert.deepEqual(events.map(({ event }) => event.data.n), [1, 2, 3, 4]);
    assert.equal(events[0].event.id, first.id);
    assert.deepEqual(events[0].event.metadata, { by: "ann" });
    const rest = await collect(client.readStream(stream, { fromRevision: 2n, maxCount: 10 }));
    assert.deepEqual(rest.map(({ event }) => event.revision), [2n, 3n]);
    const last = await collect(
      client.readStream(stream, { direction: BACKWARDS, fromRevision: END, maxCount: 1 }),
    );
    assert.equal(last[0].event.revision, 3n);
  },

  async "a wrong revision is the client's own error"() {
    const stream = fresh("order");
    await client.appendToStream(stream, placed(1));
    await assert.rejects(
      client.appendToStream(stream, placed(2), expecting(7n)),
      (error) =>
        error instanceof WrongExpectedVersionError &&
        (error.actualState ?? error.actualVersion) === 0n,
    );
  },

  async "an unknown stream is the client's own error"() {
    await assert.rejects(
      collect(client.readStream(fresh("order"), { fromRevision: 0n })),
      StreamNotFoundError,
    );
  },

  async "binary events come back as bytes"() {
    const stream = fresh("order");
    const data = Buffer.from([0, 1, 2, 255]);
    await client.appendToStream(stream, binaryEvent({ type: "drawn", data }));
    const [{ event }] = await collect(client.readStream(stream));
    assert.equal(event.isJson, false);
    assert.deepEqual(Buffer.from(event.data), data);
  },

  async "the whole store is read by filters"() {
    const stream = fresh("order");
    await client.appendToStream(stream, [placed(1), placed(2)]);
    const last = await collect(
      client.readAll({ direction: BACKWARDS, fromPosition: END, maxCount: 1 }),
    );
    assert.equal(last[0].event.streamId, stream);
    const subscription = client.subscribeToAll({
      fromPosition: START,
      filter: streamNameFilter({ prefixes: [stream] }),
    });
    assert.equal((await next(subscription)).event.data.n, 1);
    await subscription.unsubscribe();
    for (const filter of [excludeSystemEvents(), eventTypeFilter({ prefixes: ["placed"] })]) {
      const filtered = client.subscribeToAll({ fromPosition: START, filter });
      assert.ok((await next(filtered)).event);
      await filtered.unsubscribe();
    }
  },

  async "a category is followed with its links resolved"() {
    const category = `user${randomUUID().replaceAll("-", "")}`;
    await client.appendToStream(`${category}-1`, placed(1));
    const subscription = client.subscribeToStream(`$ce-${category}`, {
      fromRevision: START,
      resolveLinkTos: true,
    });
    assert.equal((await next(subscription)).event.data.n, 1);
    const live = next(subscription);
    await client.appendToStream(`${category}-2`, placed(2));
    const { event, link } = await live;
    assert.equal(event.streamId, `${category}-2`);
    assert.equal(link.revision, 1n);
    await subscription.unsubscribe();
  },

  async "metadata, deletion and tombstone"() {
    const stream = fresh("order");
    await client.appendToStream(stream, [placed(1), placed(2)]);
    await client.setStreamMetadata(stream, { maxCount: 1, team: "sales" });
    const { metadata } = await client.getStreamMetadata(stream);
    assert.deepEqual(metadata, { maxCount: 1, team: "sales" });
    assert.equal((await collect(client.readStream(stream))).length, 1);
    await assert.rejects(
      client.deleteStream(stream, { expectedRevision: 9n }),
      WrongExpectedVersionError,
    );
    await client.deleteStream(stream);
    await assert.rejects(collect(client.readStream(stream)), StreamNotFoundError);
    await client.appendToStream(stream, placed(3));
    await client.tombstoneStream(stream);
    await assert.rejects(collect(client.readStream(stream)), StreamDeletedError);
    await assert.rejects(client.appendToStream(stream, placed(4)), StreamDeletedError);
  },
};

Object.assign(scenarios, require("./groups.js")(clients, client));
/** Calls of the second version of the streams, which the older package does not have. */
const ofSeveralStreams = {
  async "several streams are appended to together or not at all"() {
    const [order, stock] = [fresh("order"), fresh("stock")];
    const record = (n) => jsonEvent({ type: "placed", data: { n }, metadata: { by: "ann" } });
    const request = (streamName, expectedState, ...events) => ({
      streamName,
      expectedState,
      events,
    });
    const first = [request(order, NO_STREAM, record(1), record(2)), request(stock, "any", record(3))];
    const appended = await client.multiStreamAppend(first);
    assert.ok(appended.position > 0n);
    assert.deepEqual(appended.responses, [
      { streamName: order, revision: 1n },
      { streamName: stock, revision: 0n },
    ]);
    assert.deepEqual(await client.multiStreamAppend(first), appended);
    const [{ event }] = await collect(client.readStream(order));
    // The server adds the type and the format of the record.
    const metadata = { "$schema.format": "Json", "$schema.name": "placed", by: "ann" };
    assert.deepEqual([event.data, event.metadata], [{ n: 1 }, metadata]);
    await assert.rejects(
      client.multiStreamAppend([request(order, 1n, record(4)), request(stock, NO_STREAM, record(5))]),
      (error) =>
        error instanceof WrongExpectedVersionError &&
        error.streamName === stock &&
        error.actualState === 0n,
    );
    assert.equal((await collect(client.readStream(order))).length, 2);
  },

  async "records are appended on conditions of other streams"() {
    const [order, customer] = [fresh("order"), fresh("customer")];
    await client.appendToStream(customer, placed(1));
    const records = (n) => [{ streamName: order, record: placed(n) }];
    const checks = (expectedState) => [
      { type: "streamState", streamName: order, expectedState: "any" },
      { type: "streamState", streamName: customer, expectedState },
    ];
    const appended = await client.appendRecords(records(1), checks(0n));
    assert.deepEqual(appended.responses, [{ streamName: order, revision: 0n }]);
    await assert.rejects(client.appendRecords(records(2), checks(7n)), (error) => {
      assert.ok(error instanceof clients.AppendConsistencyViolationError);
      const [violation] = error.violations;
      assert.equal(violation.checkIndex, 1);
      assert.equal(violation.streamName, customer);
      assert.deepEqual([violation.expectedState, violation.actualState], [7n, 0n]);
      return true;
    });
    assert.equal((await collect(client.readStream(order))).length, 1);
  },
};
if (client.multiStreamAppend) Object.assign(scenarios, ofSeveralStreams);
else console.log(`skipped ${packageName}: several streams, which it has no call for`);
if (login) {
  scenarios["a wrong password is refused"] = async () => {
    const other = Client.connectionString(url(`${login.split(":")[0]}:wrong-one`));
    await assert.rejects(other.appendToStream(fresh("order"), placed(1)), (error) => {
      assert.doesNotMatch(String(error), /wrong-one/);
      return /the login or the password is wrong/.test(String(error.message));
    });
    await other.dispose();
  };
}

runAll(scenarios);

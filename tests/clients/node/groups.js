// Consumer groups through an official package for Node: the scenarios that `streams.js` runs beside
// its own.
"use strict";

const assert = require("node:assert/strict");
const { randomUUID } = require("node:crypto");
const { fresh } = require("./connected.js");

const PATIENCE_MS = 30_000;

/** Events of a consumer, one after the other. */
function received(subscription) {
  const events = [];
  const waiting = [];
  subscription.on("data", (event) => (waiting.shift() ?? ((next) => events.push(next)))(event));
  const rejects = [];
  subscription.on("error", (error) => rejects.forEach((reject) => reject(error)));
  return () =>
    new Promise((resolve, reject) => {
      if (events.length > 0) return resolve(events.shift());
      waiting.push(resolve);
      rejects.push(reject);
    });
}

module.exports = (clients, client) => {
  const placed = (n) => clients.jsonEvent({ type: "placed", data: { n } });
  const settings = (changes) => ({
    ...clients.persistentSubscriptionToStreamSettingsFromDefaults({ startFrom: clients.START }),
    // Each finished event is worth a checkpoint at once.
    checkPointLowerBound: 1,
    checkPointUpperBound: 1,
    ...changes,
  });

  /** Waits until the description of a group satisfies a condition. */
  async function eventually(stream, condition) {
    const end = Date.now() + PATIENCE_MS;
    for (;;) {
      const info = await client.getPersistentSubscriptionToStreamInfo(stream, "mail");
      if (condition(info)) return info;
      assert.ok(Date.now() < end, `not in time: ${JSON.stringify(info.stats, String)}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  return {
    async "a group goes on after what was acknowledged"() {
      const stream = fresh("order");
      await client.appendToStream(stream, [placed(1), placed(2)]);
      await client.createPersistentSubscriptionToStream(stream, "mail", settings());
      const first = client.subscribeToPersistentSubscriptionToStream(stream, "mail");
      const next = received(first);
      const event = await next();
      assert.equal(event.event.data.n, 1);
      await first.ack(event);
      assert.equal((await next()).event.data.n, 2);
      await eventually(stream, ({ stats }) => stats.lastCheckpointedEventRevision === 0n);
      await first.unsubscribe();
      const later = client.subscribeToPersistentSubscriptionToStream(stream, "mail");
      const again = received(later);
      const second = await again();
      assert.deepEqual([second.event.data.n, second.retryCount], [2, 1]);
      await later.ack(second);
      await client.appendToStream(stream, placed(3));
      assert.equal((await again()).event.data.n, 3);
      await later.unsubscribe();
    },

    async "events are parked and replayed"() {
      const stream = fresh("order");
      await client.appendToStream(stream, [placed(1), placed(2)]);
      const changes = { maxRetryCount: 1 };
      await client.createPersistentSubscriptionToStream(stream, "mail", settings(changes));
      const subscription = client.subscribeToPersistentSubscriptionToStream(stream, "mail");
      const next = received(subscription);
      const [first, second] = [await next(), await next()];
      await subscription.nack(clients.PARK, "broken", first);
      await subscription.nack(clients.RETRY, "later", second);
      const again = await next();
      assert.deepEqual([again.event.data.n, again.retryCount], [2, 1]);
      await subscription.nack(clients.RETRY, "later", again);
      await eventually(stream, ({ stats }) => stats.parkedMessageCount === 2n);
      await client.replayParkedMessagesToStream(stream, "mail", { stopAt: 1 });
      const replayed = await next();
      assert.equal(replayed.event.data.n, 1);
      await subscription.ack(replayed);
      await eventually(stream, ({ stats }) => stats.parkedMessageCount === 1n);
      await subscription.unsubscribe();
    },

    async "a category is shared out with its links resolved"() {
      const category = `user${randomUUID().replaceAll("-", "")}`;
      await client.appendToStream(`${category}-1`, placed(1));
      const source = `$ce-${category}`;
      const resolving = settings({ resolveLinkTos: true });
      await client.createPersistentSubscriptionToStream(source, "mail", resolving);
      const subscription = client.subscribeToPersistentSubscriptionToStream(source, "mail");
      const next = received(subscription);
      const { event, link } = await next();
      assert.deepEqual([event.data.n, link.revision], [1, 0n]);
      await subscription.ack({ event, link });
      await client.appendToStream(`${category}-2`, placed(2));
      assert.equal((await next()).event.data.n, 2);
      await subscription.unsubscribe();
    },

    async "a group of the whole store has a filter"() {
      const [stream, group] = [fresh("order"), fresh("group")];
      await client.appendToStream(stream, placed(1));
      const options = {
        ...clients.persistentSubscriptionToAllSettingsFromDefaults({ startFrom: clients.START }),
      };
      await client.createPersistentSubscriptionToAll(group, options, {
        filter: clients.streamNameFilter({ prefixes: [stream] }),
      });
      const subscription = client.subscribeToPersistentSubscriptionToAll(group);
      const event = await received(subscription)();
      assert.equal(event.event.streamId, stream);
      await subscription.ack(event);
      await subscription.unsubscribe();
      await client.deletePersistentSubscriptionToAll(group);
    },

    async "groups are the client's own errors"() {
      const stream = fresh("order");
      const missing = clients.PersistentSubscriptionDoesNotExistError;
      await assert.rejects(client.deletePersistentSubscriptionToStream(stream, "mail"), missing);
      await assert.rejects(client.listPersistentSubscriptionsToStream(stream), missing);
      const one = settings({ maxSubscriberCount: 1 });
      const create = () => client.createPersistentSubscriptionToStream(stream, "mail", one);
      await create();
      await assert.rejects(create(), clients.PersistentSubscriptionExistsError);
      const first = client.subscribeToPersistentSubscriptionToStream(stream, "mail");
      await new Promise((resolve) => first.once("confirmation", resolve));
      const second = client.subscribeToPersistentSubscriptionToStream(stream, "mail");
      await assert.rejects(
        received(second)(),
        clients.PersistentSubscriptionMaximumSubscribersReachedError,
      );
      // Watched from here on: it may come before the answer to the update.
      const told = assert.rejects(received(first)(), clients.PersistentSubscriptionDroppedError);
      const changed = settings({ maxRetryCount: 7 });
      await client.updatePersistentSubscriptionToStream(stream, "mail", changed);
      await told;
      const info = await client.getPersistentSubscriptionToStreamInfo(stream, "mail");
      assert.equal(info.settings.maxRetryCount, 7);
      const all = await client.listAllPersistentSubscriptions();
      assert.ok(all.some(({ eventSource }) => eventSource === stream));
      await client.deletePersistentSubscriptionToStream(stream, "mail");
    },
  };
};

// Projections through an official package for Node.
//
// Usage: node projections.js PACKAGE HOST:PORT, with NODE_PATH at the installed packages.
"use strict";

const assert = require("node:assert/strict");
const { randomUUID } = require("node:crypto");
const { setTimeout: pause } = require("node:timers/promises");
const { clients, client, fresh, runAll } = require("./connected.js");
const { jsonEvent } = clients;

const placed = (n) => jsonEvent({ type: "placed", data: { n } });

/** Waits for a value; the server runs projections in the background. */
async function until(look, expected) {
  let seen;
  for (let asked = 0; asked < 3000; asked += 1) {
    seen = await look();
    try {
      assert.deepEqual(seen, expected);
      return;
    } catch {
      await pause(10);
    }
  }
  assert.deepEqual(seen, expected);
}

const scenarios = {
  async "states and results of partitions"() {
    const [category, name] = [`c${randomUUID().slice(0, 8)}`, fresh("count")];
    const query = `fromCategory('${category}').foreachStream()
      .when({ $init: () => ({ n: 0 }), placed(s, e) { s.n += e.data.n } })
      .transformBy((s) => ({ doubled: s.n * 2 }))
      .outputState()`;
    await client.createProjection(name, query);
    await client.appendToStream(`${category}-1`, [placed(1), placed(2)]);
    await client.appendToStream(`${category}-2`, placed(5));
    const state = (partition) => client.getProjectionState(name, { partition });
    await until(() => state(`${category}-1`), { n: 3 });
    await until(() => state(`${category}-2`), { n: 5 });
    const result = await client.getProjectionResult(name, { partition: `${category}-1` });
    assert.deepEqual(result, { doubled: 6 });
    const status = await client.getProjectionStatus(name);
    assert.equal(status.projectionStatus ?? status.status, "Running");
    const all = await client.listProjections();
    assert.ok(all.some((projection) => projection.name === name));
  },

  async "emitted events, and the life of a projection"() {
    const [stream, name] = [fresh("order"), fresh("emit")];
    const query = `fromStream('${stream}').when({
      $init: () => ({ n: 0 }),
      placed(s, e) { s.n += 1; emit('copies-${name}', 'copied', e.data) },
    })`;
    const options = { emitEnabled: true, trackEmittedStreams: true };
    await client.createProjection(name, query, options);
    await client.appendToStream(stream, [placed(1), placed(2)]);
    await until(() => client.getProjectionState(name), { n: 2 });
    await assert.rejects(client.createProjection(name, query));
    await assert.rejects(client.deleteProjection(name));
    await client.disableProjection(name);
    const copies = [];
    for await (const { event } of client.readStream(`copies-${name}`)) copies.push(event.data.n);
    assert.deepEqual(copies, [1, 2]);
    await client.enableProjection(name);
    await client.updateProjection(name, query, { emitEnabled: true });
    await client.resetProjection(name);
    await until(() => client.getProjectionState(name), { n: 2 });
    await client.abortProjection(name);
    await client.deleteProjection(name, { deleteEmittedStreams: true });
    await assert.rejects(client.getProjectionStatus(name));
    await client.restartSubsystem();
  },
};

runAll(scenarios);

// The client of an official package for Node that a script was started with, and the run of its
// scenarios. Arguments of a script: PACKAGE HOST:PORT, with NODE_PATH at the installed packages.
"use strict";

const { randomUUID } = require("node:crypto");
const [packageName, address] = process.argv.slice(2);
const clients = require(packageName);

// The newer package has another name for the same class.
const Client = clients.KurrentDBClient ?? clients.EventStoreDBClient;
const scheme = clients.KurrentDBClient ? "kurrentdb" : "esdb";
// A secured server is told by two variables: LOGIN:PASSWORD, and the file of the authority.
const { GESTA_CLIENT_LOGIN: login, GESTA_CLIENT_CA: authority } = process.env;
const url = (credentials) =>
  credentials
    ? `${scheme}://${credentials}@${address}?tlsCAFile=${authority}`
    : `${scheme}://${address}?tls=false`;
const client = Client.connectionString(url(login));

/** A new name in a category. */
const fresh = (category) => `${category}-${randomUUID().replaceAll("-", "")}`;

/** Runs all scenarios, and ends the program with 1 if one of them failed. */
async function runAll(scenarios, others = []) {
  let failed = 0;
  for (const [name, run] of Object.entries(scenarios)) {
    try {
      await run();
      console.log(`ok      ${packageName}: ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED  ${packageName}: ${name}: ${error.stack ?? error}`);
    }
  }
  for (const one of [client, ...others]) await one.dispose();
  const all = Object.keys(scenarios).length;
  console.log(`${all - failed} of ${all} scenarios passed`);
  process.exit(failed > 0 ? 1 : 0);
}

module.exports = {
  address,
  authority,
  packageName,
  clients,
  Client,
  client,
  login,
  url,
  fresh,
  runAll,
};

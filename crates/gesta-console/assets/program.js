// The program behind the console: a server or an application, and what its caller may use.

import { askForProof, get, Problem, setProgram } from "./api.js";

/**
 * Asks the program what it is. Adds `can`, which says whether the caller may use an operation: by its
 * id for an application, by method and path for a server. A program that needs credentials is asked again after the sign-in: this throws.
 */
export async function describeProgram(signal) {
  const program = await get("console/program", {}, signal);
  setProgram(program);
  if (program.kind === "server") {
    const server = await get("v1/server", {}, signal);
    const operations = new Set(server.operations);
    const describedAt = performance.now();
    return { ...program, ...server, describedAt, can: (operation) => operations.has(operation) };
  }
  if (program.secure && !program.login) {
    askForProof("");
    throw new Problem(401);
  }
  const operations = new Set(program.operations);
  return { ...program, can: (operation) => operations.has(operation) };
}

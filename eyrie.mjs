#!/usr/bin/env node
/**
 * The front door: `npm start`, `npx eyrie <verb>` and `node eyrie.mjs --run FILE` all come in here.
 *
 * Needs nothing but Node 20. It makes sure that the dependencies of this checkout are installed,
 * then hands over to the pinned Node 24 that came with them. What cannot be done is said in one
 * line that begins with SETUP_FAILED and names the way out; the exit code is then 1.
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { runTypeScript } from "./infra/setup/launch.mjs";
import { dependenciesAreCurrent, requireNode, stopOnSetupError } from "./infra/setup/ready.mjs";

const root = fileURLToPath(new URL(".", import.meta.url));
const args = process.argv.slice(2);

try {
  requireNode(process.versions.node);
  if (!dependenciesAreCurrent(root, { dev: false })) {
    // Loaded only when needed: every later start pays for the check alone.
    const { installDependencies } = await import("./infra/setup/install.mjs");
    await installDependencies(root, { dev: false });
  }
  if (args[0] !== "--run") {
    await runTypeScript(root, join("apps", "cli", "main.ts"), args);
  } else if (args[1] !== undefined) {
    await runTypeScript(root, args[1], args.slice(2));
  } else {
    process.stderr.write("usage: node eyrie.mjs --run FILE [ARGUMENT…]\n");
    process.exitCode = 2;
  }
} catch (error) {
  stopOnSetupError(error);
}

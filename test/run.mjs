#!/usr/bin/env node
/**
 * `npm test` and `npm run test:long`: installs what is missing, then tests on the pinned Node.
 * What is tested, and how it is told, is in test/run/main.ts.
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { runTypeScript } from "../infra/setup/launch.mjs";
import { dependenciesAreCurrent, requireNode, stopOnSetupError } from "../infra/setup/ready.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));

try {
  requireNode(process.versions.node);
  if (!dependenciesAreCurrent(root, { dev: true })) {
    const { installDependencies } = await import("../infra/setup/install.mjs");
    await installDependencies(root, { dev: true });
  }
  await runTypeScript(root, join("test", "run", "main.ts"), process.argv.slice(2));
} catch (error) {
  stopOnSetupError(error);
}

/**
 * Fault: a process is started without its Redis, without its model, with bad configuration; or its
 *   Redis goes away while it runs.
 * Expected: it refuses with one line and a code, and ends; while it runs it says that it is not ready
 *   and stays alive.
 * Invariant: never half alive.
 * Bound: gone within 5 s of the last try; not ready within 1 s.
 */
import { join } from "node:path";
import { expect, test } from "vitest";
import { Process } from "#test/platform/platform.ts";
import { Recorder } from "./figures.ts";
import { Scene } from "./scene.ts";

const nowhere = join(import.meta.dirname, "nowhere.sock");

interface BadStart {
  readonly script: string;
  readonly environment: NodeJS.ProcessEnv;
  readonly code: string;
  readonly exit: number;
}

function badStarts(good: NodeJS.ProcessEnv): Readonly<Record<string, BadStart>> {
  const worker = "apps/worker/main.ts";
  const gateway = "apps/gateway/main.ts";
  const start = (script: string, code: string, changes: NodeJS.ProcessEnv, exit = 1): BadStart => ({
    script,
    code,
    exit,
    environment: { ...good, ...changes },
  });
  return {
    "worker without truth": start(worker, "REDIS_UNAVAILABLE", { REDIS_URL: nowhere }),
    "worker without state": start(worker, "REDIS_UNAVAILABLE", { STATE_REDIS_URL: nowhere }),
    "worker without a model": start(worker, "MODEL_NOT_FOUND", { EYRIE_MODEL: nowhere }),
    "worker with a word for a number": start(worker, "CONFIG_INVALID", { EYRIE_SLOTS: "many" }, 2),
    "worker without addresses": start(worker, "CONFIG_INVALID", { REDIS_URL: "" }, 2),
    "gateway without truth": start(gateway, "REDIS_UNAVAILABLE", { REDIS_URL: nowhere }),
    "gateway without a token": start(gateway, "CONFIG_INVALID", { DISCORD_TOKEN: "" }, 2),
    "gateway with a wrong token": start(gateway, "DISCORD_TOKEN_INVALID", {
      DISCORD_TOKEN: "wrong",
    }),
    "gateway without a model": start(gateway, "MODEL_NOT_FOUND", { EYRIE_MODEL: nowhere }),
  };
}

test(
  "a start that cannot succeed says why in one line, and ends",
  { timeout: 120_000 },
  async ({ task }) => {
    const scene = await Scene.open({ workers: 0, gateway: false });
    const recorder = new Recorder();
    try {
      const good = { ...scene.platform.environment, ...scene.environment() };
      for (const [name, bad] of Object.entries(badStarts(good))) {
        const startedMs = performance.now();
        const process = new Process(bad.script, { ...bad.environment, EYRIE_LOG_LEVEL: "silent" });
        expect(await process.ended, name).toBe(bad.exit);
        recorder.add("bad start: gone", 10_000, performance.now() - startedMs);
        expect(process.output, name).toMatch(new RegExp(`^${bad.code}: [^\\n]+\\n$`));
        expect(process.output).not.toContain(scene.double.token);
      }
    } finally {
      await scene.close();
    }
    recorder.save(task);
  },
);

test(
  "a process whose truth goes away is alive and not ready",
  { timeout: 120_000 },
  async ({ task }) => {
    const scene = await Scene.open();
    const recorder = new Recorder();
    const { truthServer } = scene.platform;
    try {
      const processes = [scene.workers[0]!, scene.gateway!];
      await truthServer.kill();
      for (const process of processes) {
        const goneMs = await scene.until(
          async () => (await page(process, "/ready")) === 503,
          "503",
        );
        recorder.add("truth gone: not ready", 1_000, goneMs);
        expect(await page(process, "/live")).toBe(200);
      }
      await truthServer.restart();
      for (const process of processes) {
        await scene.until(async () => (await page(process, "/ready")) === 200, "readiness");
      }
      scene.say("are you well");
      await scene.settled();
    } finally {
      await scene.close();
    }
    recorder.save(task);
  },
);

async function page(process: Process, path: string): Promise<number> {
  return (await fetch(`http://127.0.0.1:${await process.ready()}${path}`)).status;
}

/** A program: the worker process with the scripted backend; tells its parent what the model cost. */
import { BroadcastChannel } from "node:worker_threads";
import { startWorker } from "#apps/worker/worker.ts";
import { requireRedisUrls } from "#infra/config/config.ts";
import { runProcess } from "#infra/process/process.ts";
import { cpuChannel, type ScriptedUsage } from "./scripted.ts";

const backendModule = new URL("scripted.ts", import.meta.url).href;

await runProcess("worker", async (config, log) => {
  const worker = await startWorker(config, requireRedisUrls(config), { log, backendModule });
  const channel = new BroadcastChannel(cpuChannel);
  channel.addEventListener("message", (event) => {
    process.send?.((event as MessageEvent).data as ScriptedUsage);
  });
  channel.unref();
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- not a window
  process.on("message", () => channel.postMessage("usage"));
  return worker;
});

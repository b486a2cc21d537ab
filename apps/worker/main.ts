/** The worker process. Needs REDIS_URL and STATE_REDIS_URL; `eyrie start` provides them. */
import { EyrieError } from "#infra/errors/error.ts";
import { runProcess } from "#infra/process/process.ts";
import { startWorker } from "./worker.ts";

await runProcess("worker", async (config, log) => {
  const { REDIS_URL: truthUrl, STATE_REDIS_URL: stateUrl } = config;
  if (truthUrl === undefined) throw new EyrieError("CONFIG_INVALID", missing("REDIS_URL"));
  return startWorker(config, { truthUrl, stateUrl: stateUrl ?? truthUrl }, log);
});

function missing(key: string): { key: string; reason: string } {
  return { key, reason: "is not set; `eyrie start` sets it" };
}

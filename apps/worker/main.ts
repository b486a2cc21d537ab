/** The worker process. Needs REDIS_URL and STATE_REDIS_URL; `eyrie start` provides them. */
import { requireRedisUrls } from "#infra/config/config.ts";
import { runProcess } from "#infra/process/process.ts";
import { startWorker } from "./worker.ts";

await runProcess("worker", async (config, log) =>
  startWorker(config, requireRedisUrls(config), { log }),
);

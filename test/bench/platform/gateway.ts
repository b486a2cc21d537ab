/** A program: the gateway process, for a Discord that lets it send as much as it can. */
import { startGateway } from "#apps/gateway/gateway.ts";
import { requireRedisUrls } from "#infra/config/config.ts";
import { runProcess } from "#infra/process/process.ts";

await runProcess("gateway", async (config, log) =>
  startGateway({
    config,
    ...requireRedisUrls(config),
    log,
    requestsPerSecondMax: 1_000_000,
  }),
);

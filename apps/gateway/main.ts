/** The gateway process. Needs DISCORD_TOKEN and both Redis URLs; `eyrie start` provides the URLs. */
import { requireRedisUrls } from "#infra/config/config.ts";
import { runProcess } from "#infra/process/process.ts";
import { startGateway } from "./gateway.ts";

await runProcess("gateway", async (config, log) =>
  startGateway({ config, ...requireRedisUrls(config), log }),
);

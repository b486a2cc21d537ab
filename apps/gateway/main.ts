/** The gateway process. Needs DISCORD_TOKEN and both Redis URLs; `eyrie start` provides the URLs. */
import { EyrieError } from "#infra/errors/error.ts";
import { runProcess } from "#infra/process/process.ts";
import { startGateway } from "./gateway.ts";

await runProcess("gateway", async (config, log) => {
  const { REDIS_URL: truthUrl, STATE_REDIS_URL: stateUrl } = config;
  if (truthUrl === undefined) throw new EyrieError("CONFIG_INVALID", missing("REDIS_URL"));
  return startGateway({ config, truthUrl, stateUrl: stateUrl ?? truthUrl, log });
});

function missing(key: string): { key: string; reason: string } {
  return { key, reason: "is not set; `eyrie start` sets it" };
}

/** A program: logs more than a pipe holds, says when it has, and ends when it is told to. */
import { createLog } from "#infra/telemetry/log.ts";

const log = createLog({ process: "talkative", level: "info", readable: false });
for (let line = 0; line < 40; line++) log.info("a line", { line });
process.on("message", () => {
  for (let line = 40; line < 4_000; line++) log.info("a line", { line });
  process.exit();
});
process.send?.("ready");

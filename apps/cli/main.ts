/**
 * `eyrie <verb>`: the door for people. One verb per file under `verbs/`, loaded only when called.
 *
 * Data goes to standard output, everything else to standard error. Exit codes: 0 done, 1 failed,
 * 2 bad usage. An error is one localised line that begins with its code.
 */
import { Command, CommanderError } from "commander";
import { EyrieError } from "#infra/errors/error.ts";
import type { ErrorCode } from "#infra/errors/registry.ts";
import { fallbackLocale } from "#infra/i18n/i18n.ts";
import { reportError } from "#infra/process/process.ts";
import { ModelError } from "#kernels/errors.ts";
import { describeVerbs } from "./verbs.ts";

const program = describeVerbs(new Command("eyrie"));

process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  // The reader has seen enough, as in `eyrie generate … | head`.
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

try {
  await program.parseAsync(process.argv);
} catch (error) {
  if (error instanceof CommanderError) {
    // Commander has printed help and version: those that were asked for end with 0, and the help of
    // a command that was left without its verb counts as bad usage.
    if (error.code === "commander.help") {
      process.exitCode = 2;
    } else if (error.exitCode !== 0) {
      await report(new EyrieError("USAGE", { reason: usageOf(error) }));
    }
  } else {
    await report(error instanceof ModelError ? modelError(error) : error);
  }
}

function usageOf(error: CommanderError): string {
  return error.message.replace(/^error: /, "").replace(/\s*\n\s*/g, " ");
}

function modelError(error: ModelError): EyrieError {
  return new EyrieError(error.code satisfies ErrorCode, error.values, { cause: error });
}

async function report(error: unknown): Promise<void> {
  await reportError(error, process.env["EYRIE_LOCALE"] ?? fallbackLocale);
}

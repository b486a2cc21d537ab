/**
 * The life of one of our processes: configuration, readiness, signals, a clean end.
 *
 * A process that cannot start or go on says why in one line with a code, in the operator's language,
 * and exits with that error's code; a stack trace is for programmer errors only. Started by
 * `eyrie start` it reports readiness over the IPC channel and ends when that channel closes, so
 * nothing is left running when the parent dies.
 */
import { type Config, loadConfig } from "#infra/config/config.ts";
import { EyrieError } from "#infra/errors/error.ts";
import { fallbackLocale, loadTranslator } from "#infra/i18n/i18n.ts";
import { createLog, errorFields, type Log, printable } from "#infra/telemetry/log.ts";

/** A close that takes longer is cut off. */
const closeMsMax = 25_000;
/** With the parent died its Redis too, and what needs it would wait for ever. */
const orphanCloseMsMax = 2_000;

export interface Running {
  close(): Promise<void>;
  /** Rejects when the process cannot go on. */
  readonly failed?: Promise<never>;
  /** Port of the health pages. */
  readonly port: number;
}

/** What a process tells its parent once. */
export interface ReadyMessage {
  readonly ready: true;
  readonly port: number;
}

export async function runProcess(
  name: string,
  start: (config: Config, log: Log) => Promise<Running>,
): Promise<void> {
  try {
    const config = loadConfig(process.env);
    const log = createLog({
      process: name,
      level: config.EYRIE_LOG_LEVEL,
      readable: config.EYRIE_PROFILE === "demo" && process.stderr.isTTY,
    });
    // Listened for before anybody is told that we are ready, and during the start.
    const end = untilAskedToEnd();
    const running = await start(config, log);
    process.send?.({ ready: true, port: running.port } satisfies ReadyMessage);
    try {
      await (running.failed === undefined ? end : Promise.race([end, running.failed]));
    } catch (error) {
      log.error("going down", errorFields(error));
      await reportError(error, config.EYRIE_LOCALE);
    }
    const patienceMs =
      process.send !== undefined && !process.connected ? orphanCloseMsMax : closeMsMax;
    setTimeout(() => process.exit(1), patienceMs).unref();
    await running.close();
    process.exit();
  } catch (error) {
    await reportError(error, process.env["EYRIE_LOCALE"] ?? fallbackLocale);
    process.exit();
  }
}

/** Prints an error for a person, in one line, and sets the exit code. */
export async function reportError(error: unknown, locale: string): Promise<void> {
  const known =
    error instanceof EyrieError ? error : new EyrieError("INTERNAL", {}, { cause: error });
  const translator = await loadTranslator();
  const text = printable(translator.error(translator.resolve(locale), known));
  process.stderr.write(`${known.code}: ${text}\n`);
  process.exitCode = known.exitCode;
  const debugging = ["debug", "trace"].includes(process.env["EYRIE_LOG_LEVEL"] ?? "");
  if (known.code === "INTERNAL" && debugging) {
    process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  }
}

function untilAskedToEnd(): Promise<void> {
  return new Promise((resolve) => {
    process.once("SIGTERM", () => resolve());
    // Ctrl-C reaches the whole group; a supervised process waits for its parent's word.
    if (process.connected) {
      process.on("SIGINT", () => {});
      process.once("disconnect", () => resolve());
    } else {
      process.once("SIGINT", () => resolve());
    }
  });
}

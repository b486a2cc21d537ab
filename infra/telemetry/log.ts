/**
 * Logs: ids, counts, durations and codes. Never message text, never a secret: the functions take no
 * turn, record or configuration, only flat fields, and a test scans the whole suite's output.
 *
 * A terminal gets one readable line per event, everything else gets JSON.
 */
import { styleText } from "node:util";
import { type DestinationStream, pino } from "pino";
import { EyrieError } from "#infra/errors/error.ts";

export type LogFields = Readonly<Record<string, string | number | boolean | null>>;

export interface Log {
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
}

export interface LogOptions {
  readonly process: string;
  readonly level: string;
  /** Lines for people instead of JSON. */
  readonly readable: boolean;
}

export function createLog(options: LogOptions): Log {
  const destination: DestinationStream = options.readable ? readableStream() : pino.destination(2);
  const logger = pino(
    {
      level: options.level,
      base: { process: options.process, pid: process.pid },
      messageKey: "event",
      timestamp: pino.stdTimeFunctions.isoTime,
    },
    destination,
  );
  return {
    debug: (event, fields = {}) => logger.debug(fields, event),
    info: (event, fields = {}) => logger.info(fields, event),
    warn: (event, fields = {}) => logger.warn(fields, event),
    error: (event, fields = {}) => logger.error(fields, event),
  };
}

/** The fields of an error that are safe to log: its code and values, or its class and message. */
export function errorFields(error: unknown): LogFields {
  if (error instanceof EyrieError) return { code: error.code, ...error.values };
  if (error instanceof Error) return { error: error.name, reason: error.message };
  return { error: "unknown" };
}

const colours = { 20: "gray", 30: "cyan", 40: "yellow", 50: "red", 60: "red" } as const;

function readableStream(): DestinationStream {
  return {
    write(line: string) {
      const {
        level,
        time,
        process: name,
        event,
        pid: _pid,
        ...fields
      } = JSON.parse(line) as Record<string, string | number>;
      const colour = colours[Number(level) as keyof typeof colours] ?? "gray";
      const rest = Object.entries(fields).map(([key, value]) => `${key}=${value}`);
      const clock = String(time).slice(11, 19);
      const head = `${styleText("gray", clock)} ${styleText(colour, String(name).padEnd(8))}`;
      process.stderr.write(`${head} ${event} ${styleText("gray", rest.join(" "))}\n`);
    },
  };
}

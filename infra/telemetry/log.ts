/**
 * Logs: ids, counts, durations and codes. Never message text, never a secret: the functions take no
 * turn, record or configuration, only flat fields, and a test scans the whole suite's output.
 *
 * A terminal gets one readable line per event, everything else gets JSON.
 */
import { writeSync } from "node:fs";
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
  const destination: DestinationStream = options.readable ? readableStream() : jsonStream();
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

/** For a terminal: words of others, such as a model's, may not steer it. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, "");
}

const standardError = 2;
/** A reader that is slower than us is waited for so long between two tries. */
const retryMs = 10;
/** At the end of the process it gets so many more tries. */
const lastTriesMax = 50;
/** What waits for a reader at most; lines beyond it are lost. */
const waitingBytesMax = 4 << 20;

/**
 * Lines of one turn of the event loop leave in one write, and no reader holds the process up. Not
 * pino's own destination: that one sleeps while the pipe is full, and when the reader dies meanwhile it
 * tries again for ever at the end of the process, which then never ends.
 */
class JsonStream implements DestinationStream {
  #lines = "";
  #waiting: Buffer = Buffer.alloc(0);
  #retrying = false;
  #gone = false;

  constructor() {
    process.on("exit", () => {
      for (let tries = 0; !this.#flush() && tries < lastTriesMax; tries++) {
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, retryMs);
      }
    });
  }

  write(line: string): void {
    if (this.#gone || this.#waiting.length > waitingBytesMax) return;
    if (this.#lines === "") setImmediate(() => this.#flush());
    this.#lines += line;
  }

  /** False when something is left that the reader has no room for. */
  #flush(): boolean {
    this.#waiting = Buffer.concat([this.#waiting, Buffer.from(this.#lines)]);
    this.#lines = "";
    while (this.#waiting.length > 0) {
      try {
        this.#waiting = this.#waiting.subarray(writeSync(standardError, this.#waiting));
      } catch (error) {
        this.#gone = (error as NodeJS.ErrnoException).code !== "EAGAIN";
        if (!this.#gone) {
          this.#retryLater();
          return false;
        }
        this.#waiting = Buffer.alloc(0);
      }
    }
    return true;
  }

  #retryLater(): void {
    if (this.#retrying) return;
    this.#retrying = true;
    setTimeout(() => {
      this.#retrying = false;
      this.#flush();
    }, retryMs);
  }
}

/** One for the process: what several logs say stays whole lines. */
let json: JsonStream | null = null;

function jsonStream(): DestinationStream {
  return (json ??= new JsonStream());
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
      process.stderr.write(`${head} ${event} ${styleText("gray", printable(rest.join(" ")))}\n`);
    },
  };
}

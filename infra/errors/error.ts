/**
 * One error type for everything that can go wrong in operation. Its code is the locale key under
 * `errors.json`, so no prose lives in code; `detail` is for logs and the terminal, never for Discord.
 */
import { type ErrorCode, type ErrorEntry, errorRegistry } from "./registry.ts";

export class EyrieError extends Error {
  readonly code: ErrorCode;
  /** Values for the placeholders of the localised message. */
  readonly values: Readonly<Record<string, string | number>>;

  constructor(
    code: ErrorCode,
    values: Readonly<Record<string, string | number>> = {},
    options: { cause?: unknown } = {},
  ) {
    const parts = Object.entries(values).map(([name, value]) => `${name}=${value}`);
    super(parts.length > 0 ? `${code} (${parts.join(", ")})` : code, options);
    this.name = "EyrieError";
    this.code = code;
    this.values = values;
  }

  /** Process exit code: 2 for bad usage, 1 for everything else. */
  get exitCode(): 1 | 2 {
    const entry: ErrorEntry = errorRegistry[this.code];
    return entry.usage === true ? 2 : 1;
  }
}

/**
 * The one error of the numeric rooms. Its code is a name of the platform's error registry, written
 * here as plain strings because kernels import nothing from `infra`; the application maps it.
 *
 * Only operating errors (a file is missing, broken or of the wrong kind) are a `ModelError`.
 * A caller's mistake, such as a slot that does not exist, is a `RangeError` or `TypeError`.
 */
export type ModelErrorCode =
  | "MODEL_NOT_FOUND"
  | "MODEL_BROKEN"
  | "MODEL_VERSION"
  | "MODEL_VARIANT_MISSING"
  | "VOCABULARY_MISSING"
  | "VOCABULARY_BROKEN"
  | "TOKEN_OUT_OF_RANGE"
  | "BACKEND_UNAVAILABLE"
  | "MODEL_KIND"
  | "MODEL_UNSAFE"
  | "MODEL_EXISTS"
  | "CONVERT_STOPPED"
  | "FOLDER_UNWRITABLE"
  | "DISK_FULL";

export class ModelError extends Error {
  readonly code: ModelErrorCode;
  /** Values for the placeholders of the localised message: `path`, `reason`, `line`, … */
  readonly values: Readonly<Record<string, string | number>>;

  constructor(
    code: ModelErrorCode,
    values: Readonly<Record<string, string | number>>,
    options: { cause?: unknown } = {},
  ) {
    const parts = Object.entries(values).map(([name, value]) => `${name}=${value}`);
    super(`${code} (${parts.join(", ")})`, options);
    this.name = "ModelError";
    this.code = code;
    this.values = values;
  }
}

/** The `code` of a Node system error (`ENOENT`, …), or undefined. */
export function systemErrorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

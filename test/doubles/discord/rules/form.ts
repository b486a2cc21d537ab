/**
 * Discord's "Invalid Form Body" (code 50035): errors gathered in a tree that mirrors the body, so a
 * client learns of all of them at once, then thrown together.
 */
import { ApiError } from "../rest/errors.ts";

export type Fields = Readonly<Record<string, unknown>>;
type Path = readonly (string | number)[];
interface Leaf {
  readonly code: string;
  readonly message: string;
}
interface Tree {
  [key: string]: Tree | Leaf[];
}

export const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export const fieldsOf = (value: unknown): Fields => (isFields(value) ? value : {});

export const listOf = (value: unknown): readonly Fields[] =>
  Array.isArray(value) ? value.map(fieldsOf) : [];

/** UTF-16 code units would be wrong: Discord counts code points. */
export const lengthOf = (text: string): number => Array.from(text).length;

export class Form {
  readonly #errors: Tree = {};
  #count = 0;

  fail(path: Path, code: string, message: string): void {
    let node = this.#errors;
    for (const step of path) node = (node[step] ??= {}) as Tree;
    const leaves = (node["_errors"] ??= []) as Leaf[];
    leaves.push({ code, message });
    this.#count += 1;
  }

  /** Text of `min` to `max` characters; absent is fine unless `required`. */
  text(path: Path, value: unknown, rule: { max: number; min?: number; required?: boolean }): void {
    const { max, min = 0, required = false } = rule;
    if (value === undefined || value === null) {
      if (required) this.fail(path, "BASE_TYPE_REQUIRED", "This field is required");
      return;
    }
    if (typeof value !== "string") {
      this.fail(path, "STRING_TYPE_CONVERT", "Could not interpret value as string.");
      return;
    }
    const length = lengthOf(value);
    if (length >= min && length <= max) return;
    if (min === 0) this.fail(path, "BASE_TYPE_MAX_LENGTH", `Must be ${max} or fewer in length.`);
    else this.fail(path, "BASE_TYPE_BAD_LENGTH", `Must be between ${min} and ${max} in length.`);
  }

  list(path: Path, value: unknown, rule: { max: number; min?: number }): void {
    if (value === undefined || value === null) return;
    if (!Array.isArray(value)) {
      this.fail(path, "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType");
    } else if (value.length > rule.max || value.length < (rule.min ?? 0)) {
      const between = `Must be between ${rule.min ?? 0} and ${rule.max} in length.`;
      this.fail(path, "BASE_TYPE_BAD_LENGTH", between);
    }
  }

  /** Throws what was gathered. */
  settle(): void {
    if (this.#count > 0) {
      throw new ApiError(400, 50035, { message: "Invalid Form Body", errors: this.#errors });
    }
  }
}

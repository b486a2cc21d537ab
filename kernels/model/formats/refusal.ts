/**
 * Why a file of weights is refused while it is read: one stable name, and words for a person.
 *
 * Names are grouped by what they mean to the reader of the error: `unsafe` files carry more than
 * weights, or lie about themselves; `broken` ones are damaged or not what they seem; of `unread` ones
 * nothing is known, because this machine did not get through them.
 */

const classes = {
  // ZIP
  "zip-truncated": "broken",
  "zip-end": "broken",
  "zip-split": "broken",
  zip64: "unsafe",
  "zip-directory": "unsafe",
  "zip-too-many-members": "unsafe",
  "zip-compressed": "unsafe",
  "zip-encrypted": "unsafe",
  "zip-path": "unsafe",
  "zip-duplicate": "unsafe",
  "zip-overlap": "unsafe",
  "zip-local-header": "unsafe",
  // pickle
  "pickle-missing": "broken",
  "pickle-too-large": "unsafe",
  "pickle-protocol": "unsafe",
  "pickle-truncated": "broken",
  "pickle-trailing": "unsafe",
  "pickle-opcode": "unsafe",
  "pickle-global": "unsafe",
  "pickle-call": "unsafe",
  "pickle-stack": "unsafe",
  "pickle-memo": "unsafe",
  "pickle-number": "unsafe",
  "pickle-text": "unsafe",
  "pickle-key": "unsafe",
  "pickle-too-many-values": "unsafe",
  // what the pickle says of tensors
  "byte-order": "broken",
  "not-a-state-dict": "broken",
  "too-many-tensors": "unsafe",
  "tensor-shape": "unsafe",
  "tensor-strides": "broken",
  "tensor-past-end": "unsafe",
  "storage-type": "broken",
  "storage-missing": "broken",
  "storage-size": "unsafe",
  // the child process that reads it
  "reader-failed": "unread",
  "reader-time": "unread",
} as const;

export type RefusalReason = keyof typeof classes;

export class FormatRefusal extends Error {
  readonly reason: RefusalReason;

  constructor(reason: RefusalReason, detail: string) {
    super(`${reason}: ${detail}`);
    this.name = "FormatRefusal";
    this.reason = reason;
  }

  get unsafe(): boolean {
    return classes[this.reason] === "unsafe";
  }
}

export function isRefusalReason(text: string): text is RefusalReason {
  return Object.hasOwn(classes, text);
}

/** A hostile text in an error message: quoted, short, on one line. */
export function shown(text: string): string {
  const quoted = JSON.stringify(text.slice(0, 80));
  return text.length > 80 ? `${quoted}…` : quoted;
}

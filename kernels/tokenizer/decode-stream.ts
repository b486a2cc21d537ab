/**
 * Token ids to text, one at a time. A token may end in the middle of a character, so what is not yet
 * a whole UTF-8 sequence is held back (at most 3 bytes) until it is complete, proves invalid, or
 * `flush()` is called. Invalid bytes become U+FFFD.
 *
 * Promises: all `push` results and the final `flush` joined are `TextDecoder`'s text of all the bytes.
 */
export class DecodeStream {
  readonly #bytesOf: (id: number) => Uint8Array;
  /** A byte order mark inside a reply is a character like any other. */
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  /** Something may be held back: what came last was no ASCII. */
  #midway = false;

  constructor(bytesOf: (id: number) => Uint8Array) {
    this.#bytesOf = bytesOf;
  }

  /** The text that became certain through this token; often empty inside a character. */
  push(id: number): string {
    return this.pushBytes(this.#bytesOf(id));
  }

  /** The same for a part of a token, such as the bytes before the end of a reply. */
  pushBytes(bytes: Uint8Array): string {
    if (!this.#midway) {
      const text = asciiText(bytes);
      if (text !== null) return text;
    }
    this.#midway = (bytes.at(-1) ?? asciiEnd) >= asciiEnd;
    return this.#decoder.decode(bytes, { stream: true });
  }

  /** What was held back, a partial character as U+FFFD. The stream starts afresh after it. */
  flush(): string {
    this.#midway = false;
    return this.#decoder.decode();
  }
}

const asciiEnd = 0x80;

/** Most tokens are a short English word, and for those the decoder is slow. Null if it is not ASCII. */
function asciiText(bytes: Uint8Array): string | null {
  let text = "";
  for (let index = 0; index < bytes.length; index++) {
    const byte = bytes[index]!;
    if (byte >= asciiEnd) return null;
    text += String.fromCharCode(byte);
  }
  return text;
}

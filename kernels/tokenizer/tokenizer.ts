/**
 * Text to token ids and back, by greedy longest match over UTF-8 bytes: no merges, no
 * normalisation, no splitting beforehand (ChatRWKV, rwkv_tokenizer.py).
 *
 * Promises: encoding never fails (each byte has a token; a lone surrogate becomes U+FFFD as in any
 * UTF-8 encoder); `decode(encode(x))` is `x`, byte for byte; ids without a token, such as 0, the
 * end of text, decode to nothing. Encoding never produces id 0.
 *
 * Not prefix-stable: the tokens of `a + b` need not start with the tokens of `a`. A state may only be
 * cut where one `encode` ended and the next began.
 */
import { DecodeStream } from "./decode-stream.ts";
import { buildTrie, type Trie } from "./trie.ts";
import { readVocabulary, tokenIdMax, type Vocabulary } from "./vocabulary.ts";

const noBytes = new Uint8Array(0);

export class Tokenizer {
  readonly #trie: Trie;
  readonly #vocabulary: Vocabulary;

  constructor(vocabulary: Vocabulary) {
    this.#vocabulary = vocabulary;
    this.#trie = buildTrie(vocabulary);
  }

  /** @throws ModelError `VOCABULARY_MISSING` or `VOCABULARY_BROKEN` */
  static open(path: string): Tokenizer {
    return new Tokenizer(readVocabulary(path));
  }

  /** The highest id that `encode` can return. */
  get idMax(): number {
    return this.#vocabulary.length - 1;
  }

  encode(text: string | Uint8Array): number[] {
    const bytes = typeof text === "string" ? Buffer.from(text, "utf8") : text;
    const { base, parent, token } = this.#trie;
    const ids: number[] = [];
    let position = 0;
    while (position < bytes.length) {
      let node = 0;
      let longestId = 0;
      let longestEnd = position;
      for (let i = position; i < bytes.length;) {
        const child = base[node]! + bytes[i]!;
        if (parent[child] !== node) break;
        node = child;
        i++;
        if (token[node] !== 0) {
          longestId = token[node]!;
          longestEnd = i;
        }
      }
      ids.push(longestId);
      position = longestEnd;
    }
    return ids;
  }

  /** The exact bytes; they need not be whole UTF-8 characters. */
  decode(ids: Iterable<number>): Uint8Array {
    const parts: Uint8Array[] = [];
    for (const id of ids) parts.push(this.bytesOf(id));
    return Buffer.concat(parts);
  }

  /** Empty for an id without a token. */
  bytesOf(id: number): Uint8Array {
    return id >= 0 && id <= tokenIdMax ? (this.#vocabulary[id] ?? noBytes) : noBytes;
  }

  /** Decodes a reply while it is being drawn. */
  stream(): DecodeStream {
    return new DecodeStream((id) => this.bytesOf(id));
  }
}

/**
 * What of a chat message speaks for a language, and the features counted in it. Training and
 * identification both read text through this module, so they cannot disagree. Total: any string is
 * fine, one that says nothing gives no words.
 */

/** Links, mentions, Discord's own emoji, `/commands`, `:emoji:` and code: the same in any language. */
const markup =
  /https?:\/\/\S+|<(?:[@#]|a?:)[^\s>]*>|(?<!\S)\/[\p{L}\d][\p{L}\d-]*|:\w+:|```[^`]*```|`[^`]*`/gu;
const latinWord = /[\p{Script=Latin}\p{M}\p{N}]+(?:['’][\p{Script=Latin}\p{M}\p{N}]+)*/gu;
/** Said in every language of this house; as features they would only blur the profiles. */
const neutral = new Set("bot discord eagle eaglet eyrie ok okay rwkv token".split(" "));
/** A question pasted with a whole article is settled by its beginning, at a bounded cost. */
const lettersReadMax = 200;

export const gramLengthMax = 4;

export function withoutMarkup(text: string): string {
  return text
    .slice(0, 4 * lettersReadMax)
    .replace(markup, " ")
    .slice(0, lettersReadMax);
}

/** Lower-case words in Latin letters; digits stay inside words ("3amel"), alone they are dropped. */
export function latinWords(text: string): string[] {
  const plain = text
    .normalize("NFC")
    .toLowerCase()
    .replaceAll("\u0307", "") // what lower-casing leaves of the Turkish İ
    .replaceAll("’", "'")
    .replace(/(.)\1{2,}/gu, "$1$1"); // "sooooo" is one habit, not ten letters of evidence
  const words = plain.match(latinWord) ?? [];
  return words.filter((word) => /\p{L}/u.test(word) && !neutral.has(word));
}

/** As hurried people type: "você" → "voce", "ağır" → "agir". */
export function withoutAccents(text: string): string {
  const bare = text.normalize("NFD").replace(/\p{M}/gu, "");
  return bare.replaceAll("ı", "i").replaceAll("đ", "d").normalize("NFC");
}

/** Character 1- to 4-grams of the word between edge marks, and the word as a whole. */
export function features(word: string): string[] {
  const found = [`=${word}`];
  for (let length = 1; length <= gramLengthMax; length++) found.push(...grams(word, length));
  return found;
}

export function trigrams(word: string): string[] {
  return grams(word, 3);
}

function grams(word: string, length: number): string[] {
  const marked = `_${word}_`;
  const found: string[] = [];
  for (let start = 0; start + length <= marked.length; start++) {
    const gram = marked.slice(start, start + length);
    if (gram !== "_") found.push(gram);
  }
  return found;
}

/**
 * What a reply is about, and what a program without a model would have said.
 *
 * A reply counts for the language and the intent of the hand-written answer it resembles most
 * (Jaccard similarity of character trigrams). The baseline answers with the intent of the training
 * question that is nearest to the held-out one: cosine of TF-IDF over character 1- to 3-grams.
 */

export interface Label {
  readonly language: string;
  readonly intent: string;
}

export class NearestAnswer {
  readonly #answers: { readonly label: Label; readonly grams: ReadonlySet<string> }[] = [];

  add(label: Label, answer: string): void {
    this.#answers.push({ label, grams: new Set(grams(answer, 3)) });
  }

  find(reply: string): Label {
    const found = new Set(grams(reply, 3));
    let best = { label: { language: "", intent: "" }, score: -1 };
    for (const { label, grams: wanted } of this.#answers) {
      let shared = 0;
      for (const gram of found) if (wanted.has(gram)) shared++;
      const score = shared / Math.max(1, found.size + wanted.size - shared);
      if (score > best.score) best = { label, score };
    }
    return best.label;
  }
}

export class NearestQuestion {
  readonly #labels: Label[] = [];
  readonly #counts: Map<string, number>[] = [];
  #index: Map<string, { readonly documents: number[]; readonly weights: number[] }> | null = null;

  add(label: Label, question: string): void {
    this.#labels.push(label);
    this.#counts.push(count([1, 2, 3].flatMap((size) => grams(question, size))));
  }

  find(question: string): Label {
    this.#index ??= this.#build();
    const scores = new Float64Array(this.#labels.length);
    for (const [gram, times] of count([1, 2, 3].flatMap((size) => grams(question, size)))) {
      const postings = this.#index.get(gram);
      if (postings === undefined) continue;
      // The query's own norm is the same for all documents; one idf is in the document's weight.
      const weight = times * inverseFrequency(this.#labels.length, postings.documents.length);
      for (const [place, document] of postings.documents.entries()) {
        scores[document] = (scores[document] ?? 0) + weight * (postings.weights[place] ?? 0);
      }
    }
    let best = 0;
    for (const [document, score] of scores.entries())
      if (score > (scores[best] ?? 0)) best = document;
    return this.#labels[best] ?? { language: "", intent: "" };
  }

  #build(): Map<string, { readonly documents: number[]; readonly weights: number[] }> {
    const index = new Map<string, { documents: number[]; weights: number[] }>();
    for (const [document, counts] of this.#counts.entries()) {
      for (const [gram, times] of counts) {
        const postings = index.get(gram) ?? { documents: [], weights: [] };
        postings.documents.push(document);
        postings.weights.push(times);
        index.set(gram, postings);
      }
    }
    const norms = new Float64Array(this.#labels.length);
    for (const { documents, weights } of index.values()) {
      const idf = inverseFrequency(this.#labels.length, documents.length);
      for (const [place, document] of documents.entries()) {
        weights[place] = (weights[place] ?? 0) * idf;
        norms[document] = (norms[document] ?? 0) + (weights[place] ?? 0) ** 2;
      }
    }
    for (const { documents, weights } of index.values()) {
      for (const [place, document] of documents.entries()) {
        weights[place] = (weights[place] ?? 0) / Math.sqrt(norms[document] ?? 1);
      }
    }
    return index;
  }
}

/** A reply is degenerate when it never ends, or says one run of 8 characters three times. */
export function isDegenerate(reply: { readonly text: string; readonly ended: boolean }): boolean {
  return !reply.ended || /(.{8,})\1\1/su.test(reply.text);
}

function grams(text: string, size: number): string[] {
  const characters = Array.from(` ${text.trim().toLowerCase()} `);
  return Array.from({ length: Math.max(0, characters.length - size + 1) }, (_, start) =>
    characters.slice(start, start + size).join(""),
  );
}

function count(items: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(item, (counts.get(item) ?? 0) + 1);
  return counts;
}

function inverseFrequency(all: number, having: number): number {
  return Math.log((1 + all) / (1 + having)) + 1;
}

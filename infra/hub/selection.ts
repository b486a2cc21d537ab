/**
 * From the words on the command line to the files they mean.
 *
 * Names become folders on this disk and parts of an address, so what is not plainly a name is
 * refused; nothing here touches disk or network.
 */
import { EyrieError } from "#infra/errors/error.ts";
import type { RemoteFile, Repository } from "./hub.ts";

/** What may name a folder or a file of ours: no dot in front, no separator, nothing to escape. */
const plainName = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/;
const wholeNameMax = 200;
const weightsFile = /\.(?:safetensors|st|pth|bin)$/;
const indexFile = /\.(?:safetensors|bin)\.index\.json$/;
/** `model-00001-of-00003.safetensors`: the parts of one model. */
const shard = /-\d{5}-of-\d{5}(?=\.[a-z]+$)/;

export type Wanted =
  | { readonly kind: "known"; readonly name: string }
  | { readonly kind: "repository"; readonly name: string; readonly repo: string }
  | { readonly kind: "file"; readonly name: string; readonly repo: string; readonly path: string };

export function isModelName(text: string): boolean {
  return plainName.test(text) && text.length <= wholeNameMax;
}

/** What the hub calls a file must be fit to be a file here; `.partial` is how we call ours. */
export function isFileName(text: string): boolean {
  return isModelName(text) && !/\.partial(?:\.json)?$/.test(text);
}

/** `NAME`, `owner/repo` or `owner/repo/path/to/file`. */
export function parseWanted(text: string): Wanted {
  const parts = text.split("/");
  if (!parts.every(isModelName)) {
    throw new EyrieError("USAGE", {
      reason: `"${text}" is no NAME, owner/repo or owner/repo/file`,
    });
  }
  const [owner = "", name = "", ...path] = parts;
  if (parts.length === 1) return { kind: "known", name: owner };
  const repo = `${owner}/${name}`;
  // The folder's name says all of it, so that two different things never share one.
  const folder = parts.join("--");
  if (!isModelName(folder)) {
    throw new EyrieError("USAGE", { reason: `"${text}" is too long; at most ${wholeNameMax}` });
  }
  if (path.length === 0) return { kind: "repository", name: folder, repo };
  return { kind: "file", name: folder, repo, path: path.join("/") };
}

/** Revisions go into addresses: branches, tags, commits and `refs/pr/11`. */
export function checkRevision(text: string): void {
  if (text.split("/").every(isModelName)) return;
  throw new EyrieError("USAGE", { reason: `--revision: "${text}" is no branch, tag or commit` });
}

/**
 * The weights of a repository and what belongs to them: safetensors before `.pth` before `.bin`,
 * all parts of a sharded model, our own `model.json`, the vocabulary. Several weights to choose from
 * are refused with their names.
 */
export function selectFiles(repository: Repository): readonly RemoteFile[] {
  const top = repository.files.filter(({ path }) => isFileName(path));
  const weights = selectWeights(repository.repo, top);
  const index = top.filter(({ path }) => indexFile.test(path));
  const description = top.filter(({ path }) => path === "model.json");
  const sharded = weights.length > 1;
  return [...weights, ...(sharded ? index : []), ...description, ...selectVocabulary(top)];
}

function selectWeights(repo: string, files: readonly RemoteFile[]): readonly RemoteFile[] {
  for (const ending of [/\.(?:safetensors|st)$/, /\.pth$/, /\.bin$/]) {
    const found = files.filter(({ path }) => ending.test(path));
    if (found.length === 0) continue;
    const models = new Set(found.map(({ path }) => path.replace(shard, "")));
    if (models.size === 1) return found;
    const names = found.map(({ path }) => path).join(", ");
    throw new EyrieError("PULL_AMBIGUOUS", { repo, files: names });
  }
  throw new EyrieError("HUB_NOT_FOUND", { what: `weights in ${repo}` });
}

function selectVocabulary(files: readonly RemoteFile[]): readonly RemoteFile[] {
  const named = (pattern: RegExp) => files.find(({ path }) => pattern.test(path));
  const found = named(/^rwkv_vocab_v\d+\.txt$/) ?? named(/^vocab\.txt$/);
  return found === undefined ? [] : [found];
}

/** Whether `selectFiles` could mean a file of that name. */
export function isOfModel(name: string): boolean {
  const isAside = indexFile.test(name) || name === "model.json" || isVocabulary(name);
  return isFileName(name) && (isAside || isWeights(name));
}

/** A file that is only a part of a model. */
export function isShard(name: string): boolean {
  return shard.test(name);
}

/** The weights among the names of files that came: the one to convert, a sharded model's first. */
export function weightsAmong(names: readonly string[]): string | null {
  return names.filter(isWeights).sort()[0] ?? null;
}

export function isWeights(name: string): boolean {
  return weightsFile.test(name);
}

export function vocabularyAmong(names: readonly string[]): string | null {
  return names.find(isVocabulary) ?? null;
}

function isVocabulary(name: string): boolean {
  return /vocab.*\.txt$/.test(name);
}

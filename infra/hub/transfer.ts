/**
 * One file from the hub to the disk, however often the line breaks.
 *
 * Promises that the file is in place only whole and with the digest that was expected. What came so
 * far survives cuts, Ctrl-C and restarts. When the file changed on the server meanwhile, or the
 * server cannot continue, it begins anew. Memory stays at a few chunks: a slow disk slows the reading.
 */
import type { Clock } from "#infra/clock/clock.ts";
import { EyrieError } from "#infra/errors/error.ts";
import {
  type Download,
  type Hub,
  networkReason,
  type RemoteFile,
  Setback,
  withoutQuery,
} from "./hub.ts";
import { PartialFile, type Validator } from "./partial.ts";
import { withRetries } from "./retry.ts";

export interface TransferOptions {
  readonly revision: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** A connection that brings nothing for as long is given up. */
  readonly silenceMsMax: number;
  readonly onBytes: (received: number) => void;
  readonly onRetry: (reason: string, waitMs: number) => void;
}

export async function transfer(
  hub: Hub,
  file: RemoteFile,
  target: string,
  options: TransferOptions,
): Promise<void> {
  const partial = await PartialFile.open(target, file, options.signal);
  try {
    options.onBytes(partial.received);
    if (partial.received < file.bytes || file.bytes === 0) {
      await withRetries(() => attempt(hub, file, partial, options), {
        ...options,
        progress: () => partial.received,
      });
    }
    await partial.finish();
  } finally {
    // A refusal before the first byte leaves nothing behind.
    if (partial.received === 0) partial.discard();
    await partial.close();
  }
}

async function attempt(
  hub: Hub,
  file: RemoteFile,
  partial: PartialFile,
  options: TransferOptions,
): Promise<void> {
  const silence = new AbortController();
  const dead = new Error("the connection fell silent");
  const timer = setTimeout(() => silence.abort(dead), options.silenceMsMax);
  const signal = AbortSignal.any([options.signal, silence.signal]);
  try {
    const download = await hub.download(file, {
      revision: options.revision,
      fromByte: partial.received,
      ifRange: partial.validator,
      signal,
    });
    await accept(download, file, partial);
    for await (const chunk of chunksOf(download.response)) {
      timer.refresh();
      await partial.append(chunk);
      options.onBytes(partial.received);
    }
    if (partial.received < file.bytes) throw new Setback("the connection was cut");
  } finally {
    clearTimeout(timer);
  }
}

/** Decides whether an answer continues what we have, begins anew, or is no file of ours at all. */
async function accept(download: Download, file: RemoteFile, partial: PartialFile): Promise<void> {
  const { response, origin, linkedSha256 } = download;
  const url = withoutQuery(response.url);
  const wrong = async (reason: string): Promise<never> => {
    await response.body?.cancel();
    throw new EyrieError("HUB_ANSWER", { url, reason });
  };
  const type = response.headers.get("content-type") ?? "";
  if (type.startsWith("text/html") && !/\.html?$/.test(file.path)) {
    await wrong("a web page, not the file; a proxy or a login page may have answered instead");
  }
  const { algorithm, hex } = file.digest;
  if (algorithm === "sha256" && linkedSha256 !== null && linkedSha256 !== hex) {
    await response.body?.cancel();
    throw partial.refuse(`the hub offers another file: sha256 ${linkedSha256}, not ${hex}`);
  }
  const validator = strongValidator(response, origin);
  if (response.status === 206 && continues(response, partial, { file, validator })) return;
  if (response.status === 200) {
    const length = response.headers.get("content-length");
    if (length !== null && Number(length) !== file.bytes) {
      await wrong(`${length} bytes, but the file has ${file.bytes}`);
    }
    await partial.restart(validator);
    return;
  }
  // A range that does not fit, or a 416: what we have is of no use there.
  await response.body?.cancel();
  await partial.restart(null);
  throw new Setback(`HTTP ${response.status} does not continue what is here`);
}

function continues(
  response: Response,
  partial: PartialFile,
  expected: { readonly file: RemoteFile; readonly validator: Validator | null },
): boolean {
  const { file, validator } = expected;
  const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get("content-range") ?? "");
  if (Number(range?.[1]) !== partial.received) return false;
  if (range?.[2] !== "*" && Number(range?.[2]) !== file.bytes) return false;
  const before = partial.validator;
  // Two origins name the same bytes differently; then the digest decides at the end.
  return before === null || before.origin !== validator?.origin || before.etag === validator.etag;
}

function strongValidator(response: Response, origin: string): Validator | null {
  const etag = response.headers.get("etag");
  return etag === null || etag.startsWith("W/") ? null : { etag, origin };
}

/** Its breaking off is a setback; what the reader of the chunks throws is not. */
async function* chunksOf(response: Response): AsyncGenerator<Uint8Array> {
  try {
    yield* response.body ?? [];
  } catch (cause) {
    throw new Setback(networkReason(cause), { cause });
  }
}

/** Asks a Redis whether it serves. Never throws: each way to fail is an answer. */
import { createClient } from "../address.ts";

export type Answer =
  | { readonly kind: "ready" }
  /** It is there and reads its data back in; it will serve. */
  | { readonly kind: "loading" }
  | { readonly kind: "absent"; readonly reason: string };

const connectMsMax = 2_000;

/** @param url as in `address.ts` */
export async function ping(url: string): Promise<Answer> {
  const client = createClient(url, {
    lazyConnect: true,
    enableReadyCheck: false,
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
    connectTimeout: connectMsMax,
    commandTimeout: connectMsMax,
  });
  let socketError: Error | undefined;
  client.on("error", (error: Error) => (socketError = error));
  try {
    await client.connect();
    await client.ping();
    return { kind: "ready" };
  } catch (error) {
    const reason = (socketError ?? (error as Error)).message;
    return reason.startsWith("LOADING") ? { kind: "loading" } : { kind: "absent", reason };
  } finally {
    client.disconnect();
  }
}

/**
 * Commands that are sent within one turn of the event loop leave in one write.
 *
 * The client library writes each command by itself: a system call here, and there a round of the
 * server's loop, which with `appendfsync always` may end in an fsync of its own. Under load dozens of
 * conversations send in the same turn; together they cost one of each. Alone, a command waits for the
 * rest of the turn, which is microseconds when there is nothing else to do.
 */
import type { Redis } from "ioredis";
import { isCluster } from "./address.ts";

/** Also after the connection was lost and made again. Not for clusters, which have many of them. */
export function batchWrites(client: Redis): void {
  if (isCluster(client)) return;
  const attach = (): void => corkEachTurn(client.stream);
  client.on("connect", attach);
  if (client.status === "ready") attach();
}

function corkEachTurn(stream: Redis["stream"]): void {
  const write = stream.write.bind(stream);
  let corked = false;
  const uncork = (): void => {
    corked = false;
    stream.uncork();
  };
  const corkAndWrite = (...args: Parameters<typeof write>): boolean => {
    if (!corked) {
      corked = true;
      stream.cork();
      setImmediate(uncork);
    }
    return write(...args);
  };
  stream.write = corkAndWrite as typeof stream.write;
}

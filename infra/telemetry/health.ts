/**
 * `/live` (the process runs), `/ready` (it can take work) and `/metrics` (Prometheus) of a process.
 * Liveness and readiness are different questions: a draining worker is live and not ready.
 */
import Fastify from "fastify";
import { collectDefaultMetrics, Registry } from "prom-client";
import { EyrieError } from "#infra/errors/error.ts";

export interface Readiness {
  readonly ready: boolean;
  /** Shown to operators, e.g. "draining"; no text of users. */
  readonly reason?: string;
}

export interface HealthServer {
  readonly port: number;
  close(): Promise<void>;
}

export function createMetrics(): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  return registry;
}

export async function serveHealth(options: {
  readonly host: string;
  readonly port: number;
  readonly metrics: Registry;
  readonly readiness: () => Readiness;
}): Promise<HealthServer> {
  const server = Fastify({ logger: false });
  server.get("/live", async () => ({ live: true }));
  server.get("/ready", async (_request, reply) => {
    const readiness = options.readiness();
    return reply.code(readiness.ready ? 200 : 503).send(readiness);
  });
  server.get("/metrics", async (_request, reply) =>
    reply.type(options.metrics.contentType).send(await options.metrics.metrics()),
  );
  try {
    await server.listen({ host: options.host, port: options.port });
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "EADDRINUSE" || code === "EACCES") {
      throw new EyrieError("PORT_IN_USE", { host: options.host, port: options.port });
    }
    throw error;
  }
  const address = server.server.address();
  const port = typeof address === "object" && address !== null ? address.port : options.port;
  return { port, close: () => server.close() };
}

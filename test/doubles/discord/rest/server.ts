/**
 * The HTTP side: routes under `/api/v10` (and the unversioned `/api`, as OAuth clients use), with
 * authorisation, faults, rate limits and the log around each.
 */
import { setTimeout as sleep } from "node:timers/promises";
import Fastify from "fastify";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { DoubleClock } from "../clock.ts";
import type { RestFault, RestFaults } from "../faults.ts";
import type { User } from "../world.ts";
import { ApiError, notFound, unauthorized } from "./errors.ts";
import type { RequestLog } from "./log.ts";
import { majorOf, refusal } from "./ratelimit.ts";
import type { RateLimits } from "./ratelimit.ts";
import { readBody, routeName } from "./request.ts";
import type { Answer, Call, Route } from "./request.ts";

const requestBytesMax = 25 * 1024 * 1024;

export interface RestOptions {
  readonly clock: DoubleClock;
  readonly routes: readonly Route[];
  readonly limits: RateLimits;
  readonly faults: RestFaults;
  readonly log: RequestLog;
  /** Whoever an Authorization header belongs to. */
  readonly callerOf: (authorization: string) => { kind: "bot" | "user"; user: User } | null;
}

/** null: the connection is to be reset instead of answered. */
type Outcome = (Answer & { readonly code?: number; readonly scope?: string }) | null;

export function createRestServer(options: RestOptions): FastifyInstance {
  const app = Fastify({
    bodyLimit: requestBytesMax,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 500 },
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "buffer" }, (_request, body, done) => {
    done(null, body);
  });
  for (const route of options.routes) {
    for (const prefix of ["/api/v10", "/api"]) {
      app.route({
        method: route.method,
        url: prefix + route.path,
        handler: (request, reply) => serve(options, route, { request, reply }),
      });
    }
  }
  app.setNotFoundHandler(async (request, reply) => {
    const { status, code, body } = notFound();
    const answer = { status, body, code };
    record(options, { request, route: "?", outcome: answer, body: undefined });
    return send(reply, answer);
  });
  return app;
}

interface Exchange {
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
}

async function serve(options: RestOptions, route: Route, { request, reply }: Exchange) {
  const fault = options.faults.take(routeName(route));
  if (fault?.kind === "delay") await sleep(fault.ms);
  let body: unknown;
  let outcome: Outcome;
  try {
    const read = await readBody(request.body as Buffer, request.headers["content-type"] ?? "");
    body = read.body;
    const call = {
      params: request.params as Record<string, string>,
      query: request.query as Record<string, string>,
      ...read,
    };
    outcome = await decide(options, route, { call, fault, authorization: authOf(request) });
  } catch (error) {
    outcome = answerFor(error);
  }
  record(options, { request, route: route.path, outcome, body });
  if (outcome === null) {
    reply.hijack();
    request.raw.socket.resetAndDestroy();
    return undefined;
  }
  return send(reply, outcome);
}

const authOf = (request: FastifyRequest): string => request.headers.authorization ?? "";

interface Decision {
  readonly call: Omit<Call, "caller">;
  readonly fault: RestFault | null;
  readonly authorization: string;
}

/** The order Discord's answers show: ban, authorisation, limits, then the route itself. */
async function decide(options: RestOptions, route: Route, asked: Decision): Promise<Outcome> {
  const { limits } = options;
  const bannedMs = limits.bannedForMs();
  if (bannedMs > 0) return banned(bannedMs);
  const caller = authorise(options, route, asked.authorization);
  const early = earlyFault(asked.fault);
  if (early !== undefined) return early;

  const exempt = route.auth === "token";
  const major = majorOf(route.path, asked.call.params);
  const verdict = limits.take(routeName(route), major, { exempt });
  if (verdict.refused) {
    const { scope, retryAfterMs } = verdict.refused;
    const refused = refusal(scope, retryAfterMs);
    const headers = { ...verdict.headers, ...refused.headers };
    return { status: 429, headers, body: refused.body, scope };
  }
  let answer: Exclude<Outcome, null>;
  try {
    answer = await route.handle({ ...asked.call, caller });
  } catch (error) {
    answer = answerFor(error);
  }
  if (asked.fault?.kind === "lose-answer") return null;
  return { ...answer, headers: { ...verdict.headers, ...answer.headers } };
}

function authorise(options: RestOptions, route: Route, authorization: string): User | null {
  if (route.auth === "token" || route.auth === "none") return null;
  const caller = options.callerOf(authorization);
  if (!caller || (route.auth === "bot" && caller.kind !== "bot")) throw unauthorized();
  return caller.user;
}

/** undefined: this fault lets the request through. */
function earlyFault(fault: RestFault | null): Outcome | undefined {
  switch (fault?.kind) {
    case "rate-limit": {
      const { scope = "user", retryAfterMs = 1_000, headers = true } = fault;
      const refused = refusal(scope, retryAfterMs);
      return { status: 429, scope, body: refused.body, ...(headers ? refused : { headers: {} }) };
    }
    case "server-error":
      return { status: 500, body: { message: "500: Internal Server Error", code: 0 } };
    case "bad-gateway":
      return {
        status: 502,
        body: "<html><head><title>502 Bad Gateway</title></head><body>cloudflare</body></html>",
        headers: { "content-type": "text/html" },
      };
    case "blocked":
      return {
        status: 403,
        body: "<html><head><title>Access denied</title></head><body>cloudflare</body></html>",
        headers: { "content-type": "text/html" },
      };
    case "unauthorized":
      return answerFor(unauthorized());
    case "lose-request":
      return null;
    case "lose-answer":
    case "delay":
    case undefined:
      return undefined;
  }
}

const banned = (retryAfterMs: number): Exclude<Outcome, null> => ({
  status: 429,
  headers: {
    "content-type": "text/html",
    "retry-after": String(Math.ceil(retryAfterMs / 1000)),
  },
  body: "error code: 1015",
  scope: "ban",
});

function answerFor(error: unknown): Exclude<Outcome, null> {
  if (!(error instanceof ApiError)) throw error;
  const { status, code, body, retryAfter } = error;
  if (retryAfter === null) return { status, code, body };
  const { headers } = refusal("user", retryAfter * 1000);
  return { status, code, body: { ...body, global: false }, headers, scope: "user" };
}

function record(
  options: RestOptions,
  seen: { request: FastifyRequest; route: string; outcome: Outcome; body: unknown },
): void {
  const { request, route, outcome, body } = seen;
  const status = outcome?.status ?? 0;
  const scope = outcome?.scope ?? null;
  if (status === 401 || status === 403 || (status === 429 && scope !== "shared")) {
    options.limits.noteInvalid();
  }
  options.log.add({
    atMs: options.clock.now(),
    method: request.method,
    route,
    path: request.url,
    body,
    status,
    code: outcome?.code ?? null,
    scope,
  });
}

function send(reply: FastifyReply, answer: Answer): FastifyReply {
  void reply.code(answer.status).headers({ via: "1.1 discord-double", ...answer.headers });
  if (answer.body === undefined) return reply.send();
  if (typeof answer.body === "string") return reply.send(answer.body);
  return reply.header("content-type", "application/json").send(JSON.stringify(answer.body));
}

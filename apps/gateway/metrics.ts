/** What the gateway counts. Labels are few and closed: no ids, no texts. */
import { Counter, Gauge, type Registry } from "prom-client";

export interface GatewayMetrics {
  readonly openReplies: Gauge;
  /** Messages posted, edited and removed for replies. */
  readonly requests: Counter<"kind">;
  readonly requestsFailed: Counter;
  /** Live frames taken in; those beyond the edits were coalesced. */
  readonly frames: Counter;
  readonly rateLimited: Counter<"scope">;
  readonly turns: Counter;
  readonly putBack: Counter;
  readonly refused: Counter<"code">;
  readonly delivered: Counter;
  readonly givenUp: Counter;
  /** Looks at a finished reply that no replica had yet. */
  readonly unconfirmed: Counter;
}

export function gatewayMetrics(
  registry: Registry,
  measure: { readonly openReplies: () => number },
): GatewayMetrics {
  const registers = [registry];
  const counter = <L extends string = never>(
    name: string,
    help: string,
    labelNames: readonly L[] = [],
  ): Counter<L> => new Counter({ name, help, labelNames: [...labelNames], registers });
  const openReplies: Gauge = new Gauge({
    name: "eyrie_gateway_open_replies",
    help: "Replies being shown now",
    registers,
    collect: (): void => openReplies.set(measure.openReplies()),
  });
  return {
    openReplies,
    requests: counter("eyrie_gateway_requests_total", "Requests for replies", ["kind"]),
    requestsFailed: counter("eyrie_gateway_requests_failed_total", "Such requests that failed"),
    frames: counter("eyrie_gateway_frames_total", "Live frames; more than edits: coalesced"),
    rateLimited: counter("eyrie_gateway_rate_limited_total", "Answers 429", ["scope"]),
    turns: counter("eyrie_gateway_turns_total", "Turns put into mailboxes"),
    putBack: counter("eyrie_gateway_turns_put_back_total", "Turns queued again after a failover"),
    refused: counter("eyrie_gateway_refused_total", "Messages refused", ["code"]),
    delivered: counter("eyrie_gateway_delivered_total", "Replies delivered"),
    givenUp: counter("eyrie_gateway_given_up_total", "Replies that could not be shown"),
    unconfirmed: counter("eyrie_gateway_unconfirmed_total", "Looks at replies on no replica yet"),
  };
}

/**
 * A conversation held by this worker: renewed every second, given up when that fails.
 *
 * `lost` aborts when Redis says the lease is somebody else's, or when no renewal has succeeded for
 * two thirds of its life: past that another worker may hold it, so nothing may be shown or committed
 * (the commit's own check is what makes it safe; this makes it quick).
 */
import { type Clock, every } from "#infra/clock/clock.ts";
import type { Hold, Mailbox } from "#infra/mailbox/mailbox.ts";
import { leaseMs } from "#infra/mailbox/mailbox.ts";

const renewMs = leaseMs / 3;
const silenceMsMax = (leaseMs * 2) / 3;

export interface HeldLease<H extends Hold = Hold> {
  readonly claim: H;
  readonly lost: AbortSignal;
  /** Stops renewing, without giving the lease back. */
  letGo(): void;
}

export function holdLease<H extends Hold>(mailbox: Mailbox, claim: H, clock: Clock): HeldLease<H> {
  const lost = new AbortController();
  const ended = new AbortController();
  let renewedMs = clock.monotonicMs();
  function renew(): void {
    if (clock.monotonicMs() - renewedMs > silenceMsMax) return giveUp();
    const askedMs = clock.monotonicMs();
    mailbox.renew(claim).then(
      (mine) => {
        if (mine) renewedMs = Math.max(renewedMs, askedMs);
        else giveUp();
      },
      () => {
        // Redis did not answer: the next tick decides by the time of silence.
      },
    );
  }
  function giveUp(): void {
    ended.abort();
    lost.abort();
  }
  void every(clock, { ms: renewMs, until: ended.signal }, renew);
  return { claim, lost: lost.signal, letGo: () => ended.abort() };
}

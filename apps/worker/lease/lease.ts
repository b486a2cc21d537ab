/**
 * A conversation held by this worker: renewed every second, given up when that fails.
 *
 * `lost` aborts when Redis says the lease is somebody else's, or when no renewal has succeeded for half
 * of its life: soon after that another worker may hold it, so nothing may be shown or committed (the
 * commit's own check is what makes it safe; this makes it quick). A process that was paused, or whose
 * event loop was held up, for as long has not renewed either; it finds that out before it says anything.
 */
import { type Clock, every, over } from "#infra/clock/clock.ts";
import type { Hold, Mailbox } from "#infra/mailbox/mailbox.ts";
import { leaseMs } from "#infra/mailbox/mailbox.ts";
import type { Drawn } from "#infra/mailbox/partial.ts";

const renewMs = leaseMs / 3;
const silenceMsMax = leaseMs / 2;
/** Renewals of a process come on this beat, see {@link every}. */
export const leaseBeatMs = 250;

export interface HeldLease<H extends Hold = Hold> {
  readonly claim: H;
  readonly lost: AbortSignal;
  /** From now on each renewal keeps what `drawn` says; null when there is nothing new. */
  keep(drawn: () => Drawn | null): void;
  /** Asks the clock, too: right also where no timer has run since a pause. */
  readonly mine: () => boolean;
  /** Stops renewing, without giving the lease back. */
  letGo(): void;
}

export function holdLease<H extends Hold>(mailbox: Mailbox, claim: H, clock: Clock): HeldLease<H> {
  const lost = new AbortController();
  const ended = new AbortController();
  let renewedMs = clock.monotonicMs();
  let drawn: (() => Drawn | null) | null = null;
  function renew(): void {
    if (!mine()) return;
    const askedMs = clock.monotonicMs();
    mailbox.renew(claim, drawn?.() ?? null).then(
      (renewed) => {
        if (renewed) renewedMs = Math.max(renewedMs, askedMs);
        else giveUp();
      },
      () => {
        // Redis did not answer: the next tick decides by the time of silence.
      },
    );
  }
  function mine(): boolean {
    if (!lost.signal.aborted && clock.monotonicMs() - renewedMs > silenceMsMax) giveUp();
    return !lost.signal.aborted;
  }
  function giveUp(): void {
    ended.abort(over);
    lost.abort(over);
  }
  void every(clock, { ms: renewMs, beatMs: leaseBeatMs, until: ended.signal }, renew);
  function keep(what: () => Drawn | null): void {
    drawn = what;
  }
  return { claim, lost: lost.signal, keep, mine, letGo: () => ended.abort(over) };
}

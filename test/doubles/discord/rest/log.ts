/** Every request the double answered, oldest first; bounded, so a soak does not fill memory. */

export interface LogEntry {
  readonly atMs: number;
  readonly method: string;
  /** Template, e.g. `/channels/:channel/messages`; "?" when no route matched. */
  readonly route: string;
  readonly path: string;
  readonly body: unknown;
  /** 0: the connection was reset instead of an answer. */
  readonly status: number;
  /** Discord's error code, if the answer carried one. */
  readonly code: number | null;
  readonly scope: string | null;
}

const entriesMax = 100_000;

export class RequestLog {
  #entries: LogEntry[] = [];
  #dropped = 0;

  add(entry: LogEntry): void {
    this.#entries.push(entry);
    if (this.#entries.length > entriesMax) {
      this.#dropped += entriesMax / 2;
      this.#entries = this.#entries.slice(entriesMax / 2);
    }
  }

  /** Requests of one route ("POST /channels/:channel/messages"), or all. */
  entries(route?: string): readonly LogEntry[] {
    if (route === undefined) return this.#entries;
    return this.#entries.filter((entry) => `${entry.method} ${entry.route}` === route);
  }

  get total(): number {
    return this.#dropped + this.#entries.length;
  }

  countStatus(status: number): number {
    return this.#entries.filter((entry) => entry.status === status).length;
  }
}

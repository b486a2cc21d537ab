/** How a verb that works for a while is asked to stop. */

/** Ctrl-C, a supervisor's SIGTERM, a terminal that is closed; a second of the same ends the process. */
export function askedToStop(): AbortSignal {
  const asked = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(signal, () => asked.abort());
  }
  return asked.signal;
}

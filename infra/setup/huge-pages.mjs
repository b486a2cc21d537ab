/**
 * Asks glibc for huge pages where it allocates much at once (glibc manual, "Memory Allocation
 * Tunables"; since 2.35, others ignore it). It is read when a process starts, hence an environment
 * variable and not a call.
 *
 * A step of the engine reads all weights once. In pages of 4 KiB that is bound by the look-up of
 * addresses: with pages of 2 MiB a token of a 1.5B q4 model took 44 instead of 50 ms (p10, two cores).
 * What the system allows is untouched: under `never` nothing changes.
 */

const name = "glibc.malloc.hugetlb";

/**
 * The variable's value with huge pages asked for; a choice that was made before is kept.
 * @param {string | undefined} tunables
 */
export function withHugePages(tunables) {
  const parts = partsOf(tunables);
  return parts.some((part) => part.startsWith(`${name}=`))
    ? parts.join(":")
    : [...parts, `${name}=1`].join(":");
}

/**
 * An environment for servers that copy themselves by `fork`, as Redis does to save: there huge pages
 * cost memory and pauses.
 * @param {NodeJS.ProcessEnv} environment
 */
export function withoutHugePages({ GLIBC_TUNABLES, ...others }) {
  const parts = partsOf(GLIBC_TUNABLES).filter((part) => !part.startsWith(`${name}=`));
  return parts.length === 0 ? others : { ...others, GLIBC_TUNABLES: parts.join(":") };
}

/** @param {string | undefined} tunables */
function partsOf(tunables) {
  return (tunables ?? "").split(":").filter((part) => part !== "");
}

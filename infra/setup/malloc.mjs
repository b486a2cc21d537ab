/**
 * How glibc allocates for us (glibc manual, "Memory Allocation Tunables"; others ignore it). It is read
 * when a process starts, hence an environment variable and not a call.
 *
 * Huge pages where much is allocated at once (since 2.35): a step of the engine reads all weights once. In
 * pages of 4 KiB that is bound by the look-up of addresses: with pages of 2 MiB a token of a 1.5B q4 model
 * took 44 instead of 50 ms (p10, two cores). What the system allows is untouched: under `never` nothing
 * changes.
 *
 * Two arenas for all threads of a process: left alone, glibc gives each of a dozen threads its own, and what
 * is freed in one is of no use to the others. A worker under load went on growing by a megabyte a minute,
 * its heap did not; with two it stays where it is, at the same speed.
 */

const hugePages = "glibc.malloc.hugetlb";
const chosen = { [hugePages]: "1", "glibc.malloc.arena_max": "2" };

/**
 * The variable's value with what we choose; a choice that was made before is kept.
 * @param {string | undefined} tunables
 */
export function withTunables(tunables) {
  const parts = partsOf(tunables);
  const missing = Object.entries(chosen).filter(([name]) => !parts.some(isOf(name)));
  return [...parts, ...missing.map((one) => one.join("="))].join(":");
}

/**
 * An environment for servers that copy themselves by `fork`, as Redis does to save: there huge pages
 * cost memory and pauses.
 * @param {NodeJS.ProcessEnv} environment
 */
export function withoutHugePages({ GLIBC_TUNABLES, ...others }) {
  const isHugePages = isOf(hugePages);
  const parts = partsOf(GLIBC_TUNABLES).filter((part) => !isHugePages(part));
  return parts.length === 0 ? others : { ...others, GLIBC_TUNABLES: parts.join(":") };
}

/**
 * @param {string} name
 * @returns {(part: string) => boolean}
 */
function isOf(name) {
  return (part) => part.startsWith(`${name}=`);
}

/** @param {string | undefined} tunables */
function partsOf(tunables) {
  return (tunables ?? "").split(":").filter((part) => part !== "");
}

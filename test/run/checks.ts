/** What is checked without running our code. Each counts as one test. */
export const checks: readonly { name: string; command: readonly string[] }[] = [
  { name: "types", command: ["tsc", "-p", "."] },
  { name: "types of the bootstrap", command: ["tsc", "-p", "infra/setup"] },
  { name: "lint", command: ["oxlint", "--type-aware", "."] },
  { name: "format", command: ["oxfmt", "--check", "."] },
];

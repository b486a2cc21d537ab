/** A program: writes the corpus of hostile .pth files beside itself. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { hostileFiles } from "#test/kernels/formats/hostile.ts";

for (const [name, bytes] of hostileFiles) {
  writeFileSync(join(import.meta.dirname, `${name}.pth`), bytes);
}

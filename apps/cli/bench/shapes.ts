/** Shapes that people run: the World v2 models, and the one that ships. */
import type { RandomModelShape } from "#kernels/model/random-model.ts";

export const shapeNames = ["eaglet", "0.4B", "1.5B", "3B", "7B"] as const;
export type ShapeName = (typeof shapeNames)[number];

export const worldShapes = {
  "0.4B": worldShape(24, 1024),
  "1.5B": worldShape(24, 2048),
  "3B": worldShape(32, 2560),
  "7B": worldShape(32, 4096),
} as const satisfies Record<Exclude<ShapeName, "eaglet">, RandomModelShape>;

function worldShape(layers: number, width: number): RandomModelShape {
  return { layers, heads: width / 64, headSize: 64, ffnWidth: 3.5 * width, vocabSize: 65_536 };
}

/**
 * Where each part of the canonical state lies. Byte table: `format.md`.
 *
 * Per layer, ascending: `attShift[D]`, `wkv[H][N_k][N_v]`, `ffnShift[D]`; fp32.
 */
import type { ModelConfig } from "#kernels/model/config.ts";

/** Offsets in elements, half-open: each part ends where the next begins. */
export interface LayerLayout {
  readonly attShift: number;
  readonly wkv: number;
  readonly ffnShift: number;
  readonly end: number;
}

export function layerLayout(config: ModelConfig, layer: number): LayerLayout {
  const { width, headSize } = config;
  const attShift = layer * width * (headSize + 2);
  const wkv = attShift + width;
  const ffnShift = wkv + width * headSize;
  return { attShift, wkv, ffnShift, end: ffnShift + width };
}

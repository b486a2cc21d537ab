/** Figures of an exam as bars, for the model card: one row a language. */

export interface Bar {
  readonly name: string;
  /** Percent, drawn as a bar. */
  readonly value: number;
  /** Percent, drawn as a tick across the bar. */
  readonly mark: number;
}

export interface Bars {
  readonly title: string;
  readonly value: string;
  readonly mark: string;
  readonly bars: readonly Bar[];
}

const width = 720;
const left = 48;
const right = 60;
const rowHeight = 20;
const top = 62;

export function barsSvg({ title, value, mark, bars }: Bars): string {
  const scale = (percent: number): number => (percent / 100) * (width - left - right);
  const rows = bars.map((bar, index) => {
    const y = top + index * rowHeight;
    const tick = (left + scale(bar.mark)).toFixed(1);
    return [
      `<text x="${left - 8}" y="${y + 12}" text-anchor="end" fill="#333">${bar.name}</text>`,
      `<rect x="${left}" y="${y + 2}" width="${scale(bar.value).toFixed(1)}" height="13" fill="#1f6fb2"/>`,
      `<path d="M${tick} ${y}v17" stroke="#d9480f" stroke-width="2"/>`,
      `<text x="${width - right + 8}" y="${y + 12}" fill="#333">${bar.value} %</text>`,
    ].join("");
  });
  const height = top + bars.length * rowHeight + 14;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img"`,
    ` font-family="sans-serif" font-size="12"><title>${title}</title>`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    `<text x="${left}" y="22" font-size="15" fill="#333">${title}</text>`,
    `<rect x="${left}" y="34" width="12" height="12" fill="#1f6fb2"/>`,
    `<text x="${left + 18}" y="45" fill="#333">${value}</text>`,
    `<path d="M${left + 260} 33v14" stroke="#d9480f" stroke-width="2"/>`,
    `<text x="${left + 270}" y="45" fill="#333">${mark}</text>`,
    ...rows,
    "</svg>\n",
  ].join("");
}

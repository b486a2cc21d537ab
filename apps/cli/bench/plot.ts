/** A small chart as SVG, for figures that people would rather look at than read. */

export interface Series {
  readonly name: string;
  readonly colour: string;
  /** [x, y] in data units. */
  readonly points: readonly (readonly [number, number])[];
  /** Dots without a line between them. */
  readonly dots?: true;
}

export interface Plot {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly series: readonly Series[];
}

const width = 760;
const height = 300;
const margin = { left: 64, right: 20, top: 44, bottom: 48 };

export function plotSvg(plot: Plot): string {
  const points = plot.series.flatMap((series) => series.points);
  const xMax = niceCeiling(Math.max(...points.map(([x]) => x)));
  const yMax = niceCeiling(Math.max(...points.map(([, y]) => y)));
  const toX = (x: number): string =>
    (margin.left + (x / xMax) * (width - margin.left - margin.right)).toFixed(1);
  const toY = (y: number): string =>
    (height - margin.bottom - (y / yMax) * (height - margin.top - margin.bottom)).toFixed(1);
  const quarters = [0, 0.25, 0.5, 0.75, 1];
  const grid = quarters.map((part) => {
    const y = toY(part * yMax);
    const x = toX(part * xMax);
    return [
      `<line x1="${margin.left}" y1="${y}" x2="${width - margin.right}" y2="${y}" stroke="#8884"/>`,
      text({ x: margin.left - 8, y: Number(y) + 4, anchor: "end" }, tick(part * yMax)),
      text({ x: Number(x), y: height - margin.bottom + 18, anchor: "middle" }, tick(part * xMax)),
    ].join("");
  });
  const lines = plot.series.map(({ colour, points: own, dots }) =>
    dots === true
      ? own
          .map(([x, y]) => `<circle cx="${toX(x)}" cy="${toY(y)}" r="2" fill="${colour}"/>`)
          .join("")
      : `<polyline fill="none" stroke="${colour}" stroke-width="2" points="${own
          .map(([x, y]) => `${toX(x)},${toY(y)}`)
          .join(" ")}"/>`,
  );
  const legend = plot.series.map(({ name, colour }, index) => {
    const x = margin.left + 10 + index * 230;
    const dot = `<circle cx="${x}" cy="${margin.top - 8}" r="5" fill="${colour}"/>`;
    return dot + text({ x: x + 10, y: margin.top - 4, anchor: "start" }, name);
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img"`,
    ` font-family="system-ui, sans-serif" font-size="12">`,
    `<title>${escape(plot.title)}</title>`,
    `<rect width="${width}" height="${height}" fill="#fff" rx="8"/>`,
    text({ x: margin.left, y: 20, anchor: "start", size: 15 }, plot.title),
    ...grid,
    ...lines,
    ...legend,
    text({ x: width / 2, y: height - 10, anchor: "middle" }, plot.x),
    `<g transform="translate(16 ${height / 2}) rotate(-90)">`,
    text({ x: 0, y: 0, anchor: "middle" }, plot.y),
    `</g></svg>\n`,
  ].join("");
}

interface Place {
  readonly x: number;
  readonly y: number;
  readonly anchor: "start" | "middle" | "end";
  readonly size?: number;
}

function text({ x, y, anchor, size = 12 }: Place, words: string): string {
  const place = `x="${x}" y="${y}" text-anchor="${anchor}" font-size="${size}"`;
  return `<text ${place} fill="#333">${escape(words)}</text>`;
}

function escape(words: string): string {
  return words.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

function tick(value: number): string {
  return String(Number(value.toPrecision(3)));
}

/** The next of 1, 2, 2.5, 4, 5, 8, 10 times a power of ten. */
function niceCeiling(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 2.5, 4, 5, 8, 10].find((candidate) => candidate * power >= value) ?? 10;
  return step * power;
}

export interface Bar {
  readonly name: string;
  readonly value: number;
  /** A tick across it: what it is to be compared with. */
  readonly mark?: number;
  /** Stands at its end. */
  readonly told: string;
  readonly colour: string;
}

export interface BarPart {
  readonly title: string;
  /** What the marks of its bars stand for. */
  readonly marks?: string;
  /** A line that no bar should pass. */
  readonly limit?: number;
  readonly bars: readonly Bar[];
}

const barHeight = 18;
const barGap = 6;
const namesWidth = 170;
const toldWidth = 240;
const markColour = "#d9480f";

/** Horizontal bars, one part below the other, each with a scale of its own. */
export function barsSvg(chart: {
  readonly title: string;
  readonly parts: readonly BarPart[];
}): string {
  const lines: string[] = [];
  let y = 50;
  for (const { title, marks, limit, bars } of chart.parts) {
    lines.push(text({ x: 16, y, anchor: "start", size: 13 }, title));
    if (marks !== undefined) {
      const x = width - toldWidth;
      lines.push(tickMark(x, y - 12), text({ x: x + 8, y, anchor: "start" }, marks));
    }
    y += 12;
    const values = bars.flatMap(({ value, mark }) => [value, mark ?? 0]);
    const largest = Math.max(limit ?? 0, ...values);
    const toWidth = (value: number): number =>
      (value / largest) * (width - namesWidth - toldWidth - 16);
    const top = y;
    for (const { name, value, mark, told, colour } of bars) {
      const length = toWidth(value);
      lines.push(
        text({ x: namesWidth - 8, y: y + 13, anchor: "end" }, name),
        `<rect x="${namesWidth}" y="${y}" width="${length.toFixed(1)}" height="${barHeight}"`,
        ` fill="${colour}"/>`,
        text(
          { x: namesWidth + Math.max(length, toWidth(mark ?? 0)) + 6, y: y + 13, anchor: "start" },
          told,
        ),
        mark === undefined ? "" : tickMark(namesWidth + toWidth(mark), y),
      );
      y += barHeight + barGap;
    }
    if (limit !== undefined) {
      const x = (namesWidth + toWidth(limit)).toFixed(1);
      lines.push(`<line x1="${x}" y1="${top - 4}" x2="${x}" y2="${y}" stroke="#b91c1c"/>`);
    }
    y += 28;
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${y}" role="img"`,
    ` font-family="system-ui, sans-serif" font-size="12">`,
    `<title>${escape(chart.title)}</title>`,
    `<rect width="${width}" height="${y}" fill="#fff" rx="8"/>`,
    text({ x: 16, y: 24, anchor: "start", size: 15 }, chart.title),
    ...lines,
    `</svg>\n`,
  ].join("");
}

/** As high as a bar. */
function tickMark(x: number, y: number): string {
  return `<path d="M${x.toFixed(1)} ${y - 1}v${barHeight + 2}" stroke="${markColour}" stroke-width="2"/>`;
}

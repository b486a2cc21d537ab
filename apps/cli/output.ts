/** Small things printed for people. */
import { styleText } from "node:util";

/** Two columns, the first one bold. */
export function table(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows
    .map(([name, value]) => `${styleText("bold", name.padEnd(width))}  ${value}\n`)
    .join("");
}

/** Left-aligned columns under a bold head. */
export function columns(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  return rows
    .map((row, index) => {
      const cells = row.map((cell, column) => cell.padEnd(widths[column] ?? 0));
      const line = cells.join("  ").trimEnd();
      return `${index === 0 ? styleText("bold", line) : line}\n`;
    })
    .join("");
}

/** 1 KiB = 1,024 bytes. */
export function bytes(count: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** Matrix times vector, the plain twin. Formula, shapes and traffic: `math.md`. */

/**
 * `out = matrix · x`, `matrix` being `[out.length, x.length]` row-major.
 * Products are summed in fp64 in column order and rounded once, so a row's result depends on nothing
 * but the row and `x`. Four rows at a time: four independent sums hide the latency of an addition.
 */
export function matrixVector(out: Float32Array, matrix: Float32Array, x: Float32Array): void {
  const rows = out.length;
  const columns = x.length;
  if (matrix.length !== rows * columns) {
    throw new RangeError(`a [${rows}, ${columns}] matrix has not ${matrix.length} elements`);
  }
  let row = 0;
  for (; row + 4 <= rows; row += 4) {
    const a = row * columns;
    const b = a + columns;
    const c = b + columns;
    const d = c + columns;
    let sumA = 0;
    let sumB = 0;
    let sumC = 0;
    let sumD = 0;
    for (let j = 0; j < columns; j++) {
      const value = x[j]!;
      sumA += matrix[a + j]! * value;
      sumB += matrix[b + j]! * value;
      sumC += matrix[c + j]! * value;
      sumD += matrix[d + j]! * value;
    }
    out[row] = sumA;
    out[row + 1] = sumB;
    out[row + 2] = sumC;
    out[row + 3] = sumD;
  }
  for (; row < rows; row++) {
    let sum = 0;
    for (let j = 0; j < columns; j++) sum += matrix[row * columns + j]! * x[j]!;
    out[row] = sum;
  }
}

// Masks as arrays, row by row: 255 is painted, 0 is not. No browser needed.

export function alphaOf(rgba) {
  const out = new Uint8Array(rgba.length / 4);
  for (let i = 0; i < out.length; i++) out[i] = rgba[4 * i + 3] > 127 ? 255 : 0;
  return out;
}

/** What a picture says as a mask: its alpha where it has any, its brightness otherwise. */
export function maskOf(rgba) {
  let opaque = true;
  for (let i = 3; opaque && i < rgba.length; i += 4) opaque = rgba[i] === 255;
  if (!opaque) return alphaOf(rgba);
  const out = new Uint8Array(rgba.length / 4);
  for (let i = 0; i < out.length; i++) {
    const light = 0.299 * rgba[4 * i] + 0.587 * rgba[4 * i + 1] + 0.114 * rgba[4 * i + 2];
    out[i] = light > 127 ? 255 : 0;
  }
  return out;
}

/** The transparent parts of a picture as a mask, or null where it has none. */
export function holesOf(rgba) {
  const holes = alphaOf(rgba).map((a) => 255 - a);
  return holes.some((a) => a) ? holes : null;
}

/** Fills `rgba` with one colour wherever `alpha` is painted, and with nothing elsewhere. */
export function colourIn(rgba, alpha, [red, green, blue]) {
  rgba.fill(0);
  for (let i = 0; i < alpha.length; i++) if (alpha[i]) rgba.set([red, green, blue, 255], 4 * i);
}

/** Fills `rgba` with opaque white where `alpha` is painted and opaque black elsewhere. */
export function whiteIn(rgba, alpha) {
  for (let i = 0; i < alpha.length; i++) rgba.set([alpha[i], alpha[i], alpha[i], 255], 4 * i);
}

/** Everything within `radius` pixels of a pixel of `value` becomes `value`: 255 grows the paint, 0 shrinks it. */
export function spread(alpha, width, height, radius, value) {
  const out = alpha.slice();
  for (let dy = -radius; dy <= radius; dy++) {
    const reach = Math.floor(Math.sqrt(radius * radius - dy * dy));
    for (let y = Math.max(0, -dy); y < Math.min(height, height - dy); y++) {
      const row = alpha.subarray((y + dy) * width, (y + dy + 1) * width);
      reachInRow(row, out.subarray(y * width, (y + 1) * width), reach, value);
    }
  }
  return out;
}

function reachInRow(row, out, reach, value) {
  let last = Number.NEGATIVE_INFINITY;
  let next = -1;
  for (let x = 0; x < row.length; x++) {
    if (next < x) {
      next = x;
      while (next < row.length && row[next] !== value) next++;
    }
    if (row[x] === value) last = x;
    if (x - last <= reach || (next - x <= reach && next < row.length)) out[x] = value;
  }
}

/** Paints whatever is enclosed by paint. */
export function fillHoles(alpha, width, height) {
  const outside = new Uint8Array(width * height);
  const queue = new Int32Array(width * height);
  let tail = 0;
  const add = (i) => {
    if (alpha[i] || outside[i]) return;
    outside[i] = 1;
    queue[tail++] = i;
  };
  for (let x = 0; x < width; x++) {
    add(x);
    add((height - 1) * width + x);
  }
  for (let y = 0; y < height; y++) {
    add(y * width);
    add(y * width + width - 1);
  }
  for (let head = 0; head < tail; head++) {
    const i = queue[head];
    const x = i % width;
    if (x) add(i - 1);
    if (x < width - 1) add(i + 1);
    if (i >= width) add(i - width);
    if (i < width * (height - 1)) add(i + width);
  }
  return outside.map((free) => (free ? 0 : 255));
}

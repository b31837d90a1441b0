// How a picture lies in its view, and in the larger picture of an outpainting. No browser needed.

/** Halves to even, as the server rounds. */
export const rounded = (x) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));

/** Pixels of a picture of `size` that outpainting adds at left, top, right, bottom. */
export function growth([width, height], { mode, ratio, anchor, sides }) {
  if (mode !== 'outpaint') return [0, 0, 0, 0];
  if (!ratio) return sides;
  const across = Math.max(0, rounded(height * ratio) - width);
  const down = across ? 0 : Math.max(0, rounded(width / ratio) - height);
  const left = rounded(across * anchor[0]);
  const top = rounded(down * anchor[1]);
  return [left, top, across - left, down - top];
}

/** { scale, offset } that shows a sheet of `size` with `sides` around it whole, in the middle of `box`. */
export function fitting(box, [width, height], [left, top, right, bottom]) {
  const margin = left + top + right + bottom ? 16 : 0;
  const across = (box.width - margin) / (left + width + right);
  const down = (box.height - margin) / (top + height + bottom);
  const scale = Math.min(across, down, 8);
  const x = (box.width - (width + right - left) * scale) / 2;
  const y = (box.height - (height + bottom - top) * scale) / 2;
  return { scale, offset: [x, y] };
}

/** { scale, offset } after zooming by `factor` about the point (x, y) of the view. */
export function zoomed({ scale, offset }, factor, x, y) {
  const next = Math.min(Math.max(scale * factor, 0.05), 32);
  const ratio = next / scale;
  return { scale: next, offset: [x - (x - offset[0]) * ratio, y - (y - offset[1]) * ratio] };
}

// How a picture lies in its view, what grows around it, where the bar goes. No browser needed. A place is
// { scale, offset }: a pixel x of the picture is seen at x * scale + offset.

export const WHOLE = [0, 0, 1, 1];
export const SIDES = ['left', 'top', 'right', 'bottom'];

/** Halves to even, as the server rounds. */
export const rounded = (x) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));

export const within = (x, low, high) => Math.min(Math.max(x, low), high);

/** Pixels that a picture of `size` needs at its sides to have the shape `ratio`, itself in the middle. */
export function growth([width, height], ratio) {
  const across = Math.max(0, rounded(height * ratio) - width);
  const down = across ? 0 : Math.max(0, rounded(width / ratio) - height);
  const left = rounded(across * 0.5);
  const top = rounded(down * 0.5);
  return [left, top, across - left, down - top];
}

/** The place that shows a picture of `size` with `sides` around it whole, in the middle of `box` less its margins.
 * `below`: what is left free under it; `over`: what lies there over the box, from which it is moved away where there is
 * room. */
export function fitting(box, [width, height], [left, top, right, bottom], { margin = 8, below = 0, over = 0 } = {}) {
  const room = box.height - below;
  const across = (box.width - 2 * margin) / (left + width + right);
  const down = (room - 2 * margin) / (top + height + bottom);
  const scale = Math.max(0.001, Math.min(across, down, 32));
  const x = (box.width - (width + right - left) * scale) / 2;
  const tall = (top + height + bottom) * scale;
  const y = Math.min((room - tall) / 2, Math.max(margin, (room - over - tall) / 2));
  return { scale, offset: [x, y + top * scale] };
}

/** The place after zooming by `factor` about the point (x, y) of the view. */
export function zoomed({ scale, offset }, factor, x, y, least = 0.02) {
  const next = within(scale * factor, least, 32);
  const ratio = next / scale;
  return { scale: next, offset: [x - (x - offset[0]) * ratio, y - (y - offset[1]) * ratio] };
}

/** The same place, moved so that a good part of the picture stays in sight. */
export function insight({ scale, offset }, [width, height], box, margin = 80) {
  const low = (length, room) => Math.min(margin, room / 2) - length * scale;
  const high = (room) => room - Math.min(margin, room / 2);
  return {
    scale,
    offset: [
      within(offset[0], low(width, box.width), high(box.width)),
      within(offset[1], low(height, box.height), high(box.height)),
    ],
  };
}

/** Offset of a picture that is `size` long in a view of length `room`: the middle of what lies from `low` to `high`
 * (shares) as near to the view's as no empty room asks for; a picture smaller than its view lies in the middle. */
export function middled(size, room, low, high) {
  if (size <= room) return (room - size) / 2;
  return within(room / 2 - ((low + high) / 2) * size, room - size, 0);
}

/** The box around all paint as shares of the picture, or null where there is none. */
export function boundsOf(alpha, width, height) {
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!alpha[y * width + x]) continue;
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < top) top = y;
      bottom = y;
    }
  }
  return right < 0 ? null : [left / width, top / height, (right + 1) / width, (bottom + 1) / height];
}

/** Where a bar of `size` goes: below what it belongs to (`target`, in the view), else above, and inside `room`. */
export function barPlace(target, [width, height], room, gap = 14) {
  const x = within((target[0] + target[2] - width) / 2, room[0], Math.max(room[0], room[2] - width));
  const below = target[3] + gap;
  const above = target[1] - gap - height;
  let y = below;
  if (below + height > room[3]) y = above >= room[1] ? above : room[3] - height;
  return [x, within(y, room[1], Math.max(room[1], room[3] - height))];
}

/** The part of a picture of `size` that a view shows, as [left, top, right, bottom] in pixels, or null. */
export function visible({ scale, offset }, [width, height], box) {
  const cut = (edge, length) => within(Math.floor(edge), 0, length);
  const found = [
    cut(-offset[0] / scale, width),
    cut(-offset[1] / scale, height),
    cut((box.width - offset[0]) / scale + 1, width),
    cut((box.height - offset[1]) / scale + 1, height),
  ];
  return found[2] > found[0] && found[3] > found[1] ? found : null;
}

/** The tiles of `side` pixels that cover `area`, as [column, row]. */
export function tilesOf(area, side) {
  const found = [];
  for (let row = Math.floor(area[1] / side); row * side < area[3]; row++) {
    for (let column = Math.floor(area[0] / side); column * side < area[2]; column++) found.push([column, row]);
  }
  return found;
}

/** The centre square of a picture, as shares. */
export function centreSquare([width, height]) {
  const side = Math.min(width, height);
  const left = Math.floor((width - side) / 2) / width;
  const top = Math.floor((height - side) / 2) / height;
  return [left, top, left + side / width, top + side / height];
}

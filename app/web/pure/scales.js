// What the drawer of scales shows: one cell a scale, filled as a run goes on. No browser needed.

export class Scales {
  sides = [];
  thumbs = [];
  frames = null; // the larger pictures of a finished result, once they are there
  running = false;
  shown = 0; // the scale looked back at; 0: the picture as it is

  begin(sides) {
    Object.assign(this, { sides, thumbs: [], frames: null, running: true, shown: 0 });
  }

  /** A frame of a run. What comes after the last scale stands in its place; a new window begins anew. */
  arrived({ scale, window, thumb }, first = this.first) {
    if (window !== this.window) Object.assign(this, { window, thumbs: [], first: scale });
    this.thumbs[scale - 1] = thumb;
    return first;
  }

  finished(sides, thumbs) {
    const skipped = sides.length - thumbs.length;
    Object.assign(this, { sides, running: false, frames: null, shown: 0, window: undefined });
    this.thumbs = this.sides.map((_, k) => thumbs[k - Math.max(0, skipped)] ?? null);
  }

  empty(sides) {
    Object.assign(this, { sides, thumbs: [], frames: null, running: false, shown: 0, window: undefined });
  }

  looks(frames) {
    const skipped = Math.max(0, this.sides.length - frames.length);
    this.frames = this.sides.map((_, k) => frames[k - skipped] ?? null);
  }

  /** The scale to show, in reach of what there is; the last one is the picture as it is. */
  reach(k) {
    const there = (n) => this.frames?.[n - 1];
    const last = this.sides.length;
    let at = Math.min(Math.max(Math.round(k), 1), last);
    while (at < last && !there(at)) at++;
    return at >= last ? 0 : at;
  }
}

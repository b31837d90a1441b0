// The window onto the picture: zoom, pan, and what is drawn at which place.

import { fitting, insight, middled, zoomed } from './pure/geometry.js';

const BAR = 132; // pixels that the bar takes on a phone, two rows and a line

export class View {
  #sheet;
  #at = { scale: 1, offset: [0, 0] };
  #fitted = true;
  #size = null;
  #sides = [0, 0, 0, 0];
  #moved;
  #margins = {};

  /** `moved()` is called whenever the place has changed. */
  constructor(element, sheet, moved) {
    this.element = element;
    this.#sheet = sheet;
    this.#moved = moved;
    new ResizeObserver(() => (this.#fitted ? this.fit() : this.#place(this.#at, false))).observe(element);
  }

  get at() {
    return this.#at;
  }

  get scale() {
    return this.#at.scale;
  }

  get fitted() {
    return this.#fitted;
  }

  /** A picture of this size, with so many pixels around it, is what there is to see; fitted less `margins`. */
  hold(size, sides, refit = true, margins = this.#margins) {
    const same = this.#size && size && this.#size[0] === size[0] && this.#size[1] === size[1];
    this.#size = size;
    this.#sides = sides;
    this.#margins = margins;
    if (!size) return;
    if (refit ? !same || this.#fitted : this.#fitted && !this.#whole) this.fit();
    else this.#place(this.#at, false);
  }

  fit() {
    if (!this.#size) return;
    const box = this.#box();
    const over = box.width > 600 ? 0 : BAR;
    this.#place(fitting(box, this.#size, this.#sides, { over, ...this.#margins }), true);
  }

  /** Whether all of it is in sight. */
  get #whole() {
    const { width, height } = this.#box();
    const [left, top, right, bottom] = this.#sides.map((amount) => amount * this.scale);
    const [x, y] = this.#at.offset;
    const [w, h] = this.#size.map((length) => length * this.scale);
    return x >= left && y >= top && x + w + right <= width && y + h + bottom <= height;
  }

  /** One pixel of the picture is one of the screen's; from the whole it goes to the middle of `box` (shares). */
  real(box) {
    const { width, height } = this.#box();
    const goal = 1 / (window.devicePixelRatio || 1);
    if (this.#fitted && this.#size && box) {
      const [w, h] = this.#size.map((length) => length * goal);
      const offset = [middled(w, width, box[0], box[2]), middled(h, height, box[1], box[3])];
      this.#place({ scale: goal, offset }, false);
    } else this.zoom(goal / this.scale, width / 2, height / 2);
  }

  zoom(factor, x, y) {
    const { width, height } = this.#box();
    this.#place(zoomed(this.#at, factor, x ?? width / 2, y ?? height / 2), false);
  }

  pan(dx, dy) {
    const [x, y] = this.#at.offset;
    this.#place({ scale: this.scale, offset: [x + dx, y + dy] }, false);
  }

  /** Where an event is, in the view. */
  local(event) {
    const box = this.element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  /** Where an event is, in the picture's pixels. */
  onPicture(event) {
    const [x, y] = this.local(event);
    return [(x - this.#at.offset[0]) / this.scale, (y - this.#at.offset[1]) / this.scale];
  }

  /** A box in shares of the picture, in the view's own pixels. */
  seen(box) {
    const [width, height] = this.#size;
    const { scale, offset } = this.#at;
    return box.map((share, i) => share * (i % 2 ? height : width) * scale + offset[i % 2]);
  }

  #box() {
    const box = this.element.getBoundingClientRect();
    return { width: box.width, height: box.height };
  }

  #place(at, fitted) {
    if (!this.#size) return;
    this.#fitted = fitted;
    this.#at = fitted ? at : insight(at, this.#size, this.#box());
    const [x, y] = this.#at.offset;
    Object.assign(this.#sheet.style, {
      width: `${this.#size[0] * this.scale}px`,
      height: `${this.#size[1] * this.scale}px`,
      transform: `translate(${x}px, ${y}px)`,
    });
    this.#sheet.classList.toggle('coarse', !fitted && this.scale > 3); // who zooms in asks for pixels
    this.#moved();
  }
}

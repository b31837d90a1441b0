// The window onto the sheet: zoom and pan.

import { fitting, zoomed } from './frame.js';

export class View {
  #sheet;
  #at = { scale: 1, offset: [0, 0] };
  #fitted = true;
  #fit;

  /** `room()` gives the sheet's [width, height] and the sides around it, or null while there is no picture. */
  constructor(element, sheet, room) {
    this.element = element;
    this.#sheet = sheet;
    this.#fit = room;
    new ResizeObserver(() => this.#fitted && this.fit()).observe(element);
  }

  get scale() {
    return this.#at.scale;
  }

  fit() {
    const room = this.#fit();
    const box = this.element.getBoundingClientRect();
    if (!room || !box.width) return;
    this.#place(fitting(box, ...room), true);
  }

  zoom(factor, x = this.element.clientWidth / 2, y = this.element.clientHeight / 2) {
    this.#place(zoomed(this.#at, factor, x, y), false);
  }

  pan(dx, dy) {
    const [x, y] = this.#at.offset;
    this.#place({ scale: this.#at.scale, offset: [x + dx, y + dy] }, false);
  }

  /** Where an event is, in the view. */
  local(event) {
    const box = this.element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  /** Where an event is, in the sheet's pixels. */
  onSheet(event) {
    const [x, y] = this.local(event);
    const { scale, offset } = this.#at;
    return [(x - offset[0]) / scale, (y - offset[1]) / scale];
  }

  #place(at, fitted) {
    this.#at = at;
    this.#fitted = fitted;
    this.#sheet.style.transform = `translate(${at.offset[0]}px, ${at.offset[1]}px) scale(${at.scale})`;
  }
}

// What is worked on: a picture, the paint on it, and the way back.

import { fillHoles, spread } from './pure/alpha.js';
import { boundsOf } from './pure/geometry.js';
import { Steps } from './pure/steps.js';

const SETTLED = 120; // ms after a change until the paint is measured and encoded

export class Board {
  picture = null;
  bounds = null; // of the paint, as shares of the picture
  #steps = new Steps();
  #layer;
  #told;
  #idle = 0;

  /** `told(what)` hears of every change: "picture", "paint" (at once) and "rest" (once it has settled). */
  constructor(layer, told) {
    this.#layer = layer;
    this.#told = told;
  }

  get painted() {
    return this.bounds !== null;
  }

  get #state() {
    return { picture: this.picture, alpha: this.#layer.alpha };
  }

  ways(picturesOnly) {
    return this.#steps.ways(this, picturesOnly);
  }

  remember() {
    this.#steps.remember(this.#state);
  }

  /** What was begun with remember() is not done after all. */
  takeBack() {
    this.#restore(this.#steps.takeBack());
  }

  undo(picturesOnly) {
    this.#restore(this.#steps.undo(this.#state, picturesOnly));
  }

  redo(picturesOnly) {
    this.#restore(this.#steps.redo(this.#state, picturesOnly));
  }

  #restore(state) {
    if (!state) return;
    if (state.picture === this.picture) {
      this.#layer.put(state.alpha);
      this.changed();
    } else {
      this.#put(state.picture, state.alpha);
    }
  }

  /** Another picture, with this paint or with none; the one before is the way back. */
  show(picture, alpha = null) {
    if (this.picture) this.remember();
    this.#put(picture, alpha);
  }

  /** Another version of the same: no step of its own. */
  swap(picture) {
    this.picture = picture;
    this.#told('version');
  }

  #put(picture, alpha) {
    this.picture = picture;
    this.#layer.begin(...(picture ? picture.layerSize : [1, 1]), alpha);
    this.#measure();
    this.#told('picture');
    this.changed();
  }

  /** This picture never was: the server did not take it. */
  forget(picture) {
    this.#steps.forget(picture);
    if (picture !== this.picture) return;
    const before = this.#steps.takeBack();
    this.picture = null;
    if (before) this.#restore(before);
    else this.#put(null, null);
  }

  /** A change of the paint as a whole: `step(alpha, width, height)` gives the new one. */
  change(step) {
    if (!this.picture) return;
    this.remember();
    this.#layer.put(step(this.#layer.alpha, ...this.#layer.size));
    this.changed();
  }

  clear() {
    this.change((alpha) => alpha.fill(0));
  }

  invert() {
    this.change((alpha) => alpha.map((a) => 255 - a));
  }

  fill() {
    this.change(fillHoles);
  }

  /** Grows the paint, or shrinks it. */
  grow(value) {
    const radius = Math.max(2, Math.round(Math.max(...this.#layer.size) / 128));
    this.change((alpha, w, h) => spread(alpha, w, h, radius, value));
  }

  /** To be called after every change of the paint. */
  changed() {
    this.#layer.changed();
    this.#told('paint');
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      this.#measure();
      this.#told('rest');
    }, SETTLED);
  }

  /** Knows its paint now, without waiting. */
  settle() {
    clearTimeout(this.#idle);
    this.#measure();
  }

  #measure() {
    this.bounds = this.picture ? boundsOf(this.#layer.alpha, ...this.#layer.size) : null;
  }

  /** A rectangle in pixels of the picture. */
  rectangle(left, top, width, height, erase = false) {
    if (!this.picture) return;
    const span = (from, length, factor) => {
      const start = Math.round(from * factor);
      return [start, Math.max(1, Math.round((from + length) * factor) - start)];
    };
    const [across, down] = this.#layer.size;
    const [x, w] = span(left, width, across / this.picture.size[0]);
    const [y, h] = span(top, height, down / this.picture.size[1]);
    this.remember();
    this.#layer.box(x, y, w, h, erase);
    this.changed();
  }
}

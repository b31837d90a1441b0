// Near 100 % and above: the real pixels of what is seen, tile by tile, over the smaller copy.

import { tilesOf, visible } from './pure/geometry.js';

const SIDE = 512; // pixels, as the server cuts them
const REST = 150; // ms without a movement
const KEPT = 64;
const AT_ONCE = 4;

export class Tiles {
  #editor;
  #holder;
  #due = 0;
  #ref = null;
  #images = new Map(); // by "column row", in the order of their last use
  #waiting = [];
  #going = 0;

  constructor(editor) {
    this.#editor = editor;
    this.#holder = editor.find('.tiles');
  }

  /** What is seen has moved, or is another picture. */
  look() {
    const { picture } = this.#editor.scene;
    if (picture?.ref !== this.#ref) this.#clear(picture?.ref ?? null);
    this.#holder.hidden = !this.#wanted(picture);
    clearTimeout(this.#due);
    if (!this.#holder.hidden) this.#due = setTimeout(() => this.#fill(), REST);
  }

  #wanted(picture) {
    if (!picture?.ref) return false;
    const density = this.#editor.view.scale * (window.devicePixelRatio || 1);
    return density > 0.99 || density > (1.2 * picture.sheetSize[0]) / picture.size[0];
  }

  #clear(ref) {
    this.#ref = ref;
    this.#images.clear();
    this.#waiting = [];
    this.#holder.replaceChildren();
  }

  #fill() {
    const { scene, view } = this.#editor;
    const box = view.element.getBoundingClientRect();
    const area = scene.picture?.ref === this.#ref && visible(view.at, scene.picture.size, box);
    if (!area) return;
    this.#waiting = tilesOf(area, SIDE).filter((tile) => !this.#images.has(tile.join(' ')));
    for (let i = this.#going; i < AT_ONCE; i++) this.#next();
  }

  async #next() {
    const tile = this.#waiting.shift();
    if (!tile) return;
    this.#going++;
    const ref = this.#ref;
    const [column, row] = tile;
    const answer = await this.#editor.server.ask('tile', { ref, column, row }).catch(() => null);
    this.#going--;
    if (answer && ref === this.#ref) this.#place(tile, answer.tile);
    this.#next();
  }

  #place([column, row], source) {
    const [width, height] = this.#editor.scene.picture.size;
    const image = Object.assign(new Image(), { alt: '', src: source });
    Object.assign(image.style, {
      left: `${(100 * column * SIDE) / width}%`,
      top: `${(100 * row * SIDE) / height}%`,
      width: `${(100 * Math.min(SIDE, width - column * SIDE)) / width}%`,
      height: `${(100 * Math.min(SIDE, height - row * SIDE)) / height}%`,
    });
    this.#holder.append(image);
    this.#images.set(`${column} ${row}`, image);
    if (this.#images.size > KEPT) {
      const [first, oldest] = this.#images.entries().next().value;
      oldest.remove();
      this.#images.delete(first);
    }
  }
}

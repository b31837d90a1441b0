// The paint: one colour on a canvas above the picture, in pixels of its own.

import { sheetOf } from './picture.js';
import { alphaOf, colourIn, whiteIn } from './pure/alpha.js';

const COLOUR = [240, 37, 124];
const STYLE = `rgb(${COLOUR.join(' ')})`;

export class Layer {
  #canvas;
  #pen;
  #url; // of the layer as it is; undefined when it has to be made anew

  constructor(canvas) {
    this.#canvas = canvas;
    this.#pen = canvas.getContext('2d', { willReadFrequently: true });
  }

  get size() {
    return [this.#canvas.width, this.#canvas.height];
  }

  get alpha() {
    return alphaOf(this.#pen.getImageData(0, 0, ...this.size).data);
  }

  /** A new sheet of this size, with this paint or with none. */
  begin(width, height, alpha) {
    Object.assign(this.#canvas, { width, height });
    if (alpha) this.put(alpha);
    this.changed();
  }

  put(alpha) {
    const data = this.#pen.createImageData(...this.size);
    colourIn(data.data, alpha, COLOUR);
    this.#pen.putImageData(data, 0, 0);
  }

  line(from, to, width, erase) {
    this.#pen.globalCompositeOperation = erase ? 'destination-out' : 'source-over';
    Object.assign(this.#pen, { strokeStyle: STYLE, lineCap: 'round', lineJoin: 'round', lineWidth: width });
    this.#pen.beginPath();
    this.#pen.moveTo(...from);
    this.#pen.lineTo(to[0] + 0.01, to[1]);
    this.#pen.stroke();
  }

  box(x, y, width, height, erase = false) {
    this.#pen.globalCompositeOperation = erase ? 'destination-out' : 'source-over';
    this.#pen.fillStyle = STYLE;
    this.#pen.fillRect(x, y, width, height);
  }

  area(points, erase) {
    this.#pen.globalCompositeOperation = erase ? 'destination-out' : 'source-over';
    this.#pen.fillStyle = STYLE;
    this.#pen.beginPath();
    for (const [x, y] of points) this.#pen.lineTo(x, y);
    this.#pen.fill();
  }

  changed() {
    this.#url = undefined;
  }

  /** The layer as a PNG data URL; null when nothing is painted. */
  encode() {
    if (this.#url === undefined) {
      this.#url = this.alpha.some((a) => a) ? this.#canvas.toDataURL('image/png') : null;
    }
    return this.#url;
  }

  /** The mask at the picture's own size, white on black. */
  asPicture([width, height]) {
    const small = sheetOf(...this.size);
    const pixels = new ImageData(...this.size);
    whiteIn(pixels.data, this.alpha);
    small.getContext('2d').putImageData(pixels, 0, 0);
    const full = sheetOf(width, height);
    const pen = full.getContext('2d');
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, 0, 0, width, height);
    return full;
  }
}

// Pictures: what was opened, and what was made of it. A picture is drawn onto the canvas at the size of its sheet; a
// result draws what it was made from, then what is new at its place.

import { holesOf } from './pure/alpha.js';

export const LAYER = 1024; // long side of what is painted on
const SHEET = 2048; // and of a picture on the page
const MAX_BYTES = 80 * 2 ** 20;

export function sheetOf(width, height) {
  return Object.assign(document.createElement('canvas'), { width, height });
}

const shrunk = ([width, height], side) => {
  const factor = Math.min(1, side / Math.max(width, height));
  return [Math.max(1, Math.round(width * factor)), Math.max(1, Math.round(height * factor))];
};

export class Picture {
  ref = null; // what the server calls it; null until it is there
  sent = null; // comes true when it is
  entry = null; // the result it belongs to, and which version
  version = 0;
  base = null; // what it was made from
  holes = null;

  /** `draw(pen, width, height)` puts it onto a canvas of that size. */
  constructor(size, draw) {
    this.size = size;
    this.draw = draw;
  }

  get sheetSize() {
    return shrunk(this.size, SHEET);
  }

  get layerSize() {
    return shrunk(this.size, LAYER);
  }
}

/** A picture from something that can be drawn, brought to the size of a sheet on white. */
export function pictureOf(source, size = [source.width, source.height]) {
  const [width, height] = shrunk(size, SHEET);
  const sheet = sheetOf(width, height);
  const pen = sheet.getContext('2d');
  pen.imageSmoothingQuality = 'high';
  pen.drawImage(source, 0, 0, width, height);
  source.close?.();
  const picture = new Picture(size, (to, w, h) => to.drawImage(sheet, 0, 0, w, h));
  picture.holes = transparent(sheet, picture.layerSize);
  pen.globalCompositeOperation = 'destination-over';
  pen.fillStyle = '#fff';
  pen.fillRect(0, 0, width, height);
  return picture;
}

function transparent(sheet, [width, height]) {
  const small = sheetOf(width, height).getContext('2d', { willReadFrequently: true });
  small.imageSmoothingEnabled = false;
  small.drawImage(sheet, 0, 0, width, height);
  return holesOf(small.getImageData(0, 0, width, height).data);
}

/** A plain sheet where nothing is yet. */
export function blank(size) {
  return new Picture(size, (pen, width, height) => {
    pen.fillStyle = 'rgb(128 128 128 / 0.25)';
    pen.fillRect(0, 0, width, height);
  });
}

/** One version of a result: `patch` is what stands in its box, `base` the picture around it. */
export function resultOf(entry, version, base, patch) {
  const [left, top, right, bottom] = entry.box;
  const picture = new Picture(entry.size, (pen, width, height) => {
    if (base) {
      const [x, y] = entry.grown;
      const factor = width / entry.size[0];
      pen.save();
      pen.translate(x * factor, y * factor);
      base.draw(pen, base.size[0] * factor, base.size[1] * factor);
      pen.restore();
    }
    pen.drawImage(patch, left * width, top * height, (right - left) * width, (bottom - top) * height);
  });
  return Object.assign(picture, { ref: `e${entry.number}.${version}`, entry, version, base });
}

const WRONG = 'This file is not a picture that can be opened: choose a PNG, JPEG, WebP, AVIF, TIFF or HEIC.';

/** Whether the first bytes are those of a picture: "browser", "server" (which alone can read it) or "". */
export function kindOf(bytes) {
  const at = (i, text) => [...text].every((c, n) => bytes[i + n] === c.charCodeAt(0));
  if (at(1, 'PNG') || (bytes[0] === 0xff && bytes[1] === 0xd8) || (at(0, 'RIFF') && at(8, 'WEBP'))) return 'browser';
  if (at(4, 'ftypavif') || at(4, 'ftypavis')) return 'browser';
  if (at(4, 'ftyp') || at(0, 'II*\0') || at(0, 'MM\0*')) return 'server';
  return '';
}

/** A file's picture, or null where only the server can read it. The Error says in one sentence why there is none. */
export async function decode(blob) {
  if (blob.size > MAX_BYTES) {
    const size = (blob.size / 2 ** 20).toFixed(1);
    throw new Error(`This file has ${size} MB, the limit is 80 MB: choose a smaller one.`);
  }
  const kind = kindOf(new Uint8Array(await blob.slice(0, 16).arrayBuffer()));
  if (!kind) throw new Error(WRONG);
  if (kind === 'server') return null;
  try {
    return await createImageBitmap(blob);
  } catch {
    throw new Error('This file could not be opened as a picture; it may be damaged. Choose another.');
  }
}

/** A decoded image of a data URI. */
export async function loaded(uri) {
  const image = Object.assign(new Image(), { src: uri });
  await image.decode();
  return image;
}

/** The pixels of something that can be drawn, at a size, nearest neighbour. */
export function pixelsOf(source, width, height) {
  const pen = sheetOf(width, height).getContext('2d');
  pen.imageSmoothingEnabled = false;
  pen.drawImage(source, 0, 0, width, height);
  return pen.getImageData(0, 0, width, height).data;
}

/** Offers a canvas to the visitor as a PNG file. */
export function offer(sheet, name) {
  sheet.toBlob((blob) => {
    const url = URL.createObjectURL(blob);
    handOver(url, name);
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }, 'image/png');
}

export function handOver(href, download) {
  Object.assign(document.createElement('a'), { href, download }).click();
}

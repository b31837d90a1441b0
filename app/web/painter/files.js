// Files -> pictures.

import { holesOf } from './alpha.js';

export const DISPLAY = 1024; // long side of what is painted on
const MAX_BYTES = 80 * 2 ** 20;

/** Whether the first twelve bytes are those of a PNG, JPEG or WebP. */
export function looksRight(bytes) {
  const at = (i, text) => [...text].every((c, n) => bytes[i + n] === c.charCodeAt(0));
  return at(1, 'PNG') || (bytes[0] === 0xff && bytes[1] === 0xd8) || (at(0, 'RIFF') && at(8, 'WEBP'));
}

/** The decoded picture. The Error says in one sentence why there is none. */
export async function decode(blob) {
  if (blob.size > MAX_BYTES) {
    const size = (blob.size / 2 ** 20).toFixed(1);
    throw new Error(`This file has ${size} MB, the limit is 80 MB: choose a smaller one.`);
  }
  if (!looksRight(new Uint8Array(await blob.slice(0, 12).arrayBuffer()))) {
    throw new Error('This file is not a PNG, JPEG or WebP picture: choose one of these.');
  }
  try {
    return await createImageBitmap(blob);
  } catch {
    const words = 'This file could not be opened as a picture; it may be damaged.';
    throw new Error(`${words} Choose another PNG, JPEG or WebP.`);
  }
}

export function sheetOf(width, height) {
  return Object.assign(document.createElement('canvas'), { width, height });
}

/** A picture for the painter: `sheet` is a copy on white of at most DISPLAY pixels, `original` its true size, `holes`
 * the transparent parts as a mask or null. `source` is what the server knows it by, once `sent` has come true;
 * `taken` is true once the server said that it can use it. */
export function pictureOf(bitmap) {
  const { width, height } = bitmap;
  const factor = Math.min(1, DISPLAY / Math.max(width, height));
  const sheet = sheetOf(Math.max(1, Math.round(width * factor)), Math.max(1, Math.round(height * factor)));
  const pen = sheet.getContext('2d', { willReadFrequently: true });
  pen.imageSmoothingQuality = 'high';
  pen.drawImage(bitmap, 0, 0, sheet.width, sheet.height);
  bitmap.close();
  const holes = holesOf(pen.getImageData(0, 0, sheet.width, sheet.height).data);
  pen.globalCompositeOperation = 'destination-over';
  pen.fillStyle = '#fff';
  pen.fillRect(0, 0, sheet.width, sheet.height);
  return { sheet, original: [width, height], holes, source: null, sent: null, taken: false };
}

/** The pixels of a bitmap at a size, nearest neighbour. */
export function pixelsOf(bitmap, width, height) {
  const pen = sheetOf(width, height).getContext('2d');
  pen.imageSmoothingEnabled = false;
  pen.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return pen.getImageData(0, 0, width, height).data;
}

/** Offers a canvas to the visitor as a PNG file. */
export function offer(sheet, name) {
  sheet.toBlob((blob) => {
    const link = Object.assign(document.createElement('a'), { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }, 'image/png');
}

// What stands in the sheet: the picture, what a run draws into it, the picture before, the overlays.

import { sheetOf } from './picture.js';
import { centreSquare, WHOLE } from './pure/geometry.js';

const percent = (share) => `${100 * share}%`;

function stand(element, [left, top, right, bottom]) {
  Object.assign(element.style, {
    left: percent(left),
    top: percent(top),
    width: percent(right - left),
    height: percent(bottom - top),
  });
}

export class Scene {
  #find;
  #photo = null;
  #before = null;
  #split = null;

  constructor(find) {
    this.#find = find;
    find('.divider').addEventListener('input', ({ target }) => this.#cut(target.value / 1000));
  }

  get picture() {
    return this.#photo;
  }

  show(picture) {
    this.#photo = picture;
    this.quiet();
    this.compare(null);
    if (picture) this.#draw(this.#find('.photo'), picture);
  }

  #draw(canvas, picture) {
    const [width, height] = picture.sheetSize;
    Object.assign(canvas, { width, height });
    picture.draw(canvas.getContext('2d'), width, height);
  }

  // what a run draws

  /** One step of a run: `image` stands in `box` of the picture; only where `mask` is painted, if there is one. */
  draw(image, box, mask) {
    const canvas = this.#find('.live');
    const [width, height] = [image.width, image.height];
    const factor = mask ? Math.max(1, Math.min(4, 640 / Math.max(width, height))) : 1;
    const w = Math.max(1, Math.round(width * factor));
    const h = Math.max(1, Math.round(height * factor));
    if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
    const pen = canvas.getContext('2d');
    pen.globalCompositeOperation = 'copy';
    pen.drawImage(image, 0, 0, w, h);
    if (mask) {
      pen.globalCompositeOperation = 'destination-in';
      const [left, top] = [box[0] * mask.width, box[1] * mask.height];
      pen.drawImage(mask, left, top, (box[2] - box[0]) * mask.width, (box[3] - box[1]) * mask.height, 0, 0, w, h);
    }
    stand(canvas, box);
    canvas.classList.add('on');
  }

  /** The same for a picture that grows at its sides (in its own pixels): the new part lies under the photo. */
  drawAround(image, box, [left, top, right, bottom]) {
    const canvas = this.#find('.around');
    const [width, height] = this.#photo.size;
    const [across, down] = [left + width + right, top + height + bottom];
    Object.assign(canvas, { width: image.width, height: image.height });
    canvas.getContext('2d').drawImage(image, 0, 0);
    const x = (share) => (share * across - left) / width;
    const y = (share) => (share * down - top) / height;
    stand(canvas, [x(box[0]), y(box[1]), x(box[2]), y(box[3])]);
    canvas.classList.add('on');
  }

  quiet() {
    for (const name of ['.live', '.around']) this.#find(name).classList.remove('on');
  }

  // before

  /** Shows a picture over the one that is there: all of it, or left of a divider that starts at `split`. */
  compare(before, split = null, offset = null) {
    this.#before = before;
    this.#split = split;
    const canvas = this.#find('.before');
    canvas.hidden = !before;
    this.#find('.tag').hidden = !before;
    this.#find('.divider').hidden = this.#find('.cut').hidden = !before || split === null;
    if (!before) return;
    this.#draw(canvas, before);
    const [width, height] = this.#photo.size;
    const [x, y] = offset ?? [0, 0];
    stand(
      canvas,
      offset ? [x / width, y / height, (x + before.size[0]) / width, (y + before.size[1]) / height] : WHOLE,
    );
    this.#find('.divider').value = 1000 * (split ?? 1);
    this.#cut(split ?? 1);
  }

  get comparing() {
    return { before: this.#before, split: this.#split };
  }

  #cut(share) {
    const canvas = this.#find('.before');
    if (this.#split !== null) this.#split = share;
    const left = Number.parseFloat(canvas.style.left) / 100;
    const width = Number.parseFloat(canvas.style.width) / 100;
    const cut = Math.min(1, Math.max(0, 1 - (share - left) / width));
    canvas.style.clipPath = `inset(0 ${percent(cut)} 0 0)`;
    this.#find('.cut').style.left = percent(share);
  }

  // overlays

  /** The square that a variation takes. */
  square(yes) {
    const dim = this.#find('.dim');
    dim.hidden = !yes || !this.#photo;
    if (!dim.hidden) stand(dim.firstElementChild, centreSquare(this.#photo.size));
  }
}

/** Where a run may change the picture, softly: the paint, a little blurred, at half its size. */
export function softened(paint) {
  const [width, height] = [paint.width, paint.height].map((side) => Math.ceil(side / 2));
  const soft = sheetOf(width, height);
  const pen = soft.getContext('2d');
  pen.filter = `blur(${Math.max(width, height) / 170}px)`;
  pen.drawImage(paint, 0, 0, width, height);
  pen.filter = 'none';
  pen.drawImage(paint, 0, 0, width, height);
  return soft;
}

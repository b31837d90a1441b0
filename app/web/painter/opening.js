// Pictures in: from the visitor's device, or from the server that has them already. Whatever arrives becomes the
// next step of the painter, so that undo brings back the picture before it, with its paint.

import { isRunning } from '../running.js';
import { alphaOf, maskOf } from './alpha.js';
import { decode, pictureOf, pixelsOf } from './files.js';

const WAIT = 'A run is going: wait until it has ended, or stop it, then open another picture.';
const LOST = 'The picture could not be sent to the server: check the connection and open it again.';
const GONE = 'The server did not give the picture: check the connection and try again.';

const fileData = ({ path, url, orig_name }) => ({ path, url, orig_name, meta: { _type: 'gradio.FileData' } });

async function fetched(url) {
  const answer = await fetch(url).catch(() => null);
  if (!answer?.ok) throw new Error(GONE);
  return answer.blob();
}

/** What a layer or a mask file says at the size of the painter's sheet. */
const readMask = async (blob, { width, height }, read = maskOf) => read(pixelsOf(await decode(blob), width, height));

export class Opening {
  #painter;
  #upload;
  #latest = 0;
  #going = Promise.resolve(true);

  /** `painter` has show(picture, alpha), refuse(picture, text), changeTo(alpha), arrived(picture), note(text) and the
   * `picture` shown. */
  constructor(painter, upload) {
    this.#painter = painter;
    this.#upload = upload;
  }

  /** True once nothing is being opened any more. */
  get settled() {
    return this.#going;
  }

  /** A file of the visitor's. Gives whether it is shown now. */
  file(blob, name = blob.name || 'picture.png') {
    return this.#next(async (current) => {
      const picture = pictureOf(await decode(blob));
      if (!current()) return;
      this.#painter.show(picture, picture.holes);
      picture.sent = this.#send(picture, new File([blob], name, { type: blob.type }));
    });
  }

  /** A picture that the server has: a result, an example, an original. `mask` is a file, `layer` paint as a data URL.
   * `taken`: the server has nothing more to say about it. */
  served(file, { mask = null, layer = null, taken = true } = {}) {
    return this.#next(async (current) => {
      const picture = pictureOf(await decode(await fetched(file.url)));
      let alpha = picture.holes;
      if (mask) alpha = await readMask(await fetched(mask.url), picture.sheet);
      if (layer) alpha = await readMask(await fetched(layer), picture.sheet, alphaOf);
      if (!current()) return;
      Object.assign(picture, { source: fileData(file), taken });
      this.#painter.show(picture, alpha);
      this.#painter.arrived(picture);
    });
  }

  /** A file as the mask of the picture shown. */
  mask(blob) {
    return this.#next(async (current) => {
      const { picture } = this.#painter;
      if (!picture) throw new Error('Open a picture first, then its mask.');
      const alpha = await readMask(blob, picture.sheet);
      if (current()) this.#painter.changeTo(alpha);
    });
  }

  /** Does `work` unless a run is going; what was begun later wins. */
  #next(work) {
    if (isRunning()) {
      this.#painter.note(WAIT);
      return Promise.resolve(false);
    }
    const mine = ++this.#latest;
    const current = () => mine === this.#latest;
    this.#painter.note('');
    const done = work(current).then(current, (error) => {
      if (current()) this.#painter.note(error.message);
      return false;
    });
    this.#going = done;
    return done;
  }

  async #send(picture, file) {
    try {
      const sent = await this.#upload(file);
      picture.source = fileData({ ...sent, orig_name: file.name });
    } catch {
      this.#painter.refuse(picture, LOST);
      return;
    }
    this.#painter.arrived(picture);
  }
}

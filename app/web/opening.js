// Pictures in: from the visitor's device, or from the server that has them already. Whatever arrives is the next step,
// so that undo brings back the picture before it, with its paint.

import { decode, loaded, pictureOf, pixelsOf } from './picture.js';
import { alphaOf, maskOf } from './pure/alpha.js';

const WAIT = 'A run is going: wait until it has ended, or stop it, then open another picture.';
const LOST = 'The picture could not be sent to the server: check the connection and open it again.';

/** What a layer says at the size of a picture's paint. */
export const paintOf = async (layer, picture) =>
  layer ? alphaOf(pixelsOf(await loaded(layer), ...picture.layerSize)) : null;

export class Opening {
  #editor;
  #upload;
  #latest = 0;
  #going = Promise.resolve(true);

  constructor(editor, upload) {
    this.#editor = editor;
    this.#upload = upload;
  }

  /** True once nothing is being opened any more. */
  get settled() {
    return this.#going;
  }

  /** A file of the visitor's. Gives whether it is shown now. */
  file(blob, name = blob.name || 'picture.png') {
    return this.next(async (current) => {
      const file = new File([blob], name, { type: blob.type });
      const bitmap = await decode(blob);
      if (!current()) return;
      if (!bitmap) {
        this.#editor.say('Opening …', 'running');
        const answer = await this.#send(file, true);
        const picture = pictureOf(await loaded(answer.sheet), answer.size);
        if (current()) this.#editor.opened(picture, null, answer);
        return;
      }
      const picture = pictureOf(bitmap);
      this.#editor.board.show(picture, picture.holes);
      picture.sent = this.#send(file, false).then(
        (answer) => {
          picture.size = answer.size;
          this.#editor.arrived(picture, answer);
        },
        (error) => {
          this.#editor.board.forget(picture);
          this.#editor.say(error.message, 'failed');
        },
      );
    });
  }

  /** A picture that the server has: `ask()` gives { ref, size, sheet, mask, entry }. */
  served(ask) {
    return this.next(async (current) => {
      const answer = await ask();
      const picture = await this.#editor.library.of(answer);
      const alpha = await paintOf(answer.mask, picture);
      if (current()) this.#editor.opened(picture, alpha, answer);
    });
  }

  /** A file as the mask of the picture shown. */
  mask(blob) {
    return this.next(async (current) => {
      const { picture } = this.#editor.board;
      if (!picture) throw new Error('Open a photo first, then its mask.');
      const bitmap = await decode(blob);
      if (!bitmap) throw new Error('A mask is a PNG, JPEG or WebP.');
      const shape = bitmap.width / bitmap.height / (picture.size[0] / picture.size[1]);
      const alpha = maskOf(pixelsOf(bitmap, ...picture.layerSize));
      if (!current()) return;
      this.#editor.board.change(() => alpha);
      if (Math.abs(shape - 1) > 0.02)
        this.#editor.say('The mask has another shape than the photo: it was stretched.');
    });
  }

  /** Does `work` unless a run is going; what was begun later wins. */
  next(work) {
    if (this.#editor.locked()) {
      this.#editor.around.note(WAIT);
      return Promise.resolve(false);
    }
    const mine = ++this.#latest;
    const current = () => mine === this.#latest;
    this.#editor.around.calm();
    const done = work(current).then(current, (error) => {
      if (current()) this.#editor.say(error.message, 'failed');
      return false;
    });
    this.#going = done;
    return done;
  }

  async #send(file, sheet) {
    let sent;
    try {
      sent = await this.#upload(file);
    } catch {
      throw new Error(LOST);
    }
    return this.#editor.server.ask('open', { path: sent.path, sheet });
  }
}

/** Files that are chosen, dropped or pasted, wherever on the page. */
export function listenToFiles(editor) {
  const { root, opening } = editor;
  const chosen = (selector, open) => {
    editor.find(selector).addEventListener('change', (event) => {
      const file = event.target.files[0];
      event.target.value = '';
      if (file) open(file);
    });
  };
  chosen('[data-file=picture]', (file) => opening.file(file));
  chosen('[data-file=mask]', (file) => opening.mask(file));
  for (const name of ['dragenter', 'dragover']) {
    document.addEventListener(name, (event) => {
      if (!event.dataTransfer?.types.includes('Files')) return;
      event.preventDefault();
      root.dataset.drop = 'yes';
    });
  }
  document.addEventListener('dragleave', (event) => {
    if (!event.relatedTarget) delete root.dataset.drop;
  });
  const take = (event, files) => {
    const file = [...(files ?? [])][0];
    if (!file) return;
    event.preventDefault();
    opening.file(file);
  };
  document.addEventListener('drop', (event) => {
    delete root.dataset.drop;
    take(event, event.dataTransfer?.files);
  });
  document.addEventListener('paste', (event) => {
    const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith('image/'));
    take(event, files);
  });
}

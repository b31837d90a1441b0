// Live drawing: each time the pen rests, the first scales of the part under it are drawn with one seed; all of it
// follows while nothing moves. One job in flight, always the newest paint.

import { loaded, sheetOf } from './picture.js';
import { PAINTED } from './pure/asking.js';
import { softened } from './scene.js';

export class Live {
  at = null; // where the pen was last, in shares of the picture
  #editor;
  #trigger;
  #going = null; // { id, part, heard }: what is being drawn, and whether anything of it has come
  #next = null; // and what comes after it: "first" or "whole"
  #mask = null;
  #id = 0;
  #payload = null;
  #seed = null; // that was chosen here

  constructor(editor, trigger) {
    this.#editor = editor;
    this.#trigger = trigger;
  }

  get on() {
    const { form } = this.#editor;
    return form.live && PAINTED.includes(form.mode);
  }

  get asks() {
    return this.#payload !== null;
  }

  asked() {
    const payload = this.#payload;
    this.#payload = null;
    return payload;
  }

  /** The pen rests. */
  rests() {
    const { board, form, run } = this.#editor;
    if (!this.on || run.going || !board.painted) return;
    if (form.mode === 'edit' && !form.class.value) return;
    this.#next = 'first';
    this.#cut();
    this.#go();
  }

  /** What is drawn whole gives way to newer paint, once the server has spoken of it: before, it cannot be stopped. */
  #cut() {
    if (this.#next !== 'first' || this.#going?.part !== 'whole' || !this.#going.heard) return;
    this.#going = null;
    this.#trigger('clear');
  }

  async #go() {
    const { board, form, run, layer, server } = this.#editor;
    if (this.#going || !this.#next || run.going) return;
    const part = this.#next;
    this.#next = null;
    const id = `live ${++this.#id}`;
    this.#going = { id, part };
    await board.picture?.sent;
    const mask = layer.encode();
    if (!mask || !board.picture?.ref || this.#going?.id !== id) {
      this.#going = null;
      return;
    }
    if (!form.get('seed')) {
      this.#seed = String(Math.floor(Math.random() * 2 ** 31));
      form.set('seed', this.#seed);
    }
    const image = await loaded(mask);
    const sheet = sheetOf(image.width, image.height);
    sheet.getContext('2d').drawImage(image, 0, 0);
    this.#mask = softened(sheet);
    const values = { ...form.values, candidates: 1 };
    const what = { live: part, at: this.at, ref: board.picture.ref, mask, form: values };
    this.#payload = { do: 'run', run: id, key: server.key, ...what };
    this.#editor.root.dataset.live = 'busy';
    this.#trigger('submit');
  }

  async message(message) {
    if (message.run !== this.#going?.id) return;
    this.#going.heard = true;
    if (message.kind === 'frame' || message.kind === 'sketch') {
      const image = await loaded(message.pictures[0]).catch(() => null);
      if (message.run !== this.#going?.id) return; // cut meanwhile
      const late = this.#next !== null && message.kind === 'frame';
      if (image && !late) {
        this.#editor.scene.draw(image, message.box, this.#mask);
        this.#editor.root.dataset.livepicture = 'yes';
      }
      if (message.kind === 'frame') this.#editor.drawer.arrived(message);
    }
    if (message.kind === 'failed' || message.kind === 'sketch') {
      const { part } = this.#going;
      this.#going = null;
      if (message.kind === 'failed') this.#editor.say(message.text, 'failed');
      else if (!this.#next && part === 'first') this.#next = 'whole';
      if (!this.#next) this.#editor.root.dataset.live = 'done';
      this.#go();
    } else {
      this.#cut();
      this.#go();
    }
  }

  /** A run has drawn what was seen: the next one may differ. */
  used() {
    const { form } = this.#editor;
    if (this.#seed && form.get('seed') === this.#seed) form.set('seed', '');
    this.#seed = null;
  }

  /** A stroke begins: it must be seen. */
  paints() {
    delete this.#editor.root.dataset.livepicture;
  }

  /** Something moves: what is drawn no longer fits. */
  stop() {
    if (this.#going) this.#trigger('clear');
    this.#going = this.#next = this.#payload = null;
    delete this.#editor.root.dataset.live;
    delete this.#editor.root.dataset.livepicture;
  }
}

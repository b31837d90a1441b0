// Live drawing: each time the pen rests, the first scales are drawn with one seed; the rest follow while nothing
// moves. One job in flight, always the newest paint.

import { loaded, sheetOf } from './picture.js';
import { PAINTED } from './pure/asking.js';
import { softened } from './scene.js';

export class Live {
  #editor;
  #trigger;
  #going = null; // { id, part }: what is being drawn
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
    this.#go();
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
    this.#payload = { do: 'run', live: part, run: id, key: server.key, ref: board.picture.ref, mask, form: values };
    this.#editor.root.dataset.live = 'busy';
    this.#trigger('submit');
  }

  async message(message) {
    if (message.run !== this.#going?.id) return;
    if (message.kind === 'frame' || message.kind === 'sketch') {
      const image = await loaded(message.pictures[0]).catch(() => null);
      const late = this.#next !== null && message.kind === 'frame';
      if (image && !late && message.run === this.#going?.id) {
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
    } else if (this.#next === 'first' && this.#going.part === 'whole') {
      this.#going = null;
      this.#trigger('clear');
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

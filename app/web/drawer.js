// The drawer: the scales of the run or of the result shown, and its versions.

import { loaded } from './picture.js';
import { Scales } from './pure/scales.js';

const PLAY = 160; // ms a scale is shown for

export class Drawer {
  #editor;
  #list;
  #range;
  #images = [];
  #timer = 0;
  #asked = '';
  #entry = null; // whose scales these are
  scales = new Scales();

  constructor(editor) {
    this.#editor = editor;
    this.#list = editor.find('#scales');
    this.#range = editor.find('#scrub');
    this.#range.addEventListener('input', () => this.look(+this.#range.value));
    this.#list.addEventListener('click', (event) => {
      const button = event.target.closest('button');
      if (button && !button.disabled) this.look(+button.dataset.scale);
    });
    editor.find('.versions').addEventListener('click', (event) => {
      const button = event.target.closest('button');
      if (button && !editor.locked()) editor.showVersion(+button.dataset.version);
    });
  }

  /** A model's scales, with nothing drawn yet. */
  empty(sides) {
    this.#entry = null;
    this.scales.empty(sides);
    this.#draw();
    this.versions(null);
  }

  begin(sides) {
    this.#entry = null;
    this.stop();
    this.scales.begin(sides);
    this.versions(null);
    this.#draw();
  }

  arrived(frame) {
    this.scales.arrived(frame);
    this.#draw();
  }

  /** The result that the picture belongs to, or null. */
  show(picture) {
    this.stop();
    const entry = picture?.entry;
    if (!entry) {
      this.empty(this.#editor.sides);
      return;
    }
    const waiting = entry.number === this.#entry ? this.scales.thumbs : []; // no empty strip between two versions
    this.#entry = entry.number;
    this.scales.finished(entry.sides, picture.version === 0 ? entry.thumbs : waiting);
    this.#draw();
    this.versions(picture);
    this.#fetch(picture);
  }

  async #fetch(picture) {
    this.#asked = picture.ref;
    const { frames } = await this.#editor.server.ask('frames', { ref: picture.ref }).catch(() => ({ frames: [] }));
    const images = await Promise.all(frames.map(loaded));
    if (this.#asked !== picture.ref || this.scales.running) return;
    this.scales.looks(frames);
    this.#images = this.scales.frames.map((frame) => images[frames.indexOf(frame)] ?? null);
    const { thumbs } = this.scales;
    this.scales.thumbs = this.scales.frames.map((frame, k) => (picture.version ? frame : (thumbs[k] ?? frame)));
    this.#draw();
  }

  /** Shows the picture as it was after scale k; the last scale is the picture as it is. */
  look(k) {
    if (!this.scales.frames) return;
    this.scales.shown = this.scales.reach(k);
    const { shown } = this.scales;
    this.#editor.lookBack(shown ? this.#images[shown - 1] : null);
    this.#mark();
  }

  get shown() {
    return this.scales.shown;
  }

  play() {
    if (this.#timer) {
      this.stop();
      return;
    }
    if (!this.scales.frames) return;
    let k = this.scales.frames.findIndex((frame) => frame) + 1;
    const last = this.scales.sides.length;
    const step = () => {
      this.look(k);
      this.#timer = k < last ? setTimeout(step, PLAY * (k < 4 ? 1.5 : 1)) : 0;
      k++;
      this.#editor.find('[data-act=play]').classList.toggle('on', this.#timer !== 0);
    };
    step();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#editor.find('[data-act=play]').classList.remove('on');
  }

  #draw() {
    const { sides, thumbs, frames } = this.scales;
    if (this.#list.children.length !== sides.length) {
      this.#list.replaceChildren(...sides.map((_, k) => this.#cell(k)));
      this.#range.max = sides.length;
    }
    [...this.#list.children].forEach((item, k) => {
      const button = item.firstElementChild;
      const image = button.querySelector('img');
      const source = thumbs[k];
      const size = `${sides[k]}×${sides[k]}`;
      button.querySelector('small').textContent = size;
      button.setAttribute('aria-label', `${size} tokens, scale ${k + 1} of ${sides.length}`);
      button.classList.toggle('there', Boolean(source));
      if (source && image.src !== source) image.src = source;
      if (!source) image.removeAttribute('src');
      button.disabled = !(frames?.[k] || (frames && k === sides.length - 1));
    });
    this.#mark();
  }

  #cell(k) {
    const item = document.createElement('li');
    const button = Object.assign(document.createElement('button'), { type: 'button', disabled: true });
    button.dataset.scale = k + 1;
    button.append(Object.assign(document.createElement('img'), { alt: '' }), document.createElement('small'));
    item.append(button);
    return item;
  }

  #mark() {
    const { sides, shown, frames, running, thumbs } = this.scales;
    const at = running ? thumbs.length : shown || sides.length;
    this.#range.value = at;
    this.#range.disabled = !frames;
    this.#editor.find('[data-act=play]').disabled = !frames;
    const go = this.#editor.find('#continue');
    const entry = this.#editor.board.picture?.entry;
    go.disabled = running || !entry || !frames || !(shown || entry.sketch);
    go.textContent = entry?.sketch ? 'Finish this version' : shown ? `Continue from ${shown}` : 'Continue from here';
    [...this.#list.children].forEach((item, k) => {
      const button = item.firstElementChild;
      button.setAttribute('aria-pressed', String(!running && frames !== null && k + 1 === at));
      button.tabIndex = k + 1 === at || (at > sides.length && !k) ? 0 : -1;
    });
  }

  /** The versions of a result, cropped to what is new in them. */
  versions(picture) {
    const row = this.#editor.find('.versions');
    const entry = picture?.entry;
    row.hidden = !entry || entry.pictures.length < 2;
    if (row.hidden) {
      row.replaceChildren();
      return;
    }
    row.replaceChildren(...entry.pictures.map((source, i) => this.#version(entry, source, i, i === picture.version)));
  }

  #version(entry, source, i, on) {
    const button = Object.assign(document.createElement('button'), { type: 'button', tabIndex: on ? 0 : -1 });
    button.dataset.version = i;
    button.setAttribute('aria-pressed', String(on));
    const likeliest = i === entry.likeliest;
    button.setAttribute('aria-label', `Version ${i + 1}${likeliest ? ', the likeliest' : ''}`);
    if (likeliest) button.title = 'What the model itself finds likeliest is a little nearer to the true picture';
    button.append(Object.assign(document.createElement('img'), { alt: '', src: source }));
    const words = likeliest ? 'likeliest' : `${i + 1}`;
    button.append(Object.assign(document.createElement('small'), { textContent: words }));
    return button;
  }
}

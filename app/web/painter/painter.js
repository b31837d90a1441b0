// The mask painter: a picture and a paint layer on two 2D canvases. Everything the page needs from it is on
// window.painter.

import { isRunning } from '../running.js';
import { fillHoles, spread } from './alpha.js';
import { Cells } from './cells.js';
import { offer } from './files.js';
import { growth } from './frame.js';
import { listenToFiles, listenToKeys } from './input.js';
import { Layer } from './layer.js';
import { Opening } from './opening.js';
import { listenToPointers } from './pointer.js';
import { Steps } from './steps.js';
import { View } from './view.js';

const PAINTED = 120; // ms after a change until the paint is encoded
const AHEAD = 300; // and until the server may prepare a run
const UNPAINTED = 'Paint first: then the tokens that will be redrawn can be shown.';

class Painter {
  picture = null;
  tool = 'brush';
  #form = { mode: 'inpaint', ratio: null, anchor: [0.5, 0.5], sides: [0, 0, 0, 0] }; // what the page's settings say
  #steps = new Steps();
  #idle = 0;
  #due = 0;

  constructor(element, trigger, upload) {
    this.find = (selector) => element.querySelector(selector);
    this.element = element;
    this.root = this.find('.mp');
    this.trigger = trigger;
    this.layer = new Layer(this.find('.mp-mask'));
    this.view = new View(this.find('.mp-view'), this.find('.mp-sheet'), () => this.#room());
    this.cells = new Cells(
      this.find('.mp-cells'),
      this.find('[data-act=cells]'),
      this.find('[data-cellscale]'),
      this.find('.mp-scales output'),
    );
    this.opening = new Opening(this, upload);
  }

  ready() {
    return this.picture !== null;
  }

  paints() {
    return this.#form.mode === 'inpaint' || this.#form.mode === 'edit';
  }

  brushWidth() {
    return (+this.find('[data-size]').value * Math.max(...this.layer.size)) / 1024;
  }

  note(text, kind = 'error') {
    const line = this.find('.mp-note');
    line.textContent = text;
    line.dataset.kind = kind;
  }

  // steps

  get #state() {
    return { picture: this.picture, alpha: this.layer.alpha };
  }

  remember() {
    this.#steps.remember(this.#state);
  }

  /** What was begun with remember() is not done after all. */
  takeBack() {
    this.#restore(this.#steps.takeBack());
  }

  undo() {
    this.#restore(this.#steps.undo(this.#state, !this.paints()));
  }

  redo() {
    this.#restore(this.#steps.redo(this.#state, !this.paints()));
  }

  #restore(state) {
    if (!state) return;
    if (state.picture === this.picture) {
      this.layer.put(state.alpha);
      this.changed();
    } else {
      this.#put(state.picture, state.alpha);
      this.arrived(state.picture);
    }
  }

  /** A change of the paint as a whole: `step(alpha, width, height)` gives the new one. */
  change(step) {
    if (!this.picture) return;
    this.remember();
    this.layer.put(step(this.layer.alpha, ...this.layer.size));
    this.changed();
  }

  changeTo(alpha) {
    this.change(() => alpha);
  }

  /** To be called after every change of the paint. */
  changed() {
    this.layer.changed();
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      this.root.dataset.painted = this.layer.encode() ? 'yes' : 'no';
    }, PAINTED);
    this.#enable();
    if (this.cells.open) this.cells.show(null);
    this.ahead();
  }

  #enable() {
    const ways = this.#steps.ways(this, !this.paints());
    this.find('[data-act=undo]').disabled = !ways.back;
    this.find('[data-act=redo]').disabled = !ways.forth;
  }

  /** After a pause in painting, the server keeps what is here and encodes what a run would need now. */
  ahead() {
    clearTimeout(this.#due);
    delete this.root.dataset.prepared;
    this.#due = setTimeout(() => {
      if (this.picture?.taken && !isRunning()) this.trigger('release');
    }, AHEAD);
  }

  // pictures

  show(picture, alpha) {
    if (this.picture) this.remember();
    this.#put(picture, alpha);
  }

  #put(picture, alpha) {
    const { width, height } = picture.sheet;
    const [across, down] = picture.original;
    this.picture = picture;
    for (const canvas of [this.find('.mp-picture'), this.find('.mp-cells')]) Object.assign(canvas, { width, height });
    this.find('.mp-picture').getContext('2d').drawImage(picture.sheet, 0, 0);
    this.layer.begin(width, height, alpha);
    Object.assign(this.find('.mp-sheet').style, { width: `${width}px`, height: `${height}px` });
    Object.assign(this.root.dataset, { ready: `${width}x${height}`, original: `${across}x${down}` });
    for (const input of this.element.querySelectorAll('.mp-rect input')) {
      input.max = input.name === 'left' || input.name === 'width' ? across : down;
    }
    this.#frame();
    this.view.fit();
    this.changed();
  }

  /** This picture is on the server. Until it is `taken`, the server is asked what there is to say about it. */
  arrived(picture) {
    if (picture !== this.picture || !picture.source) return;
    if (picture.taken) this.ahead();
    else this.trigger('upload');
  }

  /** The server did not take this picture: back to what was there before it. */
  refuse(picture, text) {
    this.#steps.forget(picture);
    if (picture !== this.picture) return;
    const before = this.#steps.takeBack();
    this.picture = null;
    if (before) {
      this.#restore(before);
    } else {
      delete this.root.dataset.ready;
      this.layer.begin(1, 1);
      this.changed();
    }
    this.note(text);
  }

  /** What the server says about a picture; of one that is gone nobody needs to hear. */
  opened(answer) {
    const { picture } = this;
    if (!answer || !picture || (answer.file && answer.file !== picture.source?.path)) return;
    if (answer.error) {
      this.refuse(picture, answer.error);
      return;
    }
    picture.taken = true;
    window.page.calm();
    if (answer.notices.length) this.note(answer.notices.join(' '), 'notice');
    this.ahead();
  }

  /** What a run sends, once it is all there. A picture that did not reach the server is sent as none. */
  async submit() {
    await this.opening.settled;
    const { picture } = this;
    await picture?.sent;
    return { source: picture?.source ?? null, mask: picture ? this.layer.encode() : null };
  }

  // the larger picture of an outpainting

  #growth() {
    return this.picture ? growth(this.picture.original, this.#form) : [0, 0, 0, 0];
  }

  #room() {
    if (!this.picture) return null;
    const { sheet, original } = this.picture;
    const sides = this.#growth().map((pixels) => (pixels * sheet.width) / original[0]);
    return [[sheet.width, sheet.height], sides];
  }

  #frame() {
    const sides = this.#growth();
    const [left, top, right, bottom] = sides;
    const grows = sides.some((pixels) => pixels > 0);
    const edge = this.find('.mp-frame');
    this.root.dataset.mode = this.#form.mode;
    edge.hidden = !grows;
    let words = '';
    if (grows) {
      const { sheet, original } = this.picture;
      const factor = sheet.width / original[0];
      ['left', 'top', 'right', 'bottom'].forEach((side, i) => {
        edge.style[side] = `${-sides[i] * factor}px`;
      });
      words = `${original[0] + left + right} × ${original[1] + top + bottom} px`;
    }
    this.find('.mp-grown').textContent = words;
  }

  /** The page's controls, whenever one that matters here changes. */
  settings([mode, ratio, anchor, ...rest], ratios, anchors) {
    const shown = () => this.find('.mp-grown').textContent + this.paints();
    const before = shown();
    const sides = rest.slice(0, 4).map((side) => Math.max(0, Math.round(+side || 0)));
    this.#form = { mode, ratio: ratios[ratio], anchor: anchors[anchor], sides };
    this.#frame();
    if (this.picture) this.#enable();
    this.ahead();
    if (mode === 'outpaint' || before !== shown()) this.view.fit(); // other settings leave the zoom alone
  }

  // tools

  pick(tool) {
    this.tool = tool;
    this.view.element.dataset.tool = tool;
    for (const button of this.element.querySelectorAll('button[data-tool]')) {
      button.setAttribute('aria-pressed', String(button.dataset.tool === tool));
    }
  }

  act(name) {
    const radius = Math.max(2, Math.round(Math.max(...this.layer.size) / 128));
    const acts = {
      open: () => this.find('[data-file=picture]').click(),
      openmask: () => this.find('[data-file=mask]').click(),
      savemask: () => this.#saveMask(),
      undo: () => this.undo(),
      redo: () => this.redo(),
      clear: () => this.change((alpha) => alpha.fill(0)),
      invert: () => this.change((alpha) => alpha.map((a) => 255 - a)),
      fill: () => this.change(fillHoles),
      grow: () => this.change((alpha, w, h) => spread(alpha, w, h, radius, 255)),
      shrink: () => this.change((alpha, w, h) => spread(alpha, w, h, radius, 0)),
      fit: () => this.view.fit(),
      in: () => this.view.zoom(1.25),
      out: () => this.view.zoom(0.8),
      cells: () => this.#askForCells(),
    };
    acts[name]?.();
  }

  /** A rectangle in pixels of the picture. */
  addRectangle(left, top, width, height) {
    if (!this.picture) {
      this.note('Open a picture first.');
      return;
    }
    const { sheet, original } = this.picture;
    const span = (from, length, factor) => {
      const start = Math.round(from * factor);
      return [start, Math.max(1, Math.round((from + length) * factor) - start)];
    };
    const [x, across] = span(left, width, sheet.width / original[0]);
    const [y, down] = span(top, height, sheet.height / original[1]);
    this.remember();
    this.layer.box(x, y, across, down);
    this.changed();
  }

  #saveMask() {
    if (this.picture) offer(this.layer.asPicture(this.picture.original), 'mask.png');
    else this.note('There is no mask yet: open a picture and paint.');
  }

  #askForCells() {
    if (this.cells.open) {
      this.cells.show(null);
    } else if (!this.picture || !this.layer.encode()) {
      this.note(UNPAINTED);
    } else {
      this.note('');
      this.trigger('input');
    }
  }

  setCells(answer) {
    if (answer?.error) this.note(answer.error);
    else if (answer) this.cells.show(answer);
  }
}

export function start(element, trigger, upload) {
  const painter = new Painter(element, trigger, upload);
  listenToPointers(painter, painter.view, painter.layer, painter.find('.mp-ring'));
  listenToFiles(painter);
  listenToKeys(painter);
  element.addEventListener('click', (event) => {
    const { tool, act } = event.target.closest('button')?.dataset ?? {};
    if (tool) painter.pick(tool);
    else if (act) painter.act(act);
  });
  painter.find('.mp-rect').addEventListener('submit', (event) => {
    event.preventDefault();
    const { left, top, width, height } = event.target.elements;
    painter.addRectangle(+left.value, +top.value, +width.value, +height.value);
  });
  painter.pick('brush');
  window.painter = {
    ready: () => painter.ready(),
    file: () => painter.picture?.source ?? null,
    openServed: (file, options) => painter.opening.served(file, options),
    opened: (answer) => painter.opened(answer),
    submit: () => painter.submit(),
    settings: (...values) => painter.settings(...values),
    setCells: (answer) => painter.setCells(answer),
    prepared: (yes) => {
      if (yes) painter.root.dataset.prepared = 'yes';
    },
  };
}

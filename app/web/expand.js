// The frame of a picture that grows: its edges are dragged, or moved by the arrow keys.

import { growth, SIDES } from './pure/geometry.js';

const MOST = 16_384;

export class Expand {
  #editor;
  #frame;
  #drag = null;

  constructor(editor) {
    this.#editor = editor;
    this.#frame = editor.find('.frame');
    this.#frame.addEventListener('pointerdown', (event) => this.#down(event));
    this.#frame.addEventListener('pointermove', (event) => this.#move(event));
    for (const name of ['pointerup', 'pointercancel']) this.#frame.addEventListener(name, () => this.#up());
    this.#frame.addEventListener('keydown', (event) => this.#key(event));
  }

  get sides() {
    const { form, board } = this.#editor;
    return form.mode === 'outpaint' && board.picture ? form.sides : [0, 0, 0, 0];
  }

  get grown() {
    return this.sides.some((amount) => amount > 0);
  }

  /** The shape chosen in the bar decides. */
  shape() {
    const { form, board } = this.#editor;
    if (!board.picture || !form.shape) return;
    form.sides = growth(board.picture.size, form.shape);
    if (!this.grown) {
      this.#editor.around.note('The picture has this shape already: choose another.');
      form.free();
    }
    this.#editor.refresh();
  }

  reset() {
    this.#editor.form.sides = [0, 0, 0, 0];
    this.#editor.form.free();
  }

  place() {
    const { board, form } = this.#editor;
    const on = form.mode === 'outpaint' && board.picture !== null && !this.#editor.running;
    this.#frame.hidden = !on;
    if (!on) return;
    const { size } = board.picture;
    this.sides.forEach((amount, i) => {
      this.#frame.style[SIDES[i]] = `${(-100 * amount) / size[i % 2]}%`;
    });
    const [left, top, right, bottom] = this.sides;
    this.#frame.querySelector('.grown').textContent = `${left + size[0] + right} × ${top + size[1] + bottom} px`;
    for (const button of this.#frame.querySelectorAll('button')) {
      const side = button.dataset.edge;
      const amount = this.sides[SIDES.indexOf(side)];
      button.setAttribute('aria-label', `${side} edge, ${amount} pixels added: arrow keys change it`);
    }
  }

  #set(i, amount, both) {
    const { form, board } = this.#editor;
    const most = Math.min(MOST, 4 * Math.max(...board.picture.size));
    const sides = [...form.sides];
    sides[i] = Math.min(Math.max(0, Math.round(amount)), most);
    if (both) sides[(i + 2) % 4] = sides[i];
    form.sides = sides;
    form.free();
    this.#editor.refresh(false);
  }

  #down(event) {
    const edge = event.target.dataset.edge;
    if (!edge || this.#editor.locked()) return;
    event.preventDefault();
    event.target.focus();
    event.stopPropagation();
    this.#frame.setPointerCapture(event.pointerId);
    const i = SIDES.indexOf(edge);
    this.#drag = {
      i,
      at: i % 2 ? event.clientY : event.clientX,
      from: this.#editor.form.sides[i],
      scale: this.#editor.view.scale,
    };
  }

  #move(event) {
    if (!this.#drag) return;
    const { i, at, from, scale } = this.#drag;
    const moved = (i % 2 ? event.clientY : event.clientX) - at;
    this.#set(i, from + ((i < 2 ? -1 : 1) * moved) / scale, event.altKey);
  }

  #up() {
    if (!this.#drag) return;
    this.#drag = null;
    this.#editor.refresh();
    this.#editor.rests();
  }

  #key(event) {
    const i = SIDES.indexOf(event.target.dataset.edge);
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const way = ways[event.key]?.[i % 2];
    if (i < 0 || !way || this.#editor.locked()) return;
    event.preventDefault();
    event.stopPropagation();
    const step = (event.shiftKey ? 64 : 8) * way * (i < 2 ? -1 : 1);
    this.#set(i, this.#editor.form.sides[i] + step, false);
    this.#editor.refresh();
  }
}

// The tools of the rail, and every act that a button or a key can ask for.

import { offer } from './picture.js';

const ALWAYS = ['fit', 'real', 'in', 'out']; // also during a run

export class Tools {
  tool = 'brush';
  held = false; // Space: the hand, for a while

  constructor(editor) {
    this.editor = editor;
  }

  get brush() {
    return (+this.editor.find('[data-size]').value * Math.max(...this.editor.layer.size)) / 1024;
  }

  pick(tool) {
    if (this.editor.locked()) return;
    this.tool = tool;
    this.editor.find('.view').dataset.hand = tool;
    for (const button of this.editor.root.querySelectorAll('button[data-tool]')) {
      button.setAttribute?.('aria-pressed', String(button.dataset.tool === tool));
    }
  }

  resize(direction) {
    const size = this.editor.find('[data-size]');
    size.value = +size.value + direction * Math.max(4, Math.round(+size.value * 0.15));
  }

  hold(yes) {
    this.held = yes;
    this.editor.find('.view').classList.toggle('held', yes);
  }

  async #compare(split) {
    const { picture } = this.editor.board;
    if (!picture?.entry || this.editor.running || this.editor.scene.picture !== picture) return;
    const before = await this.editor.library.before(picture).catch(() => null);
    if (!before || picture !== this.editor.board.picture) return;
    const [x, y] = picture.entry.grown;
    const { task, mask } = picture.entry;
    const square = task === 'vary' && !mask ? squared(before, picture) : before;
    this.editor.scene.compare(square, split, task === 'outpaint' ? [x, y] : null);
    this.editor.around.marks();
  }

  /** Before, for as long as a key is held. */
  see(yes) {
    if (yes) this.#compare(null);
    else if (this.editor.scene.comparing.before && this.editor.scene.comparing.split === null)
      this.editor.scene.compare(null);
    this.editor.around.marks();
  }

  act(name) {
    const acts = {
      open: () => this.editor.find('[data-file=picture]').click(),
      openmask: () => this.editor.find('[data-file=mask]').click(),
      savemask: () => offer(this.editor.layer.asPicture(this.editor.board.picture.size), 'mask.png'),
      undo: () => this.editor.board.undo(!this.editor.paints()),
      redo: () => this.editor.board.redo(!this.editor.paints()),
      clear: () => this.editor.board.clear(),
      invert: () => this.editor.board.invert(),
      fill: () => this.editor.board.fill(),
      grow: () => this.editor.board.grow(255),
      shrink: () => this.editor.board.grow(0),
      fit: () => this.editor.view.fit(),
      real: () => this.editor.view.real(this.editor.board.bounds ?? this.editor.board.picture?.entry?.box),
      in: () => this.editor.view.zoom(1.25),
      out: () => this.editor.view.zoom(0.8),
      cells: () => this.editor.cells.ask(),
      more: () => this.editor.around.menu(this.editor.find('#more').hidden),
      sheet: () => this.editor.around.sheet(this.editor.find('#sheet').hidden),
      before: () => (this.editor.scene.comparing.before ? this.see(false) : this.#compare(null)),
      compare: () => {
        if (this.editor.scene.comparing.split !== null) {
          this.editor.scene.compare(null);
          this.editor.around.marks();
        } else this.#compare(this.editor.board.picture.entry.box[0]);
      },
      play: () => this.editor.drawer.play(),
      live: () => this.#toggleLive(),
      fetch: () => this.editor.run.fetch(this.editor.form.get('model')),
      reuse: () => this.editor.form.set('seed', String(this.editor.board.picture.entry.seed)),
      save: () => this.editor.saving.toggle(!this.editor.saving.open),
      closesaving: () => this.editor.saving.toggle(false),
      copy: () => this.editor.saving.copy(),
    };
    const button = this.editor.find(`[data-act=${name}]`);
    if (button && (button.disabled || button.closest('[inert]'))) return;
    if (this.editor.locked() && !ALWAYS.includes(name)) return;
    acts[name]?.();
  }

  #toggleLive() {
    this.editor.form.live = !this.editor.form.live;
    if (this.editor.form.live) this.editor.live.rests();
    else {
      this.editor.live.stop();
      this.editor.scene.quiet();
    }
    this.editor.root.dataset.livemode = this.editor.form.live ? 'yes' : 'no';
    this.editor.around.marks();
  }
}

/** The centre square of a picture, at the size of what was made of it. */
function squared(before, like) {
  const square = Object.assign(Object.create(like), { entry: null });
  square.draw = (pen, width, height) => {
    const side = Math.min(...before.size);
    const factor = width / side;
    pen.save();
    pen.translate(-((before.size[0] - side) / 2) * factor, -((before.size[1] - side) / 2) * factor);
    before.draw(pen, before.size[0] * factor, (before.size[1] * factor * height) / width);
    pen.restore();
  };
  return square;
}

// What stands around the canvas: which buttons can do something, what is on, the bar at the paint, what is said.

import { reachable } from './keys.js';
import { taken, warning } from './pure/asking.js';
import { barPlace } from './pure/geometry.js';

const EDGES = { margin: 30, below: 56 }; // so that edges can be taken hold of and dragged, and the bar hides none

export class Around {
  #said = '';

  constructor(editor) {
    this.editor = editor;
    const bar = editor.find('.bar');
    bar.addEventListener('submit', (event) => event.preventDefault());
    new ResizeObserver(() => this.#placeBar()).observe(bar);
    document.addEventListener('pointerdown', ({ target }) => {
      if (!target.closest('.menu, [data-act=more]') && !editor.find('#more').hidden) this.menu(false);
    });
  }

  refresh(refit = true) {
    const { form, board, root, scene, run, find, running, expand } = this.editor;
    const { picture } = board;
    root.dataset.mode = form.mode;
    root.dataset.state = scene.picture ? (picture?.entry ? 'done' : 'open') : 'empty';
    find('.first').hidden = scene.picture !== null;
    const { verb, hint } = run.asking;
    find('#run').textContent = verb;
    find('#run').dataset.can = hint ? 'no' : 'yes';
    find('.hint').textContent = hint || this.#warning();
    const all = !board.painted && !taken(form.mode, picture?.entry);
    scene.square(form.mode === 'vary' && all && !running && picture?.entry?.task !== 'vary');
    const margins = form.mode === 'outpaint' ? EDGES : {};
    if (scene.picture && !running) this.editor.view.hold(scene.picture.size, expand.sides, refit, margins);
    expand.place();
    this.enable();
    this.marks();
    this.#placeBar();
  }

  /** What to expect, where the model's picture would be enlarged much. */
  #warning() {
    const { form, board, run, modelSize } = this.editor;
    const { picture, bounds } = board;
    if (run.asking.again || !(picture || form.mode === 'generate')) return '';
    const sides = bounds && [0, 1].map((i) => (bounds[i + 2] - bounds[i]) * picture.size[i]);
    const { context, detail } = form.values;
    const seen = +context || 2;
    const part = taken(form.mode, picture?.entry) !== null;
    return warning({ mode: form.mode, sides, part, seen, resolution: modelSize[0], size: picture?.size, detail });
  }

  enable() {
    const { board, scene, root, find, running } = this.editor;
    const { picture } = board;
    const paints = this.editor.paints() && !running;
    const ways = board.ways(!this.editor.paints());
    const can = {
      undo: ways.back && !running,
      redo: ways.forth && !running,
      clear: paints && board.painted,
      more: paints,
      fit: Boolean(scene.picture),
      real: Boolean(scene.picture),
      copy: picture && !running,
    };
    for (const name of ['before', 'compare']) can[name] = picture?.entry?.base && !running;
    for (const name of ['save', 'reuse']) can[name] = picture?.entry && !running;
    for (const [name, yes] of Object.entries(can)) {
      for (const button of root.querySelectorAll(`[data-act=${name}]`)) button.disabled = !yes;
    }
    for (const button of root.querySelectorAll('button[data-tool]')) {
      button.disabled = button.dataset.tool === 'hand' ? !scene.picture : !paints;
    }
    find('[data-size]').disabled = !paints;
    reachable(find('.rail'));
  }

  /** Whichever buttons stand for something that is on. */
  marks() {
    const { before, split } = this.editor.scene.comparing;
    const on = { before: Boolean(before) && split === null, compare: split !== null, live: this.editor.form.live };
    for (const [name, yes] of Object.entries(on)) {
      this.editor.find(`[data-act=${name}]`).setAttribute('aria-pressed', String(yes));
    }
  }

  moved() {
    const { scale } = this.editor.view;
    const percent = 100 * scale * (window.devicePixelRatio || 1);
    this.editor.find('#zoom').textContent = `${percent < 10 ? percent.toFixed(1) : Math.round(percent)} %`;
    this.editor.find('.ring').style.display = 'none';
    this.#placeBar();
    this.editor.tiles?.look();
  }

  /** The bar stands at the paint, inside of what can be seen. */
  #placeBar() {
    const { find, scene, board, running } = this.editor;
    const [bar, sheet] = [find('.bar'), find('#sheet')];
    const view = find('.view').getBoundingClientRect();
    if (!scene.picture || !view.width) return;
    const width = view.width - (sheet.hidden || view.width < 700 ? 0 : sheet.offsetWidth);
    const edge = view.width > 600 ? 12 : 8;
    bar.style.maxWidth = `${width - 2 * edge}px`;
    const size = [bar.offsetWidth, bar.offsetHeight];
    const room = [edge, edge, width - edge, view.height - edge];
    const bounds = this.editor.paints() && !running && view.width > 600 ? board.bounds : null;
    const target = bounds ? this.editor.view.seen(bounds) : [0, view.height, width, view.height];
    const [x, y] = barPlace(target, size, room);
    bar.style.transform = `translate(${Math.round(x)}px, ${Math.round(y)}px)`;
  }

  lock(yes) {
    for (const each of ['.rail', '.modes', '.sheet-side', '.past', '.versions'])
      this.editor.find(each).toggleAttribute('inert', yes);
    for (const each of this.editor.find('.bar').querySelectorAll('input, select')) each.disabled = yes;
    if (yes) this.menu(false);
    this.refresh();
  }

  say(text, kind = 'idle', notices = []) {
    const status = this.editor.find('#status');
    status.dataset.kind = kind;
    this.#said = text;
    status.replaceChildren(
      text,
      ...notices.map((each) => Object.assign(document.createElement('small'), { textContent: each })),
    );
    status.title = [text, ...notices].join(' ');
  }

  /** A word in between, after which the status is what it was. */
  note(text) {
    const status = this.editor.find('#status');
    const [before, kind] = [this.#said, status.dataset.kind];
    this.say(text, kind);
    setTimeout(() => {
      if (this.#said === text) this.say(before, status.dataset.kind);
    }, 4000);
  }

  /** What the last run failed of is no longer so. */
  calm() {
    if (this.editor.find('#status').dataset.kind === 'failed') this.say('Ready');
  }

  menu(open) {
    this.editor.find('#more').hidden = !open;
    this.editor.find('[data-act=more]').setAttribute('aria-expanded', String(open));
    if (open) this.editor.find('#more button').focus({ focusVisible: false });
  }

  sheet(open) {
    this.editor.find('#sheet').hidden = !open;
    this.editor.find('#settings').setAttribute('aria-expanded', String(open));
    this.#placeBar();
    if (open) this.editor.find('#model').focus({ focusVisible: false });
  }

  /** Closes what lies above the canvas; whether there was anything. */
  closes() {
    const { saving } = this.editor;
    if (saving.open) {
      saving.toggle(false);
      return true;
    }
    const open = ['#more', '#sheet'].filter((each) => !this.editor.find(each).hidden);
    if (open.includes('#more')) {
      this.menu(false);
      this.editor.find('[data-act=more]').focus();
    } else if (open.length) {
      this.sheet(false);
      this.editor.find('#settings').focus();
    }
    return open.length > 0;
  }
}

// What all parts share: the state of the page, what is shown, what is said.

import { Around } from './around.js';
import { Board } from './board.js';
import { cellsOf } from './cells.js';
import { Drawer } from './drawer.js';
import { Expand } from './expand.js';
import { Form } from './form.js';
import { History } from './history.js';
import { Layer } from './layer.js';
import { Library } from './library.js';
import { Live } from './live.js';
import { Opening, paintOf } from './opening.js';
import { blank } from './picture.js';
import { PAINTED, taken } from './pure/asking.js';
import { Run } from './run.js';
import { Saving } from './saving.js';
import { Scene } from './scene.js';
import { keepKey, keptKey, Server } from './server.js';
import { Tiles } from './tiles.js';
import { Tools } from './tools.js';
import { View } from './view.js';

const AHEAD = 300; // ms of rest until the server keeps what is here and prepares a run

export class Editor {
  sides = [1, 2, 3, 4, 5, 6, 8, 10, 13, 16]; // of the model's scales
  modelSize = [128, 128];
  #due = 0;

  constructor({ element, trigger, ask, upload }) {
    this.find = (selector) => element.querySelector(selector);
    this.root = this.find('.ed');
    this.server = new Server(ask);
    this.library = new Library(this.server);
    this.scene = new Scene(this.find);
    this.layer = new Layer(this.find('.paint'));
    this.board = new Board(this.layer, (what) => this.#changed(what));
    this.view = new View(this.find('.view'), this.find('.sheet'), () => this.around?.moved());
    this.form = new Form(this.find, (name) => this.#decided(name));
    this.expand = new Expand(this);
    this.opening = new Opening(this, upload);
    this.drawer = new Drawer(this);
    this.history = new History(this);
    this.run = new Run(this, trigger);
    this.live = new Live(this, trigger);
    this.saving = new Saving(this);
    this.tiles = new Tiles(this);
    this.cells = cellsOf(this);
    this.around = new Around(this);
    this.tools = new Tools(this);
    this.#listen(element);
  }

  get running() {
    return this.run?.going ?? false;
  }

  locked() {
    return this.running;
  }

  paints() {
    return PAINTED.includes(this.form.mode) && this.board.picture !== null;
  }

  asked() {
    return this.live.asks ? this.live.asked() : this.run.asked();
  }

  // the beginning

  async begin() {
    try {
      const first = await this.server.ask('hello', { key: keptKey() });
      this.server.key = first.key;
      keepKey(first.key);
      this.form.build(first.settings, first.ratios);
      this.saving.build(first.saving, first.animation ?? []);
      this.form.models(first.models, first.model);
      this.form.apply(first.form);
      this.#examples(first.examples);
      this.history.show(first.history);
      this.drawer.empty(this.sides);
      if (first.canvas && !this.board.picture) {
        await this.opening.served(async () => first.canvas);
        this.form.apply(first.form);
      }
      this.refresh();
      await this.#readModel();
    } catch (error) {
      this.say(error.message, 'failed');
    }
  }

  async #readModel() {
    const name = this.form.get('model');
    const answer = await this.server.ask('model', { name });
    if (name !== this.form.get('model')) return;
    this.form.models(answer.models, name);
    const missing = answer.models.find((model) => model.name === name)?.missing;
    this.find('#fetch').hidden = !missing;
    this.find('#fetch').textContent = `Fetch model (${answer.models.find((model) => model.name === name)?.size})`;
    this.root.dataset.model = missing ? 'missing' : 'there';
    if (missing) {
      this.say(answer.missing, 'idle');
      return;
    }
    this.sides = answer.sides;
    this.modelSize = [answer.resolution, answer.resolution];
    this.form.fit(answer);
    if (!this.board.picture?.entry) this.drawer.empty(this.sides);
    const words = ['Ready', answer.pace].filter(Boolean).join(' · ');
    if (!this.running && this.find('#status').dataset.kind !== 'done') this.say(words, 'idle');
    this.refresh();
  }

  async chooseModel(name) {
    if (name) this.form.apply({ model: name });
    if (!this.running) this.say('Reading the model …', 'idle');
    try {
      await this.#readModel();
    } catch (error) {
      this.say(error.message, 'failed');
    }
  }

  #examples(list) {
    const row = this.find('.examples');
    list.forEach(({ title, before, after }, index) => {
      const button = Object.assign(document.createElement('button'), { type: 'button', title });
      button.dataset.example = index;
      button.tabIndex = index ? -1 : 0;
      button.setAttribute('aria-label', `Example: ${title}`);
      for (const source of [before, after].filter(Boolean)) {
        button.append(Object.assign(document.createElement('img'), { alt: '', src: source }));
      }
      button.append(Object.assign(document.createElement('small'), { textContent: title }));
      row.append(button);
    });
  }

  async example(index) {
    let [mode, label] = ['inpaint', ''];
    const shown = await this.opening.served(async () => {
      const answer = await this.server.ask('example', { index });
      ({ mode, label } = answer);
      return answer;
    });
    if (!shown) return;
    this.form.apply({ mode, label });
    this.run.start();
  }

  // pictures

  /** A picture that the server knows is on the canvas. */
  opened(picture, alpha, answer) {
    picture.ref = answer.ref;
    this.library.add(picture);
    this.expand.reset();
    this.board.show(picture, alpha);
    this.arrived(picture, answer);
  }

  /** What the server says about a picture that is here already. */
  arrived(picture, answer) {
    picture.ref ??= answer.ref;
    this.library.add(picture);
    this.tiles.look();
    if (answer.history) this.history.show(answer.history);
    if (answer.form) this.form.apply(answer.form);
    this.history.mark();
    if (picture !== this.board.picture) return;
    if (answer.notices?.length) this.say('Opened', 'idle', answer.notices);
    if (answer.mask && !this.board.painted) this.#paint(picture, answer.mask);
    this.refresh();
    this.rests();
  }

  async #paint(picture, layer) {
    const alpha = await paintOf(layer, picture);
    if (picture === this.board.picture && !this.running) this.board.change(() => alpha);
  }

  /** Something of the history again: a result with its settings, or an original with its paint. */
  reopen({ kind, number }) {
    this.opening.served(async () => {
      const answer = await this.server.ask('entry', { kind, number });
      if (answer.entry) this.form.apply({ ...answer.entry.form, left: 0, top: 0, right: 0, bottom: 0, seed: '' });
      return answer;
    });
  }

  showVersion(version) {
    const { picture } = this.board;
    const count = picture?.entry?.pictures.length ?? 0;
    if (version < 0 || version >= count || version === picture.version) return;
    this.board.swap(this.library.version(picture, version));
    this.server.ask('pick', { ref: this.board.picture.ref }).catch(() => {});
    this.rests();
  }

  step(by) {
    const { picture } = this.board;
    if (picture?.entry && !this.locked()) this.showVersion(picture.version + by);
  }

  /** Shows `image` in the place of the result, or the result itself. */
  lookBack(image) {
    const { picture } = this.board;
    if (image) this.scene.draw(image, picture.entry.box, null);
    else this.scene.quiet();
  }

  /** What the board holds is on the canvas, as this mode shows it. */
  shown() {
    const { picture } = this.board;
    const creates = this.form.mode === 'generate' && picture?.entry?.task !== 'generate';
    const showing = creates ? blank(this.modelSize) : picture;
    this.scene.show(showing);
    this.live.stop();
    this.drawer.show(creates ? null : picture);
    this.refresh();
    this.tiles.look();
  }

  #changed(what) {
    if (what === 'picture' || what === 'version') {
      this.cells.hide();
      if (what === 'picture') this.find('.examples').parentElement.hidden = this.board.picture !== null;
      this.shown();
      this.history.mark();
    } else if (what === 'paint') {
      this.cells.hide();
      this.around.enable();
      this.rests();
    } else {
      this.root.dataset.painted = this.board.painted ? 'yes' : 'no';
      this.refresh();
      if (this.live.on && this.board.painted) this.live.rests();
    }
  }

  /** A stroke begins. */
  begins() {
    this.live.paints();
    if (this.drawer.shown) this.drawer.look(99);
    this.scene.compare(null);
    this.around.marks();
  }

  #decided(name) {
    if (name === 'mode') {
      if (!this.running) this.shown();
    } else if (name === 'ratio') this.expand.shape();
    else if (name === 'model') this.chooseModel();
    this.refresh();
    this.rests();
    if (['label', 'strength', 'seed', 'mode'].includes(name)) this.live.rests();
  }

  /** The pen rests: after a while the server keeps what is here, and prepares what a run would need. */
  rests() {
    clearTimeout(this.#due);
    delete this.root.dataset.prepared;
    this.#due = setTimeout(async () => {
      const { picture } = this.board;
      if (this.running || !this.server.key || (picture && !picture.ref)) return;
      const ahead = this.run.asking.can && !this.live.on && !taken(this.form.mode, picture?.entry);
      const mask = picture ? this.layer.encode() : null;
      const given = { ref: picture?.ref ?? null, mask, form: this.form.values, ahead };
      const answer = await this.server.ask('rest', given).catch(() => ({}));
      this.root.dataset.kept = 'yes';
      if (answer.prepared && picture === this.board.picture) this.root.dataset.prepared = 'yes';
    }, AHEAD);
    delete this.root.dataset.kept;
  }

  refresh(refit) {
    this.around.refresh(refit);
  }

  say(...words) {
    this.around.say(...words);
  }

  #listen(element) {
    element.addEventListener('click', (event) => {
      const button = event.target.closest('button');
      if (!button || button.disabled) return;
      const { tool, act, example } = button.dataset;
      if (event.detail && button.closest('.rail')) button.blur(); // of a mouse: Space is the hand's again
      if (tool) this.tools.pick(tool);
      else if (act) this.tools.act(act);
      else if (example) this.example(+example);
      else if (button.id === 'run') this.run.start();
      else if (button.id === 'stop') this.run.stop();
      else if (button.id === 'continue') this.run.goOn();
    });
    this.find('.numbers').addEventListener('submit', (event) => {
      event.preventDefault();
      const { left, top, width, height } = event.target.elements;
      this.board.rectangle(+left.value, +top.value, +width.value, +height.value);
    });
  }
}

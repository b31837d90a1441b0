// One run at a time: from the click until its end, nothing that it was asked with can be changed.

import { blank, loaded, sheetOf } from './picture.js';
import { asking, PAINTED, taken } from './pure/asking.js';
import { centreSquare } from './pure/geometry.js';
import { softened } from './scene.js';

const REFUSED = 'The server did not take this: it is busy, or the connection is gone. Nothing is lost; try again.';
const UNSAID = 600; // ms after the end of a run within which its last message must be there
const STALE = 5000; // ms after a stop in which an end may still be that of the stopped run

export class Run {
  #editor;
  #trigger;
  #count = 0;
  #payload = null;
  #scene = null; // a promise: how what arrives is drawn
  #heard = 0;
  #drawn = 0; // the number of the message seen last
  #begun = 0;
  #stopped = -STALE;

  constructor(editor, trigger) {
    this.#editor = editor;
    this.#trigger = trigger;
  }

  get going() {
    return document.body.dataset.running === 'yes';
  }

  /** What Run would do now. */
  get asking() {
    const { board, form, expand } = this.#editor;
    return asking({
      mode: form.mode,
      picture: board.picture !== null,
      task: board.picture?.entry?.task ?? null,
      painted: board.painted,
      grown: expand.grown,
      label: form.class.value,
      missing: this.#editor.root.dataset.model === 'missing',
    });
  }

  /** Draws what is asked, or says what is missing. */
  async start() {
    const { board, form } = this.#editor;
    if (this.going) return;
    board.settle();
    const { can, again, hint } = this.asking;
    if (!can) {
      this.#editor.say(`${hint}.`, 'failed');
      return;
    }
    const mine = this.#begin();
    await this.#editor.opening.settled;
    const shown = board.picture;
    await shown?.sent;
    if (!this.#goesOn(mine)) return;
    if (shown !== board.picture) {
      this.#end(); // the server refused it
      return;
    }
    const entry = again ? shown.entry : null;
    const base = entry ? await this.#editor.library.before(shown).catch(() => null) : shown;
    const mask = entry ? entry.mask : (this.#editor.layer.encode() ?? taken(form.mode, shown?.entry));
    const values = form.values;
    if (entry && form.mode === 'outpaint') {
      for (const side of ['left', 'top', 'right', 'bottom']) values[side] = entry.form[side];
    }
    const ref = form.mode === 'generate' ? null : (entry?.base ?? shown.ref);
    const painted = PAINTED.includes(form.mode);
    const run = { do: 'run', ref, mask: painted ? mask : null, form: values };
    await this.#send(mine, run, form.mode === 'generate' ? null : base, values);
  }

  /** Keeps the first scales of the version shown and draws the rest anew; finishes a sketch. */
  async goOn() {
    const { board, form, drawer, library } = this.#editor;
    const { entry, ref } = board.picture ?? {};
    if (this.going || !entry) return;
    const run = { do: 'continue', ref, scale: drawer.shown, form: form.values };
    const mine = this.#begin();
    const base = await library.before(board.picture).catch(() => null);
    const values = { ...entry.form, mode: entry.task };
    await this.#send(mine, { ...run, mask: entry.mask }, base, values);
  }

  /** Fetches a model. */
  fetch(model) {
    if (this.going) return;
    const mine = this.#begin();
    this.#payload = { do: 'fetch', model, run: mine, key: this.#editor.server.key };
    this.#trigger('submit');
  }

  async #send(mine, run, base, values) {
    if (!this.#goesOn(mine)) return;
    this.#payload = { ...run, run: mine, key: this.#editor.server.key };
    this.#trigger('submit');
    this.#scene = this.#sceneOf(base, run.mask, values).catch(() => null); // while the server works
  }

  /** Where frames are drawn: in the paint, around the photo, in its centre square, or on a sheet of their own. */
  async #sceneOf(base, mask, values) {
    const { scene, view } = this.#editor;
    const { mode } = values;
    const showing = base ?? blank(this.#editor.modelSize);
    if (scene.picture !== showing) scene.show(showing);
    scene.compare(null);
    const sides =
      mode === 'outpaint' ? ['left', 'top', 'right', 'bottom'].map((side) => +values[side] || 0) : [0, 0, 0, 0];
    view.hold(showing.size, sides);
    if (PAINTED.includes(mode) && mask) {
      const layer = await loaded(mask);
      const sheet = sheetOf(layer.width, layer.height);
      sheet.getContext('2d').drawImage(layer, 0, 0);
      const soft = softened(sheet);
      return { base, draw: (image, box) => scene.draw(image, box, soft) };
    }
    if (mode === 'outpaint') return { base, draw: (image, box) => scene.drawAround(image, box, sides) };
    const square = base ? centreSquare(base.size) : [0, 0, 1, 1];
    return { base, draw: (image) => scene.draw(image, square, null) };
  }

  /** What the event of the page sends. */
  asked() {
    return this.#payload;
  }

  #begin() {
    this.#count++;
    this.#heard = this.#begun = performance.now();
    document.body.dataset.running = 'yes';
    this.#scene = null;
    this.#editor.live.stop();
    this.#editor.around.lock(true);
    this.#editor.say('Starting …', 'running');
    this.#editor.drawer.begin(this.#editor.sides);
    return this.#count;
  }

  #goesOn(mine) {
    return this.going && mine === this.#count;
  }

  /** A message of the server's. Of a run that was stopped nobody needs to hear. */
  async message(message) {
    if (message.live) {
      this.#editor.live.message(message);
      return;
    }
    if (!this.#goesOn(message.run)) return;
    this.#heard = performance.now();
    const { kind, text } = message;
    if (kind === 'failed') {
      this.#end();
      this.#editor.say(text, 'failed');
    } else if (kind === 'fetched') {
      this.#end();
      this.#editor.say(text, 'idle');
      this.#editor.chooseModel(message.model);
    } else if (kind === 'result') {
      await this.#result(message);
    } else {
      this.#editor.say(text, 'running');
      if (kind === 'frame') await this.#frame(message);
    }
  }

  async #frame(message) {
    this.#editor.drawer.arrived(message);
    const image = await loaded(message.pictures[0]).catch(() => null);
    const scene = await this.#scene;
    if (!image || !this.#goesOn(message.run) || message.n < this.#drawn) return;
    this.#drawn = message.n; // a later one may be decoded sooner
    scene?.draw(image, message.box);
    this.#editor.root.dataset.scale = message.scale;
  }

  async #result({ entry, text, notices, run }) {
    const scene = await this.#scene;
    const picture = await this.#editor.library.result(entry, scene?.base ?? null);
    if (!this.#goesOn(run)) return;
    this.#end(false);
    this.#editor.expand.reset();
    this.#editor.live.used();
    this.#editor.history.add(entry);
    this.#editor.board.show(picture);
    this.#editor.say(text, 'done', notices);
  }

  /** The run is over, whatever came of it. */
  #end(back = true) {
    document.body.dataset.running = 'no';
    delete this.#editor.root.dataset.scale;
    this.#editor.around.lock(false);
    if (back) this.#editor.shown();
  }

  stop() {
    if (!this.going) return;
    this.#stopped = performance.now();
    this.#trigger('clear');
    this.#end();
    this.#editor.say('Stopped. Everything is as it was.', 'stopped');
  }

  /** The server did not take it, or the connection is gone. */
  failed() {
    this.#doubt(0);
  }

  /** The server has sent everything. */
  ended() {
    this.#doubt(UNSAID);
  }

  /** Something ended: if it was the run that goes on, its last message must come within `patience` ms. */
  #doubt(patience) {
    const mine = this.#count;
    const stale = performance.now() - this.#stopped < STALE;
    setTimeout(
      () => {
        if (!this.#goesOn(mine)) return;
        if (stale ? this.#heard > this.#begun : performance.now() - this.#heard < patience) return;
        this.#end();
        this.#editor.say(REFUSED, 'failed');
      },
      stale ? STALE : patience && patience + 100,
    );
  }
}

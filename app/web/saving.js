// Pictures out: a file, or the clipboard.

import { control, field } from './form.js';
import { rove } from './keys.js';
import { handOver, sheetOf } from './picture.js';

const KEPT = 'next-scale-editor saving';

export class Saving {
  #editor;
  #kind = 'save'; // or "animation"
  #inputs = { save: new Map(), animation: new Map() };

  constructor(editor) {
    this.#editor = editor;
    const form = editor.find('#saving');
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.save();
    });
    form.querySelector('.kinds').addEventListener('click', ({ target }) => {
      const kind = target.closest('button')?.dataset.kind;
      if (kind) this.#choose(kind);
    });
    rove(form.querySelector('.kinds'), true);
  }

  /** What can be decided about a picture's file, and about a moving one's, as the server declares it. */
  build(picture, animation) {
    this.#fields('save', picture);
    this.#fields('animation', animation);
    this.#choose('save');
  }

  #fields(kind, settings) {
    const before = kept()[kind] ?? {};
    for (const setting of settings) {
      const input = control(setting);
      input.id = `${kind}-${setting.name.replaceAll('_', '-')}`;
      const value = before[setting.name] ?? setting.default;
      if (input.type === 'checkbox') input.checked = value;
      else if (!setting.choices.length || setting.choices.includes(value)) input.value = value;
      this.#editor.find(`#saving .fields[data-kind=${kind}]`).append(field(setting, input));
      this.#inputs[kind].set(setting.name, input);
      input.addEventListener('change', () => this.#choose(this.#kind));
    }
  }

  #choose(kind) {
    this.#kind = kind;
    for (const each of this.#editor.find('#saving').querySelectorAll('.fields'))
      each.hidden = each.dataset.kind !== kind;
    for (const button of this.#editor.find('#saving .kinds').children) {
      const on = button.dataset.kind === kind;
      button.setAttribute('aria-checked', String(on));
      button.tabIndex = on ? 0 : -1;
    }
    const { save } = this.#inputs;
    if (save.size) save.get('quality').closest('label').hidden = save.get('format').value === 'png';
  }

  get open() {
    return !this.#editor.find('#saving').hidden;
  }

  toggle(open) {
    this.#editor.find('#saving').hidden = !open;
    if (open) this.#editor.find('#savefile').focus();
    else this.#editor.find('#save').focus({ focusVisible: false });
  }

  get #values() {
    const found = {};
    for (const [name, input] of this.#inputs[this.#kind]) {
      if (input.type === 'checkbox') found[name] = input.checked;
      else found[name] = input.inputMode ? Number(input.value) : input.value;
    }
    return found;
  }

  async save() {
    const { board, server, find, around } = this.#editor;
    const [kind, values, button] = [this.#kind, this.#values, find('#savefile')];
    button.disabled = true;
    button.textContent = kind === 'animation' ? 'Drawing …' : 'Saving …';
    try {
      const { url, name, notice } = await server.ask(kind, { ref: board.picture.ref, ...values });
      handOver(url, name);
      keep({ ...kept(), [kind]: values });
      this.toggle(false);
      if (notice) around.note(notice);
    } catch (error) {
      this.#editor.say(error.message, 'failed');
    }
    button.disabled = false;
    button.textContent = 'Save';
  }

  async copy() {
    const { board, around } = this.#editor;
    const [width, height] = board.picture.sheetSize;
    const sheet = sheetOf(width, height);
    board.picture.draw(sheet.getContext('2d'), width, height);
    try {
      const blob = await new Promise((done) => sheet.toBlob(done, 'image/png'));
      await navigator.clipboard.write([new ClipboardItem({ 'image/png': blob })]);
      around.note(`Copied at ${width} × ${height} px`);
    } catch {
      around.note('The browser did not let the picture be copied: save it instead.');
    }
  }
}

function kept() {
  try {
    return JSON.parse(localStorage.getItem(KEPT)) ?? {};
  } catch {
    return {};
  }
}

function keep(values) {
  try {
    localStorage.setItem(KEPT, JSON.stringify(values));
  } catch {
    // the browser keeps nothing
  }
}

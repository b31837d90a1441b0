// The controls: what is decided each time (the bar), and the rest (the sheet at the side).

import { Combobox } from './combobox.js';
import { SIDES } from './pure/geometry.js';

const NAMES = {
  png: 'PNG',
  jpeg: 'JPEG',
  webp: 'WebP',
  gif: 'GIF',
  mp4: 'MP4',
  photo: 'The photo',
  window: 'The change',
};
const NO_CLASS = ['No class: by the surroundings', ''];

export function control(setting) {
  let input;
  if (setting.kind === 'choice') {
    input = document.createElement('select');
    for (const choice of setting.choices) {
      const words = NAMES[choice] ?? choice.charAt(0).toUpperCase() + choice.slice(1);
      input.add(new Option(words, choice, false, choice === setting.default));
    }
  } else {
    input = document.createElement('input');
    if (setting.kind === 'bool') Object.assign(input, { type: 'checkbox', checked: setting.default });
    else {
      Object.assign(input, { value: setting.default ?? '', autocomplete: 'off', placeholder: 'automatic' });
      input.inputMode = setting.kind === 'int' ? 'numeric' : 'decimal';
    }
  }
  input.id = setting.name.replaceAll('_', '-');
  return input;
}

export function field(setting, input) {
  const label = document.createElement('label');
  label.className = `field ${setting.kind === 'bool' ? 'check' : ''}`;
  label.dataset.tasks = setting.tasks.join(' ');
  const name = Object.assign(document.createElement('span'), { textContent: setting.label });
  const help = Object.assign(document.createElement('small'), { textContent: setting.help });
  label.append(...(setting.kind === 'bool' ? [input, name, help] : [name, input, help]));
  return label;
}

export class Form {
  #find;
  #told;
  #inputs = new Map();
  #classes = new Map(); // by mode: what was replaced by roses does not grow roses at its edges
  mode = 'inpaint';
  sides = [0, 0, 0, 0];
  live = false;

  /** `told(name)` hears of every change. */
  constructor(find, told) {
    this.#find = find;
    this.#told = told;
    this.class = new Combobox(find('#label'), find('#classes'), () => told('label'));
    for (const id of ['candidates', 'strength', 'model', 'seed', 'sketch']) this.#know(id, find(`#${id}`));
    find('#mode').addEventListener('click', ({ target }) => {
      const button = target.closest('button');
      if (button) this.choose(button.dataset.mode);
    });
    this.#markMode();
  }

  #know(name, input) {
    this.#inputs.set(name, input);
    input.addEventListener('change', () => this.#told(name));
  }

  /** The settings that the server declares, as controls of the sheet; the shapes that a picture can grow to. */
  build(settings, ratios) {
    for (const setting of settings) {
      const input = control(setting);
      this.#find('#sheet .fields').append(field(setting, input));
      this.#know(setting.name, input);
    }
    this.ratios = ratios;
    const ratio = this.#find('#ratio');
    ratio.add(new Option('Free shape', ''));
    for (const name of Object.keys(ratios)) ratio.add(new Option(name, name));
    ratio.addEventListener('change', () => this.#told('ratio'));
    this.#markMode();
  }

  get shape() {
    return this.ratios?.[this.#find('#ratio').value] ?? null;
  }

  free() {
    this.#find('#ratio').value = '';
  }

  /** What automatic means with a model, and its classes. */
  fit({ automatic, classes }) {
    for (const [name, words] of Object.entries(automatic)) this.#inputs.get(name).placeholder = words;
    this.class.offer([NO_CLASS, ...classes]);
  }

  models(list, chosen) {
    const select = this.#find('#model');
    select.replaceChildren(...list.map(({ name, text }) => new Option(text, name, false, name === chosen)));
  }

  choose(mode) {
    if (this.mode === mode) return;
    this.#classes.set(this.mode, this.class.value);
    this.mode = mode;
    this.class.set(this.#classes.get(mode) ?? '');
    this.#markMode();
    this.#told('mode');
  }

  #markMode() {
    for (const button of this.#find('#mode').children) {
      const on = button.dataset.mode === this.mode;
      button.setAttribute('aria-checked', String(on));
      button.tabIndex = on ? 0 : -1;
    }
    for (const each of this.#find('#sheet .fields').children) {
      each.hidden = !each.dataset.tasks.split(' ').includes(this.mode);
    }
  }

  get values() {
    const found = { mode: this.mode, label: this.class.value, ratio: 'by sides', anchor: 'centre', live: this.live };
    for (const [name, input] of this.#inputs) found[name] = input.type === 'checkbox' ? input.checked : input.value;
    found.candidates = +found.candidates;
    this.sides.forEach((amount, i) => {
      found[SIDES[i]] = amount;
    });
    return found;
  }

  /** Values of an earlier visit, a result or a file; what is not among them stays. */
  apply(values) {
    for (const [name, input] of this.#inputs) {
      if (!(name in values) || values[name] === null || name === 'model') continue;
      if (input.type === 'checkbox') input.checked = values[name] === true;
      else input.value = values[name];
    }
    if (
      typeof values.model === 'string' &&
      [...this.#inputs.get('model').options].some((o) => o.value === values.model)
    ) {
      this.#inputs.get('model').value = values.model;
    }
    if (SIDES.some((side) => values[side])) this.sides = SIDES.map((side) => +values[side] || 0);
    const mode = values.mode || this.mode;
    if (typeof values.label === 'string') {
      if (mode === this.mode) this.class.set(values.label);
      else this.#classes.set(mode, values.label);
    }
    this.choose(mode);
  }

  get(name) {
    return this.#inputs.get(name).value;
  }

  set(name, value) {
    this.#inputs.get(name).value = value;
    this.#told(name);
  }
}

// A text field with a list to choose from: type to search, arrows and Enter choose, Escape leaves it as it was.

import { matching } from './pure/matching.js';

export class Combobox {
  #input;
  #list;
  #options = [];
  #shown = [];
  #at = -1;
  #told;
  #value = '';

  constructor(input, list, told) {
    this.#input = input;
    this.#list = list;
    this.#told = told;
    input.addEventListener('focus', () => input.select());
    input.addEventListener('input', () => this.#open(input.value));
    input.addEventListener('click', () => this.#open(''));
    input.addEventListener('blur', () => this.#close(true));
    input.addEventListener('keydown', (event) => this.#key(event));
    list.addEventListener('pointerdown', (event) => event.preventDefault());
    list.addEventListener('click', (event) => {
      const option = event.target.closest('[role=option]');
      if (option) this.#choose(this.#shown[+option.dataset.index]);
    });
  }

  /** What can be chosen, as [words, value]; the choice stays where it is among them. */
  offer(options) {
    this.#options = options;
    this.set(this.#value);
  }

  /** What is chosen; "" is nothing. What cannot be chosen is not, once it is known what can. */
  get value() {
    return this.#value;
  }

  set(value) {
    const found = this.#options.find(([, each]) => each === value);
    this.#value = found || !this.#options.length ? value : '';
    this.#input.value = found && value ? found[0] : '';
  }

  #open(text) {
    this.#shown = matching(this.#options, text).slice(0, 200);
    this.#at = text && this.#shown.length ? 0 : -1;
    const items = this.#shown.map(([words], index) => {
      const item = document.createElement('li');
      Object.assign(item, { id: `class-${index}`, textContent: words });
      item.setAttribute('role', 'option');
      item.dataset.index = index;
      return item;
    });
    if (!items.length) {
      const none = document.createElement('li');
      none.setAttribute('role', 'option');
      none.setAttribute('aria-disabled', 'true');
      none.textContent = this.#options.length ? 'No class of that name' : 'The model is still being read';
      items.push(none);
    }
    this.#list.replaceChildren(...items);
    this.#list.hidden = false;
    this.#input.setAttribute('aria-expanded', 'true');
    this.#mark();
  }

  get open() {
    return !this.#list.hidden;
  }

  #close(keep) {
    if (!this.open) return;
    this.#list.hidden = true;
    this.#input.setAttribute('aria-expanded', 'false');
    this.#input.removeAttribute('aria-activedescendant');
    const typed = this.#input.value.trim();
    if (keep && !typed && this.value) this.#choose(['', '']);
    else this.set(this.value);
  }

  #mark() {
    for (const item of this.#list.children) {
      const active = +item.dataset.index === this.#at;
      item.setAttribute('aria-selected', String(active));
      if (active) item.scrollIntoView({ block: 'nearest' });
    }
    if (this.#at < 0) this.#input.removeAttribute('aria-activedescendant');
    else this.#input.setAttribute('aria-activedescendant', `class-${this.#at}`);
  }

  #choose(option) {
    if (!option) return;
    this.#value = option[1];
    this.#input.value = option[1] ? option[0] : '';
    this.#list.hidden = true;
    this.#input.setAttribute('aria-expanded', 'false');
    this.#told();
  }

  #key(event) {
    const { key } = event;
    if (key === 'ArrowDown' || key === 'ArrowUp') {
      event.preventDefault();
      if (!this.open) this.#open('');
      const last = this.#shown.length - 1;
      this.#at = key === 'ArrowDown' ? Math.min(this.#at + 1, last) : Math.max(this.#at - 1, 0);
      this.#mark();
    } else if (key === 'Enter' && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      if (this.open && this.#at >= 0) this.#choose(this.#shown[this.#at]);
      else if (!this.open) this.#open('');
    } else if (key === 'Escape' && this.open) {
      event.stopPropagation();
      this.#close(false);
    } else if (key === 'Tab') {
      this.#close(true);
    }
  }
}

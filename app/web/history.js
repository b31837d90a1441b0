// The row of everything that this session has made, the originals first.

export class History {
  #editor;
  #row;
  #items = [];

  constructor(editor) {
    this.#editor = editor;
    this.#row = editor.find('.history');
    this.#row.addEventListener('click', (event) => {
      const button = event.target.closest('button');
      if (!button || editor.locked()) return;
      editor.reopen(this.#items[+button.dataset.index]);
    });
  }

  /** All of it, as the server knows it: [{ kind, number, title, cover }]. */
  show(items) {
    this.#items = items;
    this.#row.replaceChildren(...items.map((item, index) => this.#button(item, index)));
    this.mark();
  }

  add(entry) {
    const { number, title, cover } = entry;
    this.show([...this.#items, { kind: 'entry', number, title, cover }]);
    this.#row.scrollLeft = this.#row.scrollWidth;
  }

  mark() {
    const { picture } = this.#editor.board;
    const name = picture?.entry ? `entry ${picture.entry.number}` : `original ${picture?.ref?.slice(1)}`;
    let any = false;
    [...this.#row.children].forEach((button, i) => {
      const on = `${this.#items[i].kind} ${this.#items[i].number}` === name;
      any ||= on;
      button.setAttribute('aria-pressed', String(on));
      button.tabIndex = on ? 0 : -1;
    });
    if (!any && this.#row.firstElementChild) this.#row.firstElementChild.tabIndex = 0;
  }

  #button({ kind, number, title, cover }, index) {
    const button = Object.assign(document.createElement('button'), { type: 'button', title });
    button.dataset.index = index;
    button.dataset[kind] = number;
    button.append(
      Object.assign(document.createElement('img'), { alt: '', src: cover }),
      Object.assign(document.createElement('small'), { textContent: title }),
    );
    return button;
  }
}

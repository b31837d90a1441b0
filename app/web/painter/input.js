// Files that are chosen, dropped or pasted, and the painter's keys. They are heard everywhere on the page.

import { isRunning } from '../running.js';

const TYPING =
  'textarea, select, [contenteditable=true], input:not([type=range]):not([type=radio]):not([type=checkbox])';
const TOOLS = { b: 'brush', e: 'erase', h: 'pan' };

export function listenToFiles(painter) {
  const { root, opening } = painter;
  const chosen = (selector, open) => {
    painter.find(selector).addEventListener('change', (event) => {
      const file = event.target.files[0];
      event.target.value = '';
      if (file) open(file);
    });
  };
  chosen('[data-file=picture]', (file) => opening.file(file));
  chosen('[data-file=mask]', (file) => opening.mask(file));
  for (const name of ['dragenter', 'dragover']) {
    document.addEventListener(name, (event) => {
      if (!event.dataTransfer?.types.includes('Files')) return;
      event.preventDefault();
      root.dataset.drop = 'yes';
    });
  }
  document.addEventListener('dragleave', (event) => {
    if (!event.relatedTarget) delete root.dataset.drop;
  });
  const take = (event, files) => {
    const file = [...(files ?? [])][0];
    if (!file) return;
    event.preventDefault();
    opening.file(file);
  };
  document.addEventListener('drop', (event) => {
    delete root.dataset.drop;
    take(event, event.dataTransfer?.files);
  });
  document.addEventListener('paste', (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    take(
      event,
      files.filter((file) => file.type.startsWith('image/')),
    );
  });
}

export function listenToKeys(painter) {
  const size = painter.find('[data-size]');
  const resize = (direction) => {
    size.value = +size.value + direction * Math.max(4, Math.round(+size.value * 0.15));
  };
  document.addEventListener('keydown', (event) => {
    const away = !painter.ready() || isRunning() || !painter.element.checkVisibility();
    if (away || event.target.closest?.(TYPING)) return;
    const key = event.key.toLowerCase();
    if ((event.ctrlKey || event.metaKey) && 'zy'.includes(key)) {
      event.preventDefault();
      if (key === 'y' || event.shiftKey) painter.redo();
      else painter.undo();
    } else if (event.ctrlKey || event.metaKey || event.altKey || !painter.paints()) {
      return;
    } else if (key === '[' || key === ']') {
      resize(key === '[' ? -1 : 1);
    } else if (TOOLS[key]) {
      painter.pick(TOOLS[key]);
    }
  });
}

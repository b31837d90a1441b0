// Rows of pictures to pick from: the examples, and the history.

import { isRunning } from './running.js';

const EVENTS = { example: 'select', entry: 'select', original: 'submit' };

export function start(element, trigger) {
  element.addEventListener('click', (event) => {
    if (isRunning()) return;
    const { dataset } = event.target.closest('button') ?? {};
    for (const [kind, name] of Object.entries(EVENTS)) {
      if (dataset?.[kind]) trigger(name, { [kind]: +dataset[kind] });
    }
  });
  new MutationObserver(() => {
    const shown = element.querySelector('[aria-pressed=true]');
    if (shown) shown.parentElement.scrollLeft = shown.offsetLeft - shown.parentElement.offsetLeft - 60;
  }).observe(element, { childList: true, subtree: true });
}

// The finished result: before and after, looking back over its scales, candidates, branch.

import { isRunning } from '../running.js';
import { begin } from './run.js';

function label(element, k, last) {
  const range = element.querySelector('.vs-range');
  const words = element.querySelector('.vs-label');
  const branch = element.querySelector('.vs-branch');
  if (words) words.textContent = last ? `Scale ${k}: the finished picture` : `Scale ${k} of ${range.max}`;
  if (!branch || branch.dataset.sketch) return;
  branch.disabled = last;
  branch.textContent = last ? 'Branch from an earlier scale' : `Branch from scale ${k}`;
}

/** Shows the picture as it was after scale k; the last scale is the finished picture. */
function lookBack(element, k) {
  const picture = element.querySelector('.vs-back');
  if (!picture) return;
  const last = k >= +element.querySelector('.vs-range').max;
  picture.hidden = last;
  if (!last) picture.src = element.querySelector(`[data-scale="${k}"]`).dataset.full;
  for (const button of element.querySelectorAll('[data-scale]')) {
    button.setAttribute('aria-pressed', String(+button.dataset.scale === k));
  }
  label(element, k, last);
}

/** The pictures of all scales, a moment after the result itself. */
export function showFrames(element, answer) {
  const box = element.querySelector('.vs');
  const same = +box.dataset.result === answer?.result && +box.dataset.chosen === answer?.chosen;
  if (box.dataset.state !== 'done' || !same) return;
  answer.frames.forEach((source, k) => {
    const cell = element.querySelector(`[data-scale="${k + 1}"]`);
    cell.dataset.full = source;
    cell.disabled = false;
  });
  element.querySelector('.vs-range').disabled = false;
}

export const shownScale = (element) => +element.querySelector('.vs-range').value;

export function listenToStage(element, trigger) {
  element.addEventListener('input', ({ target }) => {
    if (target.matches('.vs-split')) target.parentElement.style.setProperty('--split', `${target.value}%`);
    if (target.matches('.vs-range')) lookBack(element, +target.value);
  });
  element.addEventListener('click', (event) => {
    const button = event.target.closest('button');
    if (!button || button.disabled || isRunning()) return;
    const { scale, candidate } = button.dataset;
    if (scale) {
      element.querySelector('.vs-range').value = scale;
      lookBack(element, +scale);
    } else if (candidate) {
      trigger('select', { candidate: +candidate });
    } else if (button.matches('.vs-branch')) {
      begin();
      trigger('submit');
    }
  });
}

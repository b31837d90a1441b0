// One run at a time: from the click until its end, nothing that it was asked with can be changed.

import { isRunning } from '../running.js';

const LOCKED = ['mode', 'settings', 'painter', 'examples', 'stage', 'history', 'actions'];
const REFUSED = 'The server did not take this: it is busy, or a setting is out of range. Nothing is lost; try again.';

let count = 0; // of runs begun

const status = () => document.querySelector('#status .status');

function lock(yes) {
  document.body.dataset.running = yes ? 'yes' : 'no';
  for (const id of LOCKED) document.getElementById(id)?.toggleAttribute('inert', yes);
}

export function begin() {
  count++;
  lock(true);
  Object.assign(status(), { textContent: 'Starting …' }).dataset.kind = 'running';
  const box = document.getElementById('stage').getBoundingClientRect();
  if (box.top > window.innerHeight * 0.6 || box.bottom < 80) {
    document.getElementById('result').scrollIntoView({ behavior: 'smooth', block: 'start' });
  }
}

/** Tells, whenever it is called, whether the run that is going now still is. */
export function thisRun() {
  const mine = count;
  return () => isRunning() && mine === count;
}

/** The run is over, whatever came of it. */
export function finished() {
  lock(false);
}

/** The run is over without a word of its own: it never began, or the connection is gone. */
export function failed() {
  lock(false);
  if (status().dataset.kind === 'running') Object.assign(status(), { textContent: REFUSED }).dataset.kind = 'failed';
}

/** What the last run failed of is no longer so. */
export function calm() {
  if (status().dataset.kind === 'failed') Object.assign(status(), { textContent: 'Ready' }).dataset.kind = 'idle';
}

/** The run has ended when its status says so. */
export function watchStatus() {
  const look = () => {
    if (isRunning() && ['done', 'failed'].includes(status()?.dataset.kind)) finished();
  };
  const watched = { subtree: true, childList: true, attributes: true, attributeFilter: ['data-serial'] };
  new MutationObserver(look).observe(document.getElementById('status'), watched);
}

/** Run locks the page at once: gradio hears of a click a little later, and a second one must not reach it. */
export function listenToRunButton() {
  const first = (event) => {
    if (!event.target.closest('#run')) return;
    if (isRunning()) event.stopImmediatePropagation();
    else begin();
  };
  document.addEventListener('click', first, true);
}

export function listenToRunKeys() {
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (!isRunning()) document.getElementById('run')?.click();
    } else if (event.key === 'Escape' && isRunning()) {
      event.preventDefault();
      document.getElementById('stop')?.click();
    }
  });
}

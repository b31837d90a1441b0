// The right half of the page, and what the page's events ask of the browser: window.page.

import { keepKey, keptKey } from './kept.js';
import { listenToStage, showFrames, shownScale } from './looking.js';
import { calm, failed, finished, listenToRunButton, listenToRunKeys, thisRun, watchStatus } from './run.js';

/** The values of an event whose first two are the picture and the mask. */
async function withPicture(values) {
  const { source, mask } = await window.painter.submit();
  return [source, mask, ...values.slice(2)];
}

/** What a run sends. Stopped while its picture was still on the way, it sends nothing, ever. */
async function toRun(values) {
  const goesOn = thisRun();
  const sent = await withPicture(values);
  return goesOn() ? sent : new Promise(() => {});
}

export function start(element, trigger) {
  listenToStage(element, trigger);
  listenToRunButton();
  listenToRunKeys();
  watchStatus();
  window.page = {
    run: toRun,
    look: withPicture,
    branch: (values) => [shownScale(element), ...values.slice(1)],
    example: async (picture, mask) => {
      if (await window.painter.openServed(picture, { mask, taken: false })) document.getElementById('run').click();
    },
    reopen: (file, answer) => window.painter.openServed(file, { layer: answer.mask }),
    frames: (answer) => showFrames(element, answer),
    calm,
    finished,
    failed,
    kept: () => [keptKey()],
    resumed: (answer, file) => {
      keepKey(answer.key);
      if (file && !window.painter.ready()) window.painter.openServed(file, { layer: answer.mask });
    },
  };
}

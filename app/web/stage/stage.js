// The right half of the page, and what the page's events ask of the browser: window.page.

import { keepKey, keptKey } from './kept.js';
import { listenToStage, showFrames, shownScale } from './looking.js';
import { failed, finished, listenToRunButton, listenToRunKeys, watchStatus } from './run.js';

/** The values of an event whose first two are the picture and the mask. */
async function withPicture(values) {
  const { source, mask } = await window.painter.submit();
  return [source, mask, ...values.slice(2)];
}

export function start(element, trigger) {
  listenToStage(element, trigger);
  listenToRunButton();
  listenToRunKeys();
  watchStatus();
  window.page = {
    run: withPicture,
    look: withPicture,
    branch: (values) => [shownScale(element), ...values.slice(1)],
    example: async (picture, mask) => {
      if (await window.painter.openServed(picture, { mask, taken: false })) document.getElementById('run').click();
    },
    reopen: (file, answer) => window.painter.openServed(file, { layer: answer.mask }),
    frames: (answer) => showFrames(element, answer),
    finished,
    failed,
    kept: () => [keptKey()],
    resumed: (answer, file) => {
      keepKey(answer.key);
      if (file && !window.painter.ready()) window.painter.openServed(file, { layer: answer.mask });
    },
  };
}

// What the Run button would do now, and what it says. No browser needed.

export const PAINTED = ['inpaint', 'edit'];

const VERBS = { inpaint: 'Remove', edit: 'Replace', outpaint: 'Expand', vary: 'Vary', generate: 'Create' };
const AGAIN = 'Again';

/** Whether a run of `mode` may take the result shown back to what it was made from: nothing new is asked of it. */
export function isAgain({ mode, task, fresh }) {
  if (!task || fresh) return false;
  return PAINTED.includes(mode) ? PAINTED.includes(task) : mode === task;
}

/** What the page asks: { mode, picture, task, painted, grown, label, missing } -> { can, again, verb, hint }.
 * `task` is what made the picture shown, if anything did; `painted` and `grown` say whether something new is asked;
 * `missing`: the model is not here. */
export function asking({ mode, picture, task, painted, grown, label, missing = false }) {
  const fresh = PAINTED.includes(mode) ? painted : mode === 'outpaint' && grown;
  const again = isAgain({ mode, task, fresh });
  const verb = again ? AGAIN : VERBS[mode];
  let hint = '';
  if (missing) hint = 'Fetch the model first, in Settings';
  else if (mode === 'generate') hint = '';
  else if (!picture) hint = 'Open a photo first';
  else if (PAINTED.includes(mode) && !painted && !again) {
    hint = mode === 'inpaint' ? 'Paint over what should go' : 'Paint over what should change';
  } else if (mode === 'edit' && !label) hint = 'Choose what it becomes';
  else if (mode === 'outpaint' && !grown && !again) hint = 'Drag an edge outwards, or choose a shape';
  return { can: !hint, again, verb, hint };
}

/** What to expect of a run that enlarges the model's picture more than twofold; empty otherwise. `sides`: of the
 * painted part in pixels, `seen`: how much larger the square is that the model sees. */
export function warning({ mode, sides, seen, resolution, size, detail = false }) {
  if (!resolution || !size) return '';
  if (mode === 'vary') {
    const side = Math.min(...size);
    return side > 2 * resolution ? `The square becomes a picture of ${resolution} × ${resolution} px` : '';
  }
  if (!PAINTED.includes(mode) || !sides) return '';
  const factor = (Math.max(...sides) * seen) / resolution;
  const then = detail ? 'its detail comes from the photo' : 'softer than the photo';
  return factor > 2 ? `Drawn ${factor.toFixed(1)} times enlarged: ${then}` : '';
}

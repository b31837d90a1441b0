// What the Run button would do now, and what it says. No browser needed.

const REGION = ['inpaint', 'edit']; // of nothing but what is painted
export const PAINTED = [...REGION, 'vary'];

const VERBS = { inpaint: 'Remove', edit: 'Replace', outpaint: 'Expand', vary: 'Vary', generate: 'Create' };
const AGAIN = 'Again';

/** Whether a run of `mode` may take the result shown back to what it was made from: nothing new is asked of it. */
export function isAgain({ mode, task, fresh }) {
  if (!task || fresh) return false;
  return REGION.includes(mode) ? REGION.includes(task) : mode === task;
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
  else if (REGION.includes(mode) && !painted && !again) {
    hint = mode === 'inpaint' ? 'Paint over what should go' : 'Paint over what should change';
  } else if (mode === 'edit' && !label) hint = 'Choose what it becomes';
  else if (mode === 'outpaint' && !grown && !again) hint = 'Drag an edge outwards, or choose a shape';
  return { can: !hint, again, verb, hint };
}

/** The paint that a variation without any of its own takes over: that of the result shown; null: all is varied. */
export const taken = (mode, entry) => (mode === 'vary' ? (entry?.mask ?? null) : null);

/** What to expect of a run that enlarges the model's picture more than twofold, or makes a new one; else empty.
 * `sides`: of the painted part in pixels, `part`: whether a variation takes over another's; `seen`: how much larger the
 * square is that the model sees. */
export function warning({ mode, sides, part = false, seen, resolution, size, detail = false }) {
  if (mode === 'generate' && resolution) return `A new picture of ${resolution} × ${resolution} px`;
  if (!resolution || !size) return '';
  if (mode === 'vary' && !sides) {
    if (part) return 'What is new here is varied: paint for another part';
    const side = Math.min(...size);
    const all = `The square becomes a picture of ${resolution} × ${resolution} px: paint to vary a part`;
    return side > 2 * resolution ? all : '';
  }
  if (!PAINTED.includes(mode) || !sides) return '';
  const factor = (Math.max(...sides) * seen) / resolution;
  const then = detail ? 'its detail comes from the photo' : 'softer than the photo';
  return factor > 2 ? `Drawn ${factor.toFixed(1)} times enlarged: ${then}` : '';
}

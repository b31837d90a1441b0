// The keyboard: tools, undo, run and stop, versions and scales; and groups that are one tab stop each.

const TYPING =
  'textarea, select, [contenteditable=true], input:not([type=range]):not([type=radio]):not([type=checkbox])';
const TOOLS = { b: 'brush', e: 'erase', l: 'lasso', r: 'box', h: 'hand' };
const ACTS = {
  0: 'fit',
  1: 'real',
  d: 'compare',
  p: 'play',
  ',': 'sheet',
  v: 'live',
  '+': 'in',
  '=': 'in',
  '-': 'out',
};
const CTRL = { o: 'open', s: 'save', y: 'redo' };

export function listenToKeys(editor) {
  const typing = (event) => event.target.closest?.(TYPING);

  document.addEventListener('keydown', (event) => {
    if (event.defaultPrevented) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const ctrl = event.ctrlKey || event.metaKey;
    if (ctrl && key === 'Enter') return press(event, () => editor.run.start());
    if (key === 'Escape') return leave(event);
    if (ctrl && key === 'z' && !typing(event))
      return press(event, () => editor.tools.act(event.shiftKey ? 'redo' : 'undo'));
    if (ctrl && CTRL[key] && (key !== 'y' || !typing(event))) return press(event, () => editor.tools.act(CTRL[key]));
    if (ctrl && key === 'c' && !typing(event) && String(getSelection()) === '') {
      return press(event, () => editor.tools.act('copy'));
    }
    if (ctrl || event.altKey || typing(event)) return undefined;
    return plain(event, key);
  });

  function plain(event, key) {
    const { target } = event;
    if (key === ' ' && !target.closest('button, input, summary, a')) {
      event.preventDefault();
      editor.tools.hold(true);
    } else if (key === 'c' && !event.repeat) editor.tools.see(true);
    else if (key === '[' || key === ']') editor.tools.resize(key === '[' ? -1 : 1);
    else if (TOOLS[key]) editor.tools.pick(TOOLS[key]);
    else if (ACTS[key]) press(event, () => editor.tools.act(ACTS[key]));
    else if (key === 'Delete' || key === 'Backspace') editor.tools.act('clear');
    else if (
      (key === 'ArrowLeft' || key === 'ArrowRight') &&
      !target.closest('input, [role=toolbar], [role=group], [role=radiogroup], .menu')
    ) {
      press(event, () => editor.step(key === 'ArrowLeft' ? -1 : 1));
    }
  }

  function leave(event) {
    if (editor.run.going) press(event, () => editor.run.stop());
    else if (editor.around.closes()) event.preventDefault();
  }

  const press = (event, act) => {
    event.preventDefault();
    act();
  };

  document.addEventListener('keyup', (event) => {
    if (event.key === ' ') editor.tools.hold(false);
    if (event.key === 'c' || event.key === 'C') editor.tools.see(false);
  });
  window.addEventListener('blur', () => {
    editor.tools.hold(false);
    editor.tools.see(false);
  });
}

/** One tab stop for the whole group, arrows inside; in a group of choices moving chooses. */
export function rove(group, chooses = false) {
  const all = () => [...group.querySelectorAll('button')].filter((b) => !b.disabled && b.checkVisibility());
  group.addEventListener('keydown', (event) => {
    const buttons = all();
    const at = buttons.indexOf(document.activeElement);
    const ways = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    let next = null;
    if (ways[event.key]) next = buttons[(at + ways[event.key] + buttons.length) % buttons.length];
    else if (event.key === 'Home') next = buttons[0];
    else if (event.key === 'End') next = buttons.at(-1);
    if (!next) return;
    event.preventDefault();
    event.stopPropagation();
    for (const button of buttons) button.tabIndex = button === next ? 0 : -1;
    next.focus();
    if (chooses) next.click();
  });
  group.addEventListener('focusin', ({ target }) => {
    for (const button of all()) button.tabIndex = button === target ? 0 : -1;
  });
}

/** Of each group exactly one button is a tab stop, whatever was disabled or hidden since. */
export function reachable(group) {
  const buttons = [...group.querySelectorAll('button')].filter((b) => !b.disabled && b.checkVisibility());
  const stops = buttons.filter((button) => button.tabIndex === 0);
  const pressed = stops.find((button) => button.ariaPressed === 'true');
  const one = stops.length === 1 ? stops[0] : (pressed ?? stops[0] ?? buttons[0]);
  for (const button of buttons) button.tabIndex = button === one ? 0 : -1;
}

// The right half of the page: before and after, looking back over the scales, candidates, branch; and the keys of the
// whole page. Runs once, when the page builds the component; `element` and `trigger` are given.
const find = (selector) => element.querySelector(selector);

function lookBack(k) { // show the picture as it was after scale k; the last scale is the finished picture
  const range = find('.vs-range'), picture = find('.vs-back'), cell = find(`[data-scale="${k}"]`), last = k >= +range.max;
  if (!picture) return;
  picture.hidden = last;
  if (!last) picture.src = cell.dataset.full;
  for (const b of element.querySelectorAll('[data-scale]')) b.setAttribute('aria-pressed', String(+b.dataset.scale === k));
  const branch = find('.vs-branch'), label = find('.vs-label');
  if (label) label.textContent = last ? `Scale ${k}: the finished picture` : `Scale ${k} of ${range.max}`;
  if (branch) { branch.disabled = last && !branch.dataset.sketch; if (!branch.dataset.sketch) branch.textContent = last ? 'Branch from an earlier scale' : `Branch from scale ${k}`; }
}
element.addEventListener('input', (event) => {
  if (event.target.matches('.vs-split')) find('.vs-compare').style.setProperty('--split', `${event.target.value}%`);
  if (event.target.matches('.vs-range')) lookBack(+event.target.value);
});
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button || button.disabled) return;
  if (button.dataset.scale) { find('.vs-range').value = button.dataset.scale; lookBack(+button.dataset.scale); }
  else if (button.dataset.candidate) trigger('select', { candidate: +button.dataset.candidate });
  else if (button.matches('.vs-branch')) trigger('submit');
});

const running = (yes) => {
  document.body.dataset.running = yes ? 'yes' : 'no';
  for (const id of ['mode', 'settings', 'painter', 'history', 'actions']) { const part = document.getElementById(id); if (part) part.inert = yes; }
};
function begin() {
  running(true);
  const status = document.querySelector('#status .status');
  status.dataset.kind = 'running'; status.textContent = 'Starting …';
  const box = element.getBoundingClientRect();
  if (box.top > window.innerHeight * 0.6 || box.bottom < 80) document.getElementById('result').scrollIntoView({ behavior: 'smooth', block: 'start' });
}
new MutationObserver(() => { // the run has ended when its status says so
  const kind = document.querySelector('#status .status')?.dataset.kind;
  if (document.body.dataset.running === 'yes' && (kind === 'done' || kind === 'failed')) running(false);
}).observe(document.getElementById('status'), { subtree: true, childList: true, attributes: true, attributeFilter: ['data-serial'] });
window.page = {
  async run(values) { begin(); const sent = await window.painter.submit(); values[0] = sent.source; values[1] = sent.mask; return values; },
  branch(values) { begin(); values[0] = +find('.vs-range').value; return values; },
  async look(values) { const sent = await window.painter.submit(); values[0] = sent.source; values[1] = sent.mask; return values; },
  async example(picture, mask) { await window.painter.openServed(picture, mask); document.getElementById('run').click(); },
  frames(answer) { // the pictures of all scales, a moment after the result itself
    const box = find('.vs');
    if (!answer || box.dataset.state !== 'done' || +box.dataset.result !== answer.result || +box.dataset.chosen !== answer.chosen) return;
    answer.frames.forEach((source, k) => { const cell = find(`[data-scale="${k + 1}"]`); cell.dataset.full = source; cell.disabled = false; });
    find('.vs-range').disabled = false;
  },
  finished() { running(false); },
};
document.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) { event.preventDefault(); if (document.body.dataset.running !== 'yes') document.getElementById('run')?.click(); }
  else if (event.key === 'Escape' && document.body.dataset.running === 'yes') { event.preventDefault(); document.getElementById('stop')?.click(); }
});

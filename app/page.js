document.addEventListener('keydown', e => {
  if (e.key === 'Enter' && (e.ctrlKey || e.metaKey)) { e.preventDefault(); document.querySelector('#run')?.click(); }
  if (e.key === 'Escape') document.querySelector('#stop:not([disabled])')?.click();
});
// The stage: a click on a scale shows it, a second click shows the result again; the slider compares.
document.addEventListener('click', e => {
  const cell = e.target.closest('.live .cell'); if (!cell) return;
  const live = cell.closest('.live'), again = cell.classList.contains('chosen');
  live.querySelectorAll('.chosen, .shown').forEach(n => n.classList.remove('chosen', 'shown'));
  const number = document.querySelector('#scale input[type=number]');
  if (number) { number.value = +cell.dataset.k + 1; number.dispatchEvent(new Event('input', { bubbles: true })); number.dispatchEvent(new Event('change', { bubbles: true })); }
  if (!again) { cell.classList.add('chosen'); live.querySelector(`.scale[data-k="${cell.dataset.k}"]`)?.classList.add('shown'); }
});
document.addEventListener('input', e => { if (e.target.matches?.('.live .compare')) e.target.parentNode.style.setProperty('--cut', e.target.value + '%'); });

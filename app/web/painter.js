// The mask painter: a picture and a paint layer on two 2D canvases. Runs once, when the page builds the component;
// `element`, `trigger` and `upload` are given. Everything the page needs from it is on window.painter.
const $ = (selector) => element.querySelector(selector);
const root = $('.mp'), view = $('.mp-view'), sheet = $('.mp-sheet'), ring = $('.mp-ring');
const picture = $('.mp-picture'), mask = $('.mp-mask'), cells = $('.mp-cells');
const paint = mask.getContext('2d', { willReadFrequently: true });
const size = $('[data-size]'), more = $('.mp-more');
const DISPLAY = 1024, MAX_BYTES = 20 * 2 ** 20, STEPS = 40, COLOUR = '#f0257c';
let tool = 'brush', loaded = false, source = null, uploading = null, original = [0, 0];
let past = [], future = [], layer = undefined, idle = 0;
let scale = 1, offset = [0, 0], fitted = true;
let overlay = null, due = 0;
let form = { mode: 'inpaint', ratio: null, anchor: [0.5, 0.5], sides: [0, 0, 0, 0] }; // what the page's settings say about the picture

const note = (text, kind = 'error') => { const line = $('.mp-note'); line.textContent = text || ''; line.dataset.kind = kind; };

// ---- opening

const looksRight = async (blob) => {
  const b = new Uint8Array(await blob.slice(0, 12).arrayBuffer()), at = (i, text) => [...text].every((c, n) => b[i + n] === c.charCodeAt(0));
  return at(1, 'PNG') || (b[0] === 0xff && b[1] === 0xd8) || (at(0, 'RIFF') && at(8, 'WEBP'));
};

async function decode(blob) {
  if (blob.size > MAX_BYTES) { note(`This file has ${(blob.size / 2 ** 20).toFixed(1)} MB, the limit is 20 MB: choose a smaller one.`); return null; }
  if (!(await looksRight(blob))) { note('This file is not a PNG, JPEG or WebP picture: choose one of these.'); return null; }
  try { return await createImageBitmap(blob); } catch { note('This file could not be opened as a picture; it may be damaged. Choose another PNG, JPEG or WebP.'); return null; }
}

function show(bitmap) {
  const factor = Math.min(1, DISPLAY / Math.max(bitmap.width, bitmap.height));
  const w = Math.max(1, Math.round(bitmap.width * factor)), h = Math.max(1, Math.round(bitmap.height * factor));
  original = [bitmap.width, bitmap.height];
  for (const canvas of [picture, mask, cells]) { canvas.width = w; canvas.height = h; }
  sheet.style.width = `${w}px`; sheet.style.height = `${h}px`;
  const ctx = picture.getContext('2d', { willReadFrequently: true });
  ctx.imageSmoothingQuality = 'high';
  ctx.drawImage(bitmap, 0, 0, w, h);
  bitmap.close();
  const found = ctx.getImageData(0, 0, w, h).data, alpha = new Uint8Array(w * h);
  let holes = false;
  for (let i = 0; i < alpha.length; i++) if (found[4 * i + 3] < 128) { alpha[i] = 255; holes = true; }
  ctx.globalCompositeOperation = 'destination-over'; ctx.fillStyle = '#fff'; ctx.fillRect(0, 0, w, h); ctx.globalCompositeOperation = 'source-over';
  past = []; future = []; loaded = true; overlay = null;
  if (holes) put(alpha); else paint.clearRect(0, 0, w, h);
  root.dataset.ready = `${w}x${h}`; root.dataset.original = original.join('x');
  for (const input of element.querySelectorAll('.mp-rect input')) input.max = input.name === 'left' || input.name === 'width' ? original[0] : original[1];
  frame(); fit(); changed();
}

async function open(blob, name) {
  note('');
  const bitmap = await decode(blob);
  if (!bitmap) return false;
  show(bitmap);
  source = null;
  const mine = (uploading = upload(new File([blob], name || blob.name || 'picture.png', { type: blob.type })).then((sent) => {
    if (uploading !== mine) return;
    source = { path: sent.path, url: sent.url, orig_name: name || blob.name, meta: { _type: 'gradio.FileData' } };
    trigger('upload'); ahead();
  }).catch(() => { if (uploading === mine) note('The picture could not be sent to the server: check the connection and open it again.'); }));
  return true;
}

async function openServed(file, itsMask) { // a picture that the server already has: a result, or an example
  if (!file || !file.url) return;
  note('');
  const blob = await (await fetch(file.url)).blob();
  const bitmap = await decode(blob);
  if (!bitmap) return;
  show(bitmap);
  uploading = null;
  source = { path: file.path, url: file.url, orig_name: file.orig_name, meta: { _type: 'gradio.FileData' } };
  if (itsMask && itsMask.url) await openMask(await (await fetch(itsMask.url)).blob());
  trigger('upload'); ahead();
}

function refuse(text) { // the server did not take the picture
  loaded = false; source = null; uploading = null; past = []; future = [];
  delete root.dataset.ready; changed(); note(text);
}

// ---- the paint layer

const alphaOf = () => { const d = paint.getImageData(0, 0, mask.width, mask.height).data, out = new Uint8Array(d.length / 4); for (let i = 0; i < out.length; i++) out[i] = d[4 * i + 3] > 127 ? 255 : 0; return out; };
function put(alpha) {
  const data = paint.createImageData(mask.width, mask.height), d = data.data;
  for (let i = 0; i < alpha.length; i++) if (alpha[i]) { d[4 * i] = 240; d[4 * i + 1] = 37; d[4 * i + 2] = 124; d[4 * i + 3] = 255; }
  paint.putImageData(data, 0, 0);
}
const remember = () => { past.push(alphaOf()); if (past.length > STEPS) past.shift(); future = []; };
function change(step) { if (!loaded) return; remember(); const result = step(alphaOf(), mask.width, mask.height); if (result) put(result); changed(); }
function encode() { // the layer as a data URL, null when nothing is painted
  if (layer === undefined) layer = loaded && alphaOf().some((a) => a) ? mask.toDataURL('image/png') : null;
  return layer;
}
function changed() {
  layer = undefined; clearTimeout(idle); idle = setTimeout(() => { encode(); root.dataset.painted = layer ? 'yes' : 'no'; }, 120);
  $('[data-act=undo]').disabled = !past.length; $('[data-act=redo]').disabled = !future.length;
  if (overlay) { overlay = null; drawCells(); }
  ahead();
}
function ahead() { // after a pause in painting, the server encodes what a run would need now
  clearTimeout(due); delete root.dataset.prepared;
  due = setTimeout(() => { if (source && document.body.dataset.running !== 'yes') trigger('release'); }, 300);
}
function back(from, to) { if (!from.length) return; to.push(alphaOf()); put(from.pop()); changed(); }

function spread(alpha, w, h, radius, value) { // grow (255) or shrink (0) by a round brush: union of shifted copies, row by row
  const out = alpha.slice();
  for (let dy = -radius; dy <= radius; dy++) {
    const reach = Math.floor(Math.sqrt(radius * radius - dy * dy));
    for (let y = 0; y < h; y++) {
      const from = y + dy; if (from < 0 || from >= h) continue;
      let last = -Infinity, next = -1; const row = from * w, at = y * w;
      for (let x = 0; x < w; x++) { // distance to the nearest pixel of `value` in that row
        if (next < x) { next = x; while (next < w && alpha[row + next] !== value) next++; }
        if (alpha[row + x] === value) last = x;
        if (x - last <= reach || next - x <= reach && next < w) out[at + x] = value;
      }
    }
  }
  return out;
}
function fillHoles(alpha, w, h) {
  const open = new Uint8Array(w * h), queue = new Int32Array(w * h); let head = 0, tail = 0;
  const add = (i) => { if (!alpha[i] && !open[i]) { open[i] = 1; queue[tail++] = i; } };
  for (let x = 0; x < w; x++) { add(x); add((h - 1) * w + x); }
  for (let y = 0; y < h; y++) { add(y * w); add(y * w + w - 1); }
  while (head < tail) { const i = queue[head++], x = i % w; if (x) add(i - 1); if (x < w - 1) add(i + 1); if (i >= w) add(i - w); if (i < w * (h - 1)) add(i + w); }
  return alpha.map((_, i) => (open[i] ? 0 : 255));
}

async function openMask(blob) {
  if (!loaded) { note('Open a picture first, then its mask.'); return; }
  note('');
  const bitmap = await decode(blob);
  if (!bitmap) return;
  const canvas = Object.assign(document.createElement('canvas'), { width: mask.width, height: mask.height }), ctx = canvas.getContext('2d');
  ctx.imageSmoothingEnabled = false; ctx.drawImage(bitmap, 0, 0, mask.width, mask.height);
  const d = ctx.getImageData(0, 0, mask.width, mask.height).data;
  let opaque = true; for (let i = 3; i < d.length; i += 4) if (d[i] < 255) { opaque = false; break; }
  change((alpha) => alpha.map((_, i) => ((opaque ? 0.299 * d[4 * i] + 0.587 * d[4 * i + 1] + 0.114 * d[4 * i + 2] : d[4 * i + 3]) > 127 ? 255 : 0)));
}
function saveMask() {
  if (!loaded) { note('There is no mask yet: open a picture and paint.'); return; }
  const alpha = alphaOf(), data = new ImageData(mask.width, mask.height);
  for (let i = 0; i < alpha.length; i++) { data.data[4 * i] = data.data[4 * i + 1] = data.data[4 * i + 2] = alpha[i]; data.data[4 * i + 3] = 255; }
  const small = Object.assign(document.createElement('canvas'), { width: mask.width, height: mask.height });
  small.getContext('2d').putImageData(data, 0, 0);
  const full = Object.assign(document.createElement('canvas'), { width: original[0], height: original[1] }), ctx = full.getContext('2d');
  ctx.imageSmoothingEnabled = false; ctx.drawImage(small, 0, 0, ...original);
  full.toBlob((blob) => { const link = Object.assign(document.createElement('a'), { href: URL.createObjectURL(blob), download: 'mask.png' }); link.click(); setTimeout(() => URL.revokeObjectURL(link.href), 1000); }, 'image/png');
}

// ---- view: zoom and pan

const place = () => { sheet.style.transform = `translate(${offset[0]}px, ${offset[1]}px) scale(${scale})`; };
function fit() {
  const box = view.getBoundingClientRect(), w = mask.width, h = mask.height;
  if (!loaded || !box.width) return;
  const [l, t, r, b] = amounts().map((pixels) => (pixels * w) / original[0]), margin = l + t + r + b ? 16 : 0;
  scale = Math.min((box.width - margin) / (l + w + r), (box.height - margin) / (t + h + b), 8);
  offset = [(box.width - (w + r - l) * scale) / 2, (box.height - (h + b - t) * scale) / 2]; fitted = true; place();
}
function zoom(factor, x, y) { // about a point of the view
  const next = Math.min(Math.max(scale * factor, 0.05), 32), ratio = next / scale;
  offset = [x - (x - offset[0]) * ratio, y - (y - offset[1]) * ratio]; scale = next; fitted = false; place();
}
const paints = () => form.mode === 'inpaint' || form.mode === 'edit';

// ---- outpainting: the frame of the larger picture

const rounded = (x) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x)); // halves to even, as the server does
function amounts() { // pixels of the picture to be added at left, top, right, bottom
  if (!loaded || form.mode !== 'outpaint') return [0, 0, 0, 0];
  if (!form.ratio) return form.sides;
  const [w, h] = original, across = Math.max(0, rounded(h * form.ratio) - w), down = across ? 0 : Math.max(0, rounded(w / form.ratio) - h);
  const left = rounded(across * form.anchor[0]), top = rounded(down * form.anchor[1]);
  return [left, top, across - left, down - top];
}
function frame() {
  const [l, t, r, b] = amounts(), factor = mask.width / original[0], edge = $('.mp-frame'), grows = l + t + r + b > 0;
  root.dataset.mode = form.mode; edge.hidden = !grows;
  [edge.style.left, edge.style.top, edge.style.right, edge.style.bottom] = [l, t, r, b].map((pixels) => `${-pixels * factor}px`);
  $('.mp-grown').textContent = grows ? `${original[0] + l + r} × ${original[1] + t + b} px` : '';
}
function settings(values, ratios, anchors) { // the page's controls, whenever one that matters here changes
  const [mode, ratio, anchor, ...sides] = values;
  const before = $('.mp-grown').textContent + paints();
  form = { mode, ratio: ratios[ratio], anchor: anchors[anchor], sides: sides.slice(0, 4).map((side) => Math.max(0, Math.round(+side || 0))) };
  frame(); ahead();
  if (form.mode === 'outpaint' || before !== $('.mp-grown').textContent + paints()) fit(); // other settings leave the zoom alone
}
const local = (event) => { const box = view.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
const onPicture = (event) => { const [x, y] = local(event); return [(x - offset[0]) / scale, (y - offset[1]) / scale]; };
const brushWidth = () => (+size.value * Math.max(mask.width, mask.height)) / 1024;
new ResizeObserver(() => { if (fitted) fit(); }).observe(view);

function moveRing(event) {
  const hide = !loaded || !paints() || tool === 'pan' || event.pointerType === 'touch';
  ring.style.display = hide ? 'none' : 'block'; if (hide) return;
  const [x, y] = local(event), d = brushWidth() * scale;
  Object.assign(ring.style, { width: `${d}px`, height: `${d}px`, transform: `translate(${x - d / 2}px, ${y - d / 2}px)` });
}

// ---- strokes

const fingers = new Map(); let stroke = null, grip = null;
function segment(a, b) {
  paint.globalCompositeOperation = tool === 'erase' ? 'destination-out' : 'source-over';
  Object.assign(paint, { strokeStyle: COLOUR, lineCap: 'round', lineJoin: 'round', lineWidth: brushWidth() });
  paint.beginPath(); paint.moveTo(...a); paint.lineTo(b[0] + 0.01, b[1]); paint.stroke();
}
function grab() { const [a, b] = [...fingers.values()]; return { centre: b ? [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2] : a, gap: b ? Math.hypot(a[0] - b[0], a[1] - b[1]) : 0 }; }
view.addEventListener('pointerdown', (event) => {
  if (!loaded || event.target.closest('button') || (event.pointerType === 'mouse' && event.button === 2)) return;
  view.setPointerCapture(event.pointerId); fingers.set(event.pointerId, local(event));
  if (fingers.size === 2) { if (stroke) { stroke = null; put(past.pop()); changed(); } grip = grab(); return; }
  if (tool === 'pan' || !paints() || event.button === 1) { grip = grab(); return; }
  remember(); stroke = onPicture(event); segment(stroke, stroke);
});
view.addEventListener('pointermove', (event) => {
  moveRing(event);
  if (!fingers.has(event.pointerId)) return;
  fingers.set(event.pointerId, local(event));
  if (grip) {
    const now = grab();
    offset = [offset[0] + now.centre[0] - grip.centre[0], offset[1] + now.centre[1] - grip.centre[1]]; fitted = false;
    if (grip.gap && now.gap) zoom(now.gap / grip.gap, ...now.centre);
    grip = now; place(); return;
  }
  if (!stroke) return;
  const points = event.getCoalescedEvents?.() ?? [];
  for (const one of points.length ? points : [event]) { const p = onPicture(one); segment(stroke, p); stroke = p; }
});
for (const name of ['pointerup', 'pointercancel']) view.addEventListener(name, (event) => {
  if (!fingers.delete(event.pointerId)) return;
  grip = grip && fingers.size ? grab() : null;
  if (stroke) { stroke = null; changed(); }
});
view.addEventListener('pointerleave', () => { ring.style.display = 'none'; });
view.addEventListener('wheel', (event) => { if (loaded && (event.ctrlKey || event.metaKey)) { event.preventDefault(); zoom(Math.exp(-event.deltaY / 300), ...local(event)); } }, { passive: false });

// ---- what will be redrawn

function drawCells() {
  const ctx = cells.getContext('2d'), button = $('[data-act=cells]'), range = $('[data-cellscale]');
  ctx.clearRect(0, 0, cells.width, cells.height);
  button.setAttribute('aria-pressed', String(!!overlay)); range.parentElement.hidden = !overlay;
  if (!overlay) return;
  const k = +range.value - 1; range.max = overlay.windows[0].grids.length;
  for (const { box, grids } of overlay.windows) {
    const { side, cells: redrawn } = grids[Math.min(k, grids.length - 1)], [l, t, r, b] = [box[0] * cells.width, box[1] * cells.height, box[2] * cells.width, box[3] * cells.height];
    const w = (r - l) / side, h = (b - t) / side; let count = 0;
    for (let i = 0; i < redrawn.length; i++) { const x = l + (i % side) * w, y = t + Math.floor(i / side) * h; if (redrawn[i] === '1') { count++; ctx.fillStyle = 'rgba(255,196,0,.38)'; ctx.fillRect(x, y, w, h); } ctx.strokeStyle = 'rgba(255,255,255,.45)'; ctx.strokeRect(x + 0.5, y + 0.5, w, h); }
    ctx.strokeStyle = '#ffc400'; ctx.lineWidth = 2; ctx.strokeRect(l + 1, t + 1, r - l - 2, b - t - 2); ctx.lineWidth = 1;
    $('.mp-scales output').textContent = `${k + 1}: ${count} of ${side * side} tokens`;
  }
}

// ---- buttons, keys, files

const grown = () => Math.max(2, Math.round(Math.max(mask.width, mask.height) / 128));
const acts = {
  open: () => $('[data-file=picture]').click(), openmask: () => $('[data-file=mask]').click(), savemask: saveMask,
  undo: () => back(past, future), redo: () => back(future, past), clear: () => change((alpha) => alpha.fill(0)),
  invert: () => change((alpha) => alpha.map((a) => 255 - a)), fill: () => change(fillHoles),
  grow: () => change((alpha, w, h) => spread(alpha, w, h, grown(), 255)), shrink: () => change((alpha, w, h) => spread(alpha, w, h, grown(), 0)),
  fit, in: () => zoom(1.25, view.clientWidth / 2, view.clientHeight / 2), out: () => zoom(0.8, view.clientWidth / 2, view.clientHeight / 2),
  cells: () => { if (overlay) { overlay = null; drawCells(); } else if (!encode()) note('Paint first: then the tokens that will be redrawn can be shown.'); else { note(''); trigger('input'); } },
};
function pick(name) { tool = name; view.dataset.tool = name; element.querySelectorAll('[data-tool]').forEach((b) => b.tagName === 'BUTTON' && b.setAttribute('aria-pressed', String(b.dataset.tool === name))); }
element.addEventListener('click', (event) => { const button = event.target.closest('button'); if (!button) return; if (button.dataset.tool) pick(button.dataset.tool); else acts[button.dataset.act]?.(); });
$('.mp-rect').addEventListener('submit', (event) => {
  event.preventDefault(); if (!loaded) { note('Open a picture first.'); return; }
  const [l, t, w, h] = ['left', 'top', 'width', 'height'].map((n) => +event.target.elements[n].value), fx = mask.width / original[0], fy = mask.height / original[1];
  remember(); paint.globalCompositeOperation = 'source-over'; paint.fillStyle = COLOUR;
  const x0 = Math.round(l * fx), y0 = Math.round(t * fy);
  paint.fillRect(x0, y0, Math.max(1, Math.round((l + w) * fx) - x0), Math.max(1, Math.round((t + h) * fy) - y0)); changed();
});
$('[data-cellscale]').addEventListener('input', drawCells);
$('[data-file=picture]').addEventListener('change', (event) => { const file = event.target.files[0]; event.target.value = ''; if (file) open(file); });
$('[data-file=mask]').addEventListener('change', (event) => { const file = event.target.files[0]; event.target.value = ''; if (file) openMask(file); });
for (const name of ['dragenter', 'dragover']) document.addEventListener(name, (event) => { if (event.dataTransfer?.types.includes('Files')) { event.preventDefault(); root.dataset.drop = 'yes'; } });
document.addEventListener('dragleave', (event) => { if (!event.relatedTarget) delete root.dataset.drop; });
document.addEventListener('drop', (event) => { delete root.dataset.drop; const file = event.dataTransfer?.files[0]; if (file) { event.preventDefault(); open(file); } });
document.addEventListener('paste', (event) => { const file = [...(event.clipboardData?.files ?? [])].find((f) => f.type.startsWith('image/')); if (file) { event.preventDefault(); open(file); } });
document.addEventListener('keydown', (event) => {
  const typing = event.target.closest?.('textarea, select, [contenteditable=true], input:not([type=range]):not([type=radio]):not([type=checkbox])');
  if (typing || !loaded || !paints()) return;
  const key = event.key.toLowerCase(), command = event.ctrlKey || event.metaKey;
  if (command && key === 'z') { event.preventDefault(); (event.shiftKey ? acts.redo : acts.undo)(); } else if (command && key === 'y') { event.preventDefault(); acts.redo(); }
  else if (command || event.altKey) return;
  else if (key === '[' || key === ']') size.value = +size.value + (key === '[' ? -1 : 1) * Math.max(4, Math.round(+size.value * 0.15));
  else if ({ b: 1, e: 1, h: 1 }[key]) pick({ b: 'brush', e: 'erase', h: 'pan' }[key]);
});
pick('brush');

window.painter = {
  open, openServed, openMask, refuse, note, settings, file: () => source,
  async submit() { if (uploading) await uploading; return { source, mask: encode() }; },
  opened(answer) { // without a word to say it must not wipe what was said since, nor speak of a picture that is gone
    if (!answer || (answer.file && answer.file !== source?.path)) return;
    if (answer.error) refuse(answer.error); else if (answer.notices.length) note(answer.notices.join(' '), 'notice');
  },
  prepared(yes) { if (yes) root.dataset.prepared = 'yes'; },
  setCells(answer) { if (!answer) return; if (answer.error) { note(answer.error); return; } overlay = answer; $('[data-cellscale]').max = answer.windows[0].grids.length; drawCells(); },
};

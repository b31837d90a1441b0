// Pointers on the view: strokes, the brush's ring, moving with one finger and pinching with two.

function gripOf(fingers) {
  const [a, b] = [...fingers.values()];
  if (!b) return { centre: a, gap: 0 };
  return { centre: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2], gap: Math.hypot(a[0] - b[0], a[1] - b[1]) };
}

/** `painter` says what may be done: ready(), paints(), tool, brushWidth(), remember(), takeBack(), changed(). */
export function listenToPointers(painter, view, layer, ring) {
  const fingers = new Map();
  let stroke = null;
  let grip = null;

  function moveRing(event) {
    const hide = !painter.ready() || !painter.paints() || painter.tool === 'pan' || event.pointerType === 'touch';
    ring.style.display = hide ? 'none' : 'block';
    if (hide) return;
    const [x, y] = view.local(event);
    const d = painter.brushWidth() * view.scale;
    const transform = `translate(${x - d / 2}px, ${y - d / 2}px)`;
    Object.assign(ring.style, { width: `${d}px`, height: `${d}px`, transform });
  }

  function draw(to) {
    layer.line(stroke, to, painter.brushWidth(), painter.tool === 'erase');
    stroke = to;
  }

  function down(event) {
    const rightButton = event.pointerType === 'mouse' && event.button === 2;
    if (!painter.ready() || event.target.closest('button') || rightButton) return;
    view.element.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, view.local(event));
    if (fingers.size === 2) {
      if (stroke) painter.takeBack(); // the first finger of two was no stroke
      stroke = null;
      grip = gripOf(fingers);
    } else if (painter.tool === 'pan' || !painter.paints() || event.button === 1) {
      grip = gripOf(fingers);
    } else {
      painter.remember();
      stroke = view.onSheet(event);
      draw(stroke);
    }
  }

  function move(event) {
    moveRing(event);
    if (!fingers.has(event.pointerId)) return;
    fingers.set(event.pointerId, view.local(event));
    if (grip) {
      const now = gripOf(fingers);
      view.pan(now.centre[0] - grip.centre[0], now.centre[1] - grip.centre[1]);
      if (grip.gap && now.gap) view.zoom(now.gap / grip.gap, ...now.centre);
      grip = now;
    } else if (stroke) {
      const points = event.getCoalescedEvents?.() ?? [];
      for (const point of points.length ? points : [event]) draw(view.onSheet(point));
    }
  }

  function up(event) {
    if (!fingers.delete(event.pointerId)) return;
    grip = grip && fingers.size ? gripOf(fingers) : null;
    if (stroke) painter.changed();
    stroke = null;
  }

  function wheel(event) {
    if (!painter.ready() || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    view.zoom(Math.exp(-event.deltaY / 300), ...view.local(event));
  }

  view.element.addEventListener('pointerdown', down);
  view.element.addEventListener('pointermove', move);
  view.element.addEventListener('pointerup', up);
  view.element.addEventListener('pointercancel', up);
  view.element.addEventListener('wheel', wheel, { passive: false });
  view.element.addEventListener('pointerleave', () => {
    ring.style.display = 'none';
  });
}

// Pointers on the canvas: strokes, lasso, rectangle, the brush's ring, moving, and pinching with two fingers.

function gripOf(fingers) {
  const [a, b] = [...fingers.values()];
  if (!b) return { centre: a, gap: 0 };
  return { centre: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2], gap: Math.hypot(a[0] - b[0], a[1] - b[1]) };
}

/** `editor` says what may be done: board, view, layer, tools, paints(), locked(). */
export function listenToPointers(editor) {
  const { view, layer, board } = editor;
  const ring = editor.find('.ring');
  const trace = editor.find('.trace');
  const fingers = new Map();
  let stroke = null; // of the brush: its last point, in the layer's pixels
  let outline = null; // of lasso and rectangle: points in the picture's pixels
  let grip = null;

  const factor = () => layer.size[0] / board.picture.size[0];
  const onLayer = (event) => view.onPicture(event).map((x) => x * factor());
  const erases = (event) => editor.tools.tool === 'erase' || event.altKey;
  const moves = (event) =>
    editor.tools.tool === 'hand' || !editor.paints() || event.button === 1 || editor.tools.held;

  function moveRing(event) {
    const brush = editor.tools.tool === 'brush' || editor.tools.tool === 'erase';
    const hide = !board.picture || !editor.paints() || !brush || event.pointerType === 'touch' || editor.tools.held;
    const outside = event.target.closest('.bar, .menu, .first');
    ring.style.display = hide || outside ? 'none' : 'block';
    if (hide || outside) return;
    const [x, y] = view.local(event);
    const d = (editor.tools.brush * view.scale) / factor();
    Object.assign(ring.style, {
      width: `${d}px`,
      height: `${d}px`,
      transform: `translate(${x - d / 2}px, ${y - d / 2}px)`,
    });
  }

  function draw(to, erase) {
    layer.line(stroke, to, editor.tools.brush, erase);
    stroke = to;
  }

  function showOutline() {
    const [width, height] = board.picture.size;
    trace.setAttribute('viewBox', `0 0 ${width} ${height}`);
    trace.firstElementChild.setAttribute('d', outline ? `M${outline.map((p) => p.join(' ')).join('L')}Z` : '');
  }

  function down(event) {
    const rightButton = event.pointerType === 'mouse' && event.button === 2;
    if (!editor.scene.picture || rightButton || event.target.closest('button, input, .bar, .menu, .first')) return;
    event.preventDefault();
    document.activeElement?.blur?.();
    view.element.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, view.local(event));
    if (fingers.size === 2) {
      if (stroke) board.takeBack(); // the first finger of two was no stroke
      stroke = outline = null;
      if (board.picture) showOutline();
      grip = gripOf(fingers);
    } else if (moves(event) || editor.locked()) {
      grip = gripOf(fingers);
      view.element.classList.add('moving');
    } else if (editor.tools.tool === 'lasso' || editor.tools.tool === 'box') {
      outline = [view.onPicture(event)];
    } else {
      board.remember();
      stroke = onLayer(event);
      editor.begins();
      draw(stroke, erases(event));
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
      for (const point of points.length ? points : [event]) draw(onLayer(point), erases(event));
    } else if (outline) {
      const [x, y] = view.onPicture(event);
      if (editor.tools.tool === 'lasso') outline.push([x, y]);
      else outline = boxOf(outline[0], [x, y]);
      showOutline();
    }
  }

  const boxOf = ([x, y], [u, v]) => [[x, y], [u, y], [u, v], [x, v]]; // biome-ignore format: a box

  function up(event) {
    if (!fingers.delete(event.pointerId)) return;
    grip = grip && fingers.size ? gripOf(fingers) : null;
    if (!grip) view.element.classList.remove('moving');
    if ((stroke || outline) && board.picture) {
      editor.live.at = view.onPicture(event).map((x, i) => x / board.picture.size[i]);
    }
    if (stroke) board.changed();
    if (outline?.length > 2) {
      board.remember();
      layer.area(
        outline.map((point) => point.map((x) => x * factor())),
        erases(event),
      );
      board.changed();
    }
    stroke = outline = null;
    if (board.picture) showOutline();
  }

  function wheel(event) {
    if (!editor.scene.picture || event.target.closest('.menu, .first, [role=listbox]')) return;
    event.preventDefault();
    const step = event.deltaMode ? 30 * event.deltaY : event.deltaY;
    view.zoom(Math.exp(-step / (event.ctrlKey ? 120 : 500)), ...view.local(event));
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

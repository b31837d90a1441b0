// The overlay of the tokens that will be redrawn.

const line = (pen, colour, width, x, y, w, h) => {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.strokeRect(x, y, w, h);
};

function drawWindow(pen, { box, grids }) {
  const grid = grids.at(-1);
  const { width, height } = pen.canvas;
  const [left, top, right, bottom] = [box[0] * width, box[1] * height, box[2] * width, box[3] * height];
  const w = (right - left) / grid.side;
  const h = (bottom - top) / grid.side;
  pen.fillStyle = 'rgb(255 196 0 / 0.38)';
  for (let i = 0; i < grid.cells.length; i++) {
    const x = left + (i % grid.side) * w;
    const y = top + Math.floor(i / grid.side) * h;
    if (grid.cells[i] === '1') pen.fillRect(x, y, w, h);
    line(pen, 'rgb(255 255 255 / 0.45)', 1, x + 0.5, y + 0.5, w, h);
  }
  line(pen, '#ffc400', 2, left + 1, top + 1, right - left - 2, bottom - top - 2);
}

export function cellsOf(editor) {
  const canvas = editor.find('.cells');
  const button = editor.find('[data-act=cells]');
  let open = false;

  function draw(windows) {
    const [width, height] = windows ? editor.board.picture.layerSize : [1, 1];
    Object.assign(canvas, { width, height });
    open = windows !== null;
    button.setAttribute('aria-pressed', String(open));
    for (const each of windows ?? []) drawWindow(canvas.getContext('2d'), each);
  }

  return {
    hide: () => open && draw(null),
    ask: async () => {
      if (open) {
        draw(null);
        return;
      }
      const { board, layer, form, server } = editor;
      try {
        const { windows } = await server.ask('look', {
          ref: board.picture.ref,
          mask: layer.encode(),
          form: form.values,
        });
        draw(windows);
        const grid = windows[0].grids.at(-1);
        const redrawn = [...grid.cells].filter((cell) => cell === '1').length;
        editor.say(`${redrawn} of ${grid.side ** 2} tokens will be redrawn`);
      } catch (error) {
        editor.say(error.message, 'failed');
      }
    },
  };
}

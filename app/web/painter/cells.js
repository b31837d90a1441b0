// The overlay of the tokens that will be redrawn.

const line = (pen, colour, width, x, y, w, h) => {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.strokeRect(x, y, w, h);
};

function drawWindow(pen, { box, grid }) {
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

export class Cells {
  #shown = null;
  #pen;
  #button;
  #range;
  #count;

  constructor(canvas, button, range, count) {
    this.#pen = canvas.getContext('2d');
    this.#button = button;
    this.#range = range;
    this.#count = count;
    range.addEventListener('input', () => this.#draw());
  }

  get open() {
    return this.#shown !== null;
  }

  show(answer) {
    this.#shown = answer;
    if (answer) this.#range.max = answer.windows[0].grids.length;
    this.#draw();
  }

  #draw() {
    const { width, height } = this.#pen.canvas;
    this.#pen.clearRect(0, 0, width, height);
    this.#button.setAttribute('aria-pressed', String(this.open));
    this.#range.parentElement.hidden = !this.open;
    if (!this.open) return;
    const k = +this.#range.value - 1;
    for (const { box, grids } of this.#shown.windows) {
      const grid = grids[Math.min(k, grids.length - 1)];
      drawWindow(this.#pen, { box, grid });
      const redrawn = [...grid.cells].filter((cell) => cell === '1').length;
      this.#count.textContent = `${k + 1}: ${redrawn} of ${grid.side ** 2} tokens`;
    }
  }
}

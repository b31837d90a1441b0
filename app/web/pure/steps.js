// Undo and redo. A step is the whole state of the canvas, { picture, alpha }: the way back leads through the
// pictures as well as through the strokes.

export class Steps {
  #past = [];
  #future = [];
  #limit;

  constructor(limit = 40) {
    this.#limit = limit;
  }

  /** Whether there is a way back and forth; between pictures only, where `picturesOnly`, from `now`. */
  ways(now, picturesOnly) {
    const leads = (steps) => steps.some((step) => !picturesOnly || step.picture !== now.picture);
    return { back: leads(this.#past), forth: leads(this.#future) };
  }

  /** `state` is about to be changed. */
  remember(state) {
    this.#past.push(state);
    if (this.#past.length > this.#limit) this.#past.shift();
    this.#future = [];
  }

  /** The state before `now`, or null. */
  undo(now, picturesOnly = false) {
    return this.#move(this.#past, this.#future, now, picturesOnly);
  }

  redo(now, picturesOnly = false) {
    return this.#move(this.#future, this.#past, now, picturesOnly);
  }

  /** The last change never was: the state before it, or null. */
  takeBack() {
    return this.#past.pop() ?? null;
  }

  /** No way leads to this picture any more. */
  forget(picture) {
    this.#past = this.#past.filter((step) => step.picture !== picture);
    this.#future = this.#future.filter((step) => step.picture !== picture);
  }

  #move(from, to, now, picturesOnly) {
    let at = from.length - 1;
    while (picturesOnly && at >= 0 && from[at].picture === now.picture) at--;
    if (at < 0) return null;
    to.push(now, ...from.splice(at + 1).reverse());
    return from.pop();
  }
}

import assert from 'node:assert/strict';
import test from 'node:test';
import { Steps } from '../../app/web/pure/steps.js';

const photo = { name: 'photo' };
const other = { name: 'other' };
const state = (picture, alpha) => ({ picture, alpha });

function walked() {
  const steps = new Steps();
  steps.remember(state(photo, 'a'));
  steps.remember(state(photo, 'b'));
  steps.remember(state(photo, 'c')); // then another picture came
  steps.remember(state(other, 'd'));
  return steps;
}

test('undo leads back through strokes and pictures, redo forth again', () => {
  const steps = walked();
  const walk = (step, from) => {
    const seen = [from];
    for (let next = step(from); next; next = step(next)) seen.push(next);
    return seen;
  };
  const back = walk((now) => steps.undo(now), state(other, 'e'));
  assert.equal(back.map(({ alpha }) => alpha).join(''), 'edcba');
  const forth = walk((now) => steps.redo(now), back.at(-1));
  assert.equal(forth.map(({ alpha }) => alpha).join(''), 'abcde');
  assert.deepEqual(forth, back.reverse());
  assert.deepEqual(steps.ways(forth.at(-1), false), { back: true, forth: false });
});

test('where nothing is painted, undo leads from picture to picture', () => {
  const steps = walked();
  assert.deepEqual(steps.ways({ picture: photo }, true), { back: true, forth: false });
  const before = steps.undo(state(other, 'e'), true);
  assert.deepEqual(before, state(photo, 'c'));
  assert.equal(steps.undo(before, true), null);
  assert.deepEqual(steps.ways(before, true), { back: false, forth: true });
  assert.deepEqual(steps.redo(before, true), state(other, 'd'));
});

test('a change forgets the way forth; a refused picture leaves no step', () => {
  const steps = walked();
  steps.undo(state(other, 'e'));
  steps.remember(state(other, 'd'));
  assert.equal(steps.redo(state(other, 'f')), null);
  steps.forget(other);
  assert.deepEqual(steps.takeBack(), state(photo, 'c'));
});

test('the steps are bounded, the oldest go', () => {
  const steps = new Steps(2);
  for (const alpha of ['a', 'b', 'c']) steps.remember(state(photo, alpha));
  assert.equal(steps.takeBack().alpha, 'c');
  assert.equal(steps.takeBack().alpha, 'b');
  assert.equal(steps.takeBack(), null);
});

import assert from 'node:assert/strict';
import test from 'node:test';
import { Scales } from '../../app/web/pure/scales.js';

const sides = [1, 2, 3, 4];

test('a run fills the cells one by one; what comes after the last scale stands in its place', () => {
  const scales = new Scales();
  scales.begin(sides);
  for (let scale = 1; scale <= 4; scale++) scales.arrived({ scale, window: 1, thumb: `a${scale}` });
  scales.arrived({ scale: 4, window: 1, thumb: 'detail' });
  assert.deepEqual(scales.thumbs, ['a1', 'a2', 'a3', 'detail']);
  scales.arrived({ scale: 1, window: 2, thumb: 'b1' });
  assert.deepEqual(scales.thumbs, ['b1'], 'a new part begins anew');
});

test('a result that begins at a later scale has empty cells before it', () => {
  const scales = new Scales();
  scales.finished(sides, ['x', 'y']);
  assert.deepEqual(scales.thumbs, [null, null, 'x', 'y']);
  scales.looks(['f3', 'f4']);
  assert.deepEqual(scales.frames, [null, null, 'f3', 'f4']);
  assert.equal(scales.reach(1), 3, 'the first that is there');
  assert.equal(scales.reach(4), 0, 'the last one is the picture as it is');
  assert.equal(scales.reach(99), 0);
});

import assert from 'node:assert/strict';
import test from 'node:test';
import { fitting, growth, rounded, zoomed } from '../../app/web/painter/frame.js';

const form = { mode: 'outpaint', ratio: 16 / 9, anchor: [0.5, 0.5], sides: [1, 2, 3, 4] };

test('halves go to even, as on the server', () => {
  assert.deepEqual([0.5, 1.5, 2.5, 2.4, 2.6].map(rounded), [0, 2, 2, 2, 3]);
});

test('outpainting grows one way only, to the new shape', () => {
  assert.deepEqual(growth([160, 120], form), [26, 0, 27, 0]);
  assert.deepEqual(growth([160, 120], { ...form, ratio: 0.75 }), [0, 46, 0, 47]);
  assert.deepEqual(growth([160, 120], { ...form, anchor: [0, 0.5] }), [0, 0, 53, 0]);
  assert.deepEqual(growth([160, 120], { ...form, ratio: 4 / 3 }), [0, 0, 0, 0]);
  assert.deepEqual(growth([160, 120], { ...form, ratio: undefined }), [1, 2, 3, 4]);
  assert.deepEqual(growth([160, 120], { ...form, mode: 'inpaint' }), [0, 0, 0, 0]);
});

test('a fitted sheet lies whole in the middle of its view', () => {
  assert.deepEqual(fitting({ width: 400, height: 400 }, [200, 100], [0, 0, 0, 0]), { scale: 2, offset: [0, 100] });
  assert.equal(fitting({ width: 400, height: 400 }, [10, 10], [0, 0, 0, 0]).scale, 8, 'small ones are not blown up');
  const { scale, offset } = fitting({ width: 416, height: 316 }, [200, 100], [100, 0, 100, 0]);
  assert.deepEqual([scale, offset], [1, [108, 108]]);
});

test('zooming keeps the point under the pointer, within bounds', () => {
  const at = zoomed({ scale: 1, offset: [10, 20] }, 2, 50, 60);
  assert.deepEqual(at, { scale: 2, offset: [-30, -20] });
  assert.equal(zoomed(at, 1e9, 0, 0).scale, 32);
  assert.equal(zoomed(at, 1e-9, 0, 0).scale, 0.05);
});

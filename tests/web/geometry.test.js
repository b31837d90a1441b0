import assert from 'node:assert/strict';
import test from 'node:test';
import {
  barPlace,
  boundsOf,
  centreSquare,
  fitting,
  growth,
  insight,
  middled,
  rounded,
  tilesOf,
  visible,
  zoomed,
} from '../../app/web/pure/geometry.js';

test('halves go to even, as on the server', () => {
  assert.deepEqual([0.5, 1.5, 2.5, 2.4, 2.6].map(rounded), [0, 2, 2, 2, 3]);
});

test('a picture grows one way only, to the new shape', () => {
  assert.deepEqual(growth([160, 120], 16 / 9), [26, 0, 27, 0]);
  assert.deepEqual(growth([160, 120], 0.75), [0, 46, 0, 47]);
  assert.deepEqual(growth([160, 120], 4 / 3), [0, 0, 0, 0]);
});

test('a fitted sheet lies whole in the middle of its view, small ones enlarged', () => {
  const box = { width: 424, height: 424 };
  assert.deepEqual(fitting(box, [200, 100], [0, 0, 0, 0], { margin: 12 }), { scale: 2, offset: [12, 112] });
  assert.equal(fitting(box, [10, 10], [0, 0, 0, 0], { margin: 12 }).scale, 32);
  const { scale, offset } = fitting(box, [200, 100], [100, 0, 100, 0], { margin: 12 });
  assert.deepEqual([scale, offset], [1, [112, 162]]);
  assert.deepEqual(fitting(box, [200, 100], [0, 50, 0, 50], { margin: 12 }).offset, [12, 112]);
});

test('a fitted sheet keeps clear of the bar: smaller where that is asked, else only moved where there is room', () => {
  const box = { width: 424, height: 424 };
  const none = [0, 0, 0, 0];
  assert.deepEqual(fitting(box, [200, 200], none, { margin: 12, below: 100 }), { scale: 1.5, offset: [62, 12] });
  assert.deepEqual(fitting(box, [200, 100], none, { margin: 12, over: 100 }), { scale: 2, offset: [12, 62] });
  assert.deepEqual(fitting(box, [200, 150], none, { margin: 12, over: 100 }), { scale: 2, offset: [12, 12] });
  assert.deepEqual(fitting(box, [100, 200], none, { margin: 12, over: 100 }), { scale: 2, offset: [112, 12] });
});

test('zooming keeps the point under the pointer, within bounds', () => {
  const at = zoomed({ scale: 1, offset: [10, 20] }, 2, 50, 60);
  assert.deepEqual(at, { scale: 2, offset: [-30, -20] });
  assert.equal(zoomed(at, 1e9, 0, 0).scale, 32);
  assert.equal(zoomed(at, 1e-9, 0, 0).scale, 0.02);
});

test('a picture cannot be moved out of sight', () => {
  const box = { width: 400, height: 300 };
  const far = insight({ scale: 1, offset: [5000, -5000] }, [200, 100], box);
  assert.deepEqual(far.offset, [320, -20]);
  assert.deepEqual(insight({ scale: 1, offset: [10, 10] }, [200, 100], box).offset, [10, 10]);
});

test('what is looked at comes to the middle, as far as the picture goes', () => {
  assert.equal(middled(1000, 400, 0.4, 0.6), -300);
  assert.equal(middled(1000, 400, 0, 0.1), 0);
  assert.equal(middled(1000, 400, 0.9, 1), -600);
  assert.equal(middled(300, 400, 0.9, 1), 50);
});

test('the bounds of the paint hold it to the pixel', () => {
  const alpha = new Uint8Array(20);
  assert.equal(boundsOf(alpha, 5, 4), null);
  alpha[1 * 5 + 2] = alpha[2 * 5 + 3] = 255;
  assert.deepEqual(boundsOf(alpha, 5, 4), [0.4, 0.25, 0.8, 0.75]);
});

test('the bar stands below its paint, else above, always inside', () => {
  const room = [10, 10, 790, 590];
  assert.deepEqual(barPlace([300, 100, 500, 200], [200, 40], room), [300, 214]);
  assert.deepEqual(barPlace([300, 400, 500, 580], [200, 40], room), [300, 346]);
  assert.deepEqual(barPlace([0, 0, 800, 600], [200, 40], room), [300, 550], 'over the paint where there is no place');
  assert.deepEqual(barPlace([-400, 0, -100, 50], [200, 40], room)[0], 10);
});

test('the visible part, and the tiles that cover it', () => {
  const box = { width: 100, height: 100 };
  assert.deepEqual(visible({ scale: 1, offset: [-40, 20] }, [500, 50], box), [40, 0, 141, 50]);
  assert.equal(visible({ scale: 1, offset: [-900, 0] }, [500, 50], box), null);
  assert.deepEqual(tilesOf([500, 0, 1030, 10], 512), [
    [0, 0],
    [1, 0],
    [2, 0],
  ]);
});

test('the centre square', () => {
  assert.deepEqual(centreSquare([200, 100]), [0.25, 0, 0.75, 1]);
  assert.deepEqual(centreSquare([100, 100]), [0, 0, 1, 1]);
});

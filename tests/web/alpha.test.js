import assert from 'node:assert/strict';
import test from 'node:test';
import { alphaOf, colourIn, fillHoles, holesOf, maskOf, spread, whiteIn } from '../../app/web/pure/alpha.js';

const draw = (rows) => Uint8Array.from(rows.join(''), (c) => (c === '#' ? 255 : 0));
const rows = (alpha, width) =>
  [...alpha].map((a) => (a ? '#' : '.')).reduce((all, c, i) => all + (i && i % width === 0 ? ' ' : '') + c, '');

test('growing paints what lies within a round brush, shrinking takes it away', () => {
  const dot = draw(['.....', '.....', '..#..', '.....', '.....']);
  assert.equal(rows(spread(dot, 5, 5, 1, 255), 5), '..... ..#.. .###. ..#.. .....');
  assert.equal(rows(spread(dot, 5, 5, 2, 255), 5), '..#.. .###. ##### .###. ..#..');
  assert.equal(rows(spread(spread(dot, 5, 5, 2, 255), 5, 5, 1, 0), 5), '..... ..#.. .###. ..#.. .....');
  assert.equal(rows(dot, 5), '..... ..... ..#.. ..... .....', 'the mask given stays as it is');
});

test('growing agrees with a plain search at every pixel', () => {
  const [width, height, radius] = [13, 9, 3];
  const mask = new Uint8Array(width * height).map((_, i) => ((i * 7919) % 23 === 0 ? 255 : 0));
  const found = spread(mask, width, height, radius, 255);
  for (let i = 0; i < mask.length; i++) {
    const near = mask.some((a, j) => {
      const [dx, dy] = [(j % width) - (i % width), Math.floor(j / width) - Math.floor(i / width)];
      return a && dx * dx + dy * dy <= radius * radius;
    });
    assert.equal(found[i], near ? 255 : 0, `pixel ${i}`);
  }
});

test('holes are what paint encloses, not what touches the edge', () => {
  const ring = draw(['#####.', '#...#.', '#.#.#.', '#####.', '......']);
  assert.equal(rows(fillHoles(ring, 6, 5), 6), '#####. #####. #####. #####. ......');
  const open = draw(['##.##', '#...#', '#####']);
  assert.equal(rows(fillHoles(open, 5, 3), 5), '##.## #...# #####');
  assert.ok(fillHoles(new Uint8Array(6), 3, 2).every((a) => a === 0));
});

test('a mask file speaks by its alpha where it has any, by its brightness otherwise', () => {
  const grey = (v, a = 255) => [v, v, v, a];
  assert.deepEqual([...maskOf(Uint8ClampedArray.from([grey(200), grey(90)].flat()))], [255, 0]);
  assert.deepEqual([...maskOf(Uint8ClampedArray.from([grey(200, 0), grey(0, 255)].flat()))], [0, 255]);
});

test('transparent parts of a picture are painted, and none is null', () => {
  assert.deepEqual([...holesOf(Uint8ClampedArray.from([1, 2, 3, 127, 1, 2, 3, 128]))], [255, 0]);
  assert.equal(holesOf(Uint8ClampedArray.from([1, 2, 3, 255])), null);
});

test('colouring in and reading back give the same mask', () => {
  const mask = draw(['#.#.']);
  const pixels = new Uint8ClampedArray(16).fill(9);
  colourIn(pixels, mask, [240, 37, 124]);
  assert.deepEqual([...pixels.slice(0, 8)], [240, 37, 124, 255, 0, 0, 0, 0]);
  assert.deepEqual(alphaOf(pixels), mask);
  whiteIn(pixels, mask);
  assert.deepEqual([...pixels.slice(0, 8)], [255, 255, 255, 255, 0, 0, 0, 255]);
  assert.deepEqual(maskOf(pixels), mask);
});

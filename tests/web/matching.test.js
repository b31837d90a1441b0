import assert from 'node:assert/strict';
import test from 'node:test';
import { matching } from '../../app/web/pure/matching.js';

const options = ['rose', 'flower · tulip', 'tulip tree', 'hotul', 'daisy'].map((name) => [name, name]);

test('names that begin with what was typed come first', () => {
  assert.deepEqual(
    matching(options, ' TUL').map(([name]) => name),
    ['tulip tree', 'flower · tulip', 'hotul'],
  );
  assert.equal(matching(options, '').length, options.length);
  assert.deepEqual(matching(options, 'xyz'), []);
});

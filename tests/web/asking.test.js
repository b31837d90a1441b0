import assert from 'node:assert/strict';
import test from 'node:test';
import { asking, isAgain, taken, warning } from '../../app/web/pure/asking.js';

const usual = { mode: 'inpaint', picture: true, task: null, painted: true, grown: false, label: '' };

test('what is missing is said, one thing at a time', () => {
  const hint = (changes) => asking({ ...usual, ...changes }).hint;
  assert.equal(hint({}), '');
  assert.equal(hint({ picture: false }), 'Open a photo first');
  assert.equal(hint({ painted: false }), 'Paint over what should go');
  assert.equal(hint({ mode: 'edit', painted: false }), 'Paint over what should change');
  assert.equal(hint({ mode: 'edit' }), 'Choose what it becomes');
  assert.equal(hint({ mode: 'edit', label: 'rose' }), '');
  assert.equal(hint({ mode: 'outpaint' }), 'Drag an edge outwards, or choose a shape');
  assert.equal(hint({ mode: 'outpaint', grown: true }), '');
  assert.equal(hint({ mode: 'generate', picture: false }), '');
  assert.equal(hint({ mode: 'vary', picture: false }), 'Open a photo first');
});

test('with nothing new on a result, Run draws it again', () => {
  assert.ok(isAgain({ mode: 'edit', task: 'inpaint', fresh: false }), 'the same paint may become something else');
  assert.ok(!isAgain({ mode: 'inpaint', task: 'inpaint', fresh: true }), 'new paint is on the result');
  assert.ok(!isAgain({ mode: 'vary', task: 'inpaint', fresh: false }));
  const { can, again, verb } = asking({ ...usual, painted: false, task: 'inpaint' });
  assert.deepEqual([can, again, verb], [true, true, 'Again']);
  assert.equal(asking({ ...usual, task: 'inpaint' }).verb, 'Remove');
});

test('a variation takes the paint over that the result shown was made with', () => {
  assert.equal(taken('vary', { mask: 'data:' }), 'data:');
  assert.equal(taken('inpaint', { mask: 'data:' }), null);
  assert.equal(taken('vary', null), null);
  const again = { picture: true, painted: false, grown: false, label: '' };
  assert.ok(asking({ ...again, mode: 'vary', task: 'vary' }).again);
  assert.deepEqual(asking({ ...again, mode: 'vary', task: 'inpaint' }).verb, 'Vary');
  assert.ok(!asking({ ...again, mode: 'inpaint', task: 'vary' }).can, 'what to remove is to be painted');
});

test('a word before a run that enlarges more than twofold', () => {
  const asked = { mode: 'inpaint', sides: [100, 60], seen: 2, resolution: 128, size: [800, 600] };
  assert.equal(warning(asked), '');
  assert.match(warning({ ...asked, sides: [400, 60] }), /^Drawn 6.3 times enlarged/);
  assert.match(warning({ ...asked, mode: 'vary', sides: null }), /128 × 128 px/);
  assert.match(warning({ ...asked, mode: 'vary', sides: null, part: true }), /What is new here/);
  assert.match(warning({ ...asked, mode: 'vary', sides: [400, 60] }), /^Drawn 6.3/);
  assert.equal(warning({ ...asked, mode: 'outpaint' }), '');
  assert.equal(warning({ ...asked, mode: 'generate', size: null }), 'A new picture of 128 × 128 px');
});

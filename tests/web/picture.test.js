import assert from 'node:assert/strict';
import test from 'node:test';
import { decode, kindOf } from '../../app/web/picture.js';

const bytes = (text) => Uint8Array.from(text, (c) => c.charCodeAt(0));

test('the first bytes tell who can read a picture', () => {
  for (const text of ['\x89PNG\r\n\x1a\n....', '\xff\xd8\xff\xe0....', 'RIFF....WEBP', '....ftypavif']) {
    assert.equal(kindOf(bytes(text)), 'browser', text);
  }
  for (const text of ['....ftypheic', '....ftypmif1', 'II*\0....', 'MM\0*....']) {
    assert.equal(kindOf(bytes(text)), 'server', text);
  }
  for (const text of ['<svg xmlns=', 'GIF89a......', 'RIFF....WAVE', '', 'PNG'])
    assert.equal(kindOf(bytes(text)), '', text);
});

test('what is no picture is refused in one sentence', async () => {
  await assert.rejects(decode(new Blob(['<svg/>'])), /^Error: This file is not a picture that can be opened/);
  const large = { size: 81 * 2 ** 20 };
  await assert.rejects(decode(large), /81.0 MB, the limit is 80 MB/);
  assert.equal(await decode(new Blob(['....ftypheic....'])), null, 'the server reads it');
});

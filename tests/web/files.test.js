import assert from 'node:assert/strict';
import test from 'node:test';
import { decode, looksRight } from '../../app/web/painter/files.js';

const bytes = (text) => Uint8Array.from(text, (c) => c.charCodeAt(0));

test('the first bytes tell a picture from anything else', () => {
  assert.ok(looksRight(bytes('\x89PNG\r\n\x1a\n....')));
  assert.ok(looksRight(bytes('\xff\xd8\xff\xe0........')));
  assert.ok(looksRight(bytes('RIFF....WEBP')));
  for (const text of ['<svg xmlns=', 'GIF89a......', 'RIFF....WAVE', '', 'PNG'])
    assert.ok(!looksRight(bytes(text)), text);
});

test('what is too large or no picture is refused in one sentence', async () => {
  await assert.rejects(decode(new Blob(['<svg/>'])), /not a PNG, JPEG or WebP/);
  await assert.rejects(decode(new Blob([new Uint8Array(100 * 2 ** 20)])), /has 100\.0 MB, the limit is \d+ MB/);
  await assert.rejects(decode(new Blob(['\u0089PNG']).slice(1)), /could not be opened as a picture/);
});

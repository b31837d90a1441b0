// The editor: its parts, and what they tell each other. window.editor is what the page's events reach.

import { Editor } from './editor.js';
import { listenToKeys, rove } from './keys.js';
import { listenToFiles } from './opening.js';
import { listenToPointers } from './pointer.js';

export function start({ element, trigger, server, upload }) {
  const editor = new Editor({ element, trigger, ask: server.ask, upload });
  listenToPointers(editor);
  listenToFiles(editor);
  listenToKeys(editor);
  for (const group of ['.rail', '.versions', '.history', '#scales', '.menu', '.examples']) rove(editor.find(group));
  rove(editor.find('#mode'), true);
  window.editor = {
    asked: () => editor.asked(),
    message: (message) => editor.run.message(message),
    failed: () => editor.run.failed(),
    ended: () => editor.run.ended(),
    stopped: () => {},
    board: editor.board,
  };
  editor.begin();
}

// The session's unguessable name, kept in this tab: with it a reload, or Back, finds everything again.

const NAME = 'next-scale-editor';

export function keptKey() {
  try {
    return sessionStorage.getItem(NAME);
  } catch {
    return null; // the browser keeps nothing: every page is a new one
  }
}

export function keepKey(key) {
  try {
    sessionStorage.setItem(NAME, key);
  } catch {
    // as above
  }
}

// Questions to the server. Each has one answer; one that is refused is an Error with its sentence.

const LOST = 'The server did not answer: check the connection and try again.';

export class Server {
  key = null;
  #ask;

  constructor(ask) {
    this.#ask = ask;
  }

  async ask(what, given = {}) {
    const answer = await this.#ask({ do: what, key: this.key, ...given }).catch(() => null);
    if (!answer || typeof answer !== 'object') throw new Error(LOST);
    if (answer.error) throw new Error(answer.error);
    return answer;
  }
}

const NAME = 'next-scale-editor';

/** The session's unguessable name, kept in this tab: with it a reload, or Back, finds everything again. */
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

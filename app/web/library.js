// The pictures that this page knows by the server's names, and the results that they belong to.

import { loaded, pictureOf, resultOf } from './picture.js';

export class Library {
  #server;
  #pictures = new Map();
  #patches = new Map(); // of an entry's versions, by its number

  constructor(server) {
    this.#server = server;
  }

  add(picture) {
    if (picture.ref) this.#pictures.set(picture.ref, picture);
    return picture;
  }

  known(ref) {
    return this.#pictures.get(ref) ?? null;
  }

  /** The picture of a name; the server is asked where it is not known. */
  async get(ref) {
    return this.known(ref) ?? this.of(await this.#server.ask('picture', { ref }));
  }

  /** A picture from a server's answer { ref, size, sheet, entry }. */
  async of(answer) {
    const known = this.known(answer.ref);
    if (known) return known;
    const picture = pictureOf(await loaded(answer.sheet), answer.size);
    picture.holes = null;
    picture.ref = answer.ref;
    if (answer.entry) {
      picture.entry = answer.entry;
      picture.version = +answer.ref.split('.')[1];
      await this.#keep(answer.entry);
    }
    return this.add(picture);
  }

  async #keep(entry) {
    this.#patches.set(entry.number, await Promise.all(entry.pictures.map(loaded)));
  }

  /** A finished run: all its versions as pictures on what it was made from. */
  async result(entry, base) {
    await this.#keep(entry);
    entry.pictures.forEach((_, version) => {
      this.add(resultOf(entry, version, base, this.#patches.get(entry.number)[version]));
    });
    return this.known(`e${entry.number}.0`);
  }

  /** Another version of what is shown in `picture`: the same but for what stands in the result's place. */
  version(picture, version) {
    const { entry } = picture;
    const known = this.known(`e${entry.number}.${version}`);
    if (known) return known;
    const around = { ...entry, grown: [0, 0, 0, 0] };
    const other = resultOf(around, version, picture, this.#patches.get(entry.number)[version]);
    return this.add(Object.assign(other, { entry, base: picture.base }));
  }

  /** What a result was made from, or null. */
  async before(picture) {
    if (picture.base) return picture.base;
    const name = picture.entry?.base;
    if (!name) return null;
    picture.base = await this.get(name);
    return picture.base;
  }
}

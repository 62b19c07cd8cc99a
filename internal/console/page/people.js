// Who is here. holdfast says which clients are in the room; their names, which an
// anonymous client has none of, they tell each other in page:hello.
import { asText, make } from './dom.js';

// White text on each of these has a contrast of at least 4.5.
const colours = ['#a8323e', '#8a4b08', '#66600a', '#2e6b1f', '#00685d', '#0b5a8f', '#3f51b5', '#7b2a9e', '#a3195b', '#5d4037'];
const shown = 12;

export class People {
  #list;
  #count;
  #here = new Set();
  #names = new Map();
  #users = 0;
  #told = false; // holdfast says who is here (presence may be off)
  me = '';
  presenter = '';
  /** Called with an ID when a client has left. */
  onLeave = () => {};

  constructor(list, count) {
    this.#list = list;
    this.#count = count;
  }

  /** Takes the data of a presence event: type, clients, userCount. */
  presence({ type, clients = [], userCount = 0 }) {
    this.#users = userCount;
    this.#told = true;
    if (type === 'snapshot') this.#here = new Set([this.me]);
    for (const client of clients) {
      const id = asText(client.id, 64);
      if (type === 'leave') {
        this.#here.delete(id);
        this.onLeave(id);
      } else {
        this.#here.add(id);
        if (client.name) this.#names.set(id, asText(client.name, 40));
      }
    }
    this.draw();
  }

  /** Takes what a client says of itself. It may come late, so it brings nobody in where holdfast says who is here. */
  hello(id, name) {
    if (!id) return;
    if (this.#names.size > 1000) this.#names.clear();
    this.#names.set(id, name);
    if (!this.#told) this.#here.add(id);
    this.draw();
  }

  alone(me) {
    this.me = me;
    this.#here = new Set([me]);
    this.#users = 1;
    this.draw();
  }

  /** How many have been here longer, to about ten: IDs sort by the time of connecting. */
  get older() {
    return Math.min([...this.#here].filter((id) => id < this.me).length, 10);
  }

  name(id) {
    return this.#names.get(id) ?? 'Somebody';
  }

  colour(id) {
    let hash = 0;
    for (const c of id) hash = (hash * 31 + c.charCodeAt(0)) >>> 0;
    return colours[(hash >>> 3) % colours.length];
  }

  draw() {
    const number = Math.max(this.#users, this.#here.size);
    this.#count.textContent = number === 1 ? 'Only you are here' : `${number} people here`;
    const ids = [...this.#here].sort((a, b) => (b === this.me) - (a === this.me) || (a < b ? -1 : 1));
    const items = ids.slice(0, shown).map((id) => this.#item(id));
    if (number > items.length) items.push(make('li', { className: 'more', textContent: `and ${number - items.length} more` }));
    this.#list.replaceChildren(...items);
  }

  #item(id) {
    const name = this.name(id);
    const avatar = make('span', { className: 'avatar', 'aria-hidden': 'true', textContent: initials(name) });
    avatar.style.setProperty('--colour', this.colour(id));
    const notes = [id === this.me && 'you', id === this.presenter && 'presenting'].filter(Boolean).join(', ');
    return make('li', {}, avatar, make('span', { textContent: name }), ...(notes ? [make('em', { textContent: notes })] : []));
  }
}

const initials = (name) => {
  const words = name.trim().split(/\s+/);
  const letters = words.length > 1 ? [...words[0]][0] + [...words.at(-1)][0] : [...name.trim()].slice(0, 2).join('');
  return letters.toUpperCase();
};

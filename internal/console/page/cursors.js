// Other people's pointers over the document. A place is a block of the document
// and fractions of its width and height, so that windows of any size agree.
import { asNumber, asText, make } from './dom.js';

const pause = { websocket: 40, polling: 250 }; // ms between two places sent
const idle = 8000; // ms after which a cursor that stands still fades

export class Cursors {
  #document;
  #blocks;
  #people;
  #send;
  #shown = new Map(); // id → {element, timer, place}
  #next = null;
  #waiting = false;
  #rest = 0;

  /** send: takes a place and returns the name of the transport. */
  constructor(document, people, send) {
    this.#document = document;
    this.#blocks = [...document.querySelectorAll('[data-block]')];
    this.#people = people;
    this.#send = send;
    document.addEventListener('pointermove', (event) => this.#moved(event.target, event.clientX, event.clientY));
    document.addEventListener('pointerleave', () => this.#report({ block: -1 }));
    document.addEventListener('focusin', ({ target }) => {
      const box = target.getBoundingClientRect();
      this.#moved(target, box.left + 8, box.top + box.height / 2);
    });
    new ResizeObserver(() => this.#shown.forEach((cursor) => this.#place(cursor))).observe(document);
  }

  #moved(target, x, y) {
    const block = target.closest?.('[data-block]');
    if (!block) return;
    const box = block.getBoundingClientRect();
    const part = (value) => Math.round(value * 1000) / 1000;
    this.#report({ block: this.#blocks.indexOf(block), x: part((x - box.left) / box.width), y: part((y - box.top) / box.height) });
  }

  #report(place) {
    this.#next = place;
    if (this.#waiting) return;
    this.#waiting = true;
    const transport = this.#send(place);
    this.#next = null;
    // What is volatile may get lost, so a pointer that has come to rest says so again.
    clearTimeout(this.#rest);
    this.#rest = setTimeout(() => this.#send(place), 500);
    setTimeout(() => {
      this.#waiting = false;
      if (this.#next) this.#report(this.#next);
    }, pause[transport] ?? pause.websocket);
  }

  /** Shows where a peer's pointer is. */
  show(data) {
    const id = asText(data?.id, 64);
    if (!id || id === this.#people.me) return;
    if (!this.#blocks[data.block]) return this.hide(id);
    let cursor = this.#shown.get(id);
    if (!cursor) {
      if (this.#shown.size >= 50) return;
      const name = make('span');
      cursor = { element: make('div', { className: 'cursor', 'aria-hidden': 'true' }, make('i'), name), name };
      cursor.element.style.setProperty('--colour', this.#people.colour(id));
      this.#document.append(cursor.element);
      this.#shown.set(id, cursor);
    }
    cursor.name.textContent = this.#people.name(id);
    cursor.place = data;
    this.#place(cursor);
    cursor.element.classList.remove('idle');
    clearTimeout(cursor.timer);
    cursor.timer = setTimeout(() => cursor.element.classList.add('idle'), idle);
  }

  #place({ element, place }) {
    const outer = this.#document.getBoundingClientRect();
    const box = this.#blocks[place.block].getBoundingClientRect();
    const x = box.left - outer.left + asNumber(place.x, 0, 1) * box.width;
    const y = box.top - outer.top + asNumber(place.y, 0, 1) * box.height;
    element.style.transform = `translate(${x}px, ${y}px)`;
    element.classList.toggle('left', x > outer.width - 120); // the name goes to the other side at the edge
  }

  hide(id) {
    const cursor = this.#shown.get(id);
    if (!cursor) return;
    clearTimeout(cursor.timer);
    cursor.element.remove();
    this.#shown.delete(id);
  }

  clear() {
    for (const id of [...this.#shown.keys()]) this.hide(id);
  }
}

// What backends push to this room: shown for a moment, and kept in a list.
import { clock, make } from './dom.js';

const kept = 30;

export class Pushes {
  #list;
  #none;
  #toasts;

  constructor(list, none, toasts) {
    this.#list = list;
    this.#none = none;
    this.#toasts = toasts;
  }

  show(event, args) {
    const text = args.map(written).join(', ').slice(0, 2000);
    this.#none.hidden = true;
    this.#list.prepend(make('li', {}, make('b', { textContent: event }), make('time', { textContent: clock(Date.now()) }), make('code', { textContent: text })));
    while (this.#list.children.length > kept) this.#list.lastChild.remove();
    this.say(event, text);
  }

  /** A note that goes away by itself. */
  say(title, text) {
    const toast = make('div', { className: 'toast' }, make('b', { textContent: title }), make('span', { textContent: text.slice(0, 200) }));
    this.#toasts.append(toast);
    while (this.#toasts.children.length > 3) this.#toasts.firstChild.remove();
    setTimeout(() => toast.remove(), 7000);
  }
}

const written = (value) => {
  if (value instanceof ArrayBuffer) return `${value.byteLength} bytes`;
  return JSON.stringify(value, (_, inner) => (inner instanceof ArrayBuffer ? `${inner.byteLength} bytes` : inner));
};

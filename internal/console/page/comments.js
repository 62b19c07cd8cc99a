// Comments. One that was made here is sent again after a lost connection until it
// has been acknowledged; others know it by its ID and take it once.
import { asNumber, asText, clock, make } from './dom.js';

const most = 200;

export class Comments {
  #ui;
  #people;
  #blocks;
  #all = new Map(); // id → comment
  #unsent = new Set();
  #about = -1; // the block that the next comment is about
  /** Called to send a comment; calls back when it is stored. */
  onSend = () => {};

  /** ui: list, none, form, text, about, clear. */
  constructor(ui, people, document) {
    this.#ui = ui;
    this.#people = people;
    this.#blocks = [...document.querySelectorAll('[data-block]')];
    this.#blocks.forEach((block, i) => block.querySelector('.comment')?.addEventListener('click', () => this.#choose(i)));
    this.#draw();
    ui.clear.addEventListener('click', () => this.#choose(-1));
    ui.form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#write();
    });
    ui.text.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) this.#write();
    });
  }

  get all() {
    return [...this.#all.values()];
  }

  #choose(block) {
    this.#about = block;
    this.#ui.about.textContent = block < 0 ? '' : `About ${this.#label(block)}`;
    this.#ui.clear.hidden = block < 0;
    this.#ui.text.focus();
  }

  #label(block) {
    return this.#blocks[block]?.dataset.label ?? 'the document';
  }

  #write() {
    const text = this.#ui.text.value.trim();
    if (!text) return;
    const { me } = this.#people;
    const id = crypto.getRandomValues(new Uint32Array(3)).join('-');
    const comment = { id, by: me, name: this.#people.name(me), text, block: this.#about, at: Date.now() };
    this.#ui.text.value = '';
    this.#choose(-1);
    this.#unsent.add(comment.id);
    this.add(comment);
    this.#send(comment);
  }

  #send(comment) {
    this.onSend(comment, () => {
      this.#unsent.delete(comment.id);
      this.#draw();
    });
  }

  /** Sends what has not been acknowledged. */
  sendAgain() {
    for (const id of this.#unsent) this.#send(this.#all.get(id));
  }

  /** Takes a comment of a peer, or of an earlier page; tells whether it is new. */
  add(data) {
    const id = asText(data?.id, 64);
    const text = asText(data?.text, 2000);
    if (!id || !text || this.#all.has(id)) return false;
    const block = Number.isInteger(data.block) && this.#blocks[data.block] ? data.block : -1;
    const at = asNumber(data.at, 0, Date.now());
    this.#all.set(id, { id, by: asText(data.by, 64), name: asText(data.name, 40, 'Somebody'), text, block, at });
    const sorted = this.all.sort((a, b) => a.at - b.at || (a.id < b.id ? -1 : 1)).slice(-most);
    this.#all = new Map(sorted.map((comment) => [comment.id, comment]));
    this.#draw();
    return true;
  }

  #draw() {
    this.#ui.none.hidden = this.#all.size > 0;
    this.#ui.list.replaceChildren(...this.all.map((comment) => this.#item(comment)));
    this.#ui.list.scrollTop = this.#ui.list.scrollHeight;
    this.#blocks.forEach((block, i) => {
      const button = block.querySelector('.comment');
      if (!button) return;
      const number = this.all.filter((comment) => comment.block === i).length;
      button.textContent = number || '';
      button.ariaLabel = `Comment on ${this.#label(i)}${number ? `; it has ${number}` : ''}`;
    });
  }

  #item({ id, by, name, text, block, at }) {
    const avatar = make('span', { className: 'dot', 'aria-hidden': 'true' });
    avatar.style.setProperty('--colour', this.#people.colour(by));
    const head = make('div', { className: 'head' }, avatar, make('b', { textContent: name }), make('time', { dateTime: new Date(at).toISOString(), textContent: clock(at) }));
    if (this.#unsent.has(id)) head.append(make('em', { textContent: 'sending…' }));
    const item = make('li', {}, head, make('p', { textContent: text }));
    if (block >= 0) {
      const go = make('button', { type: 'button', className: 'link', textContent: `on ${this.#label(block)}` });
      go.addEventListener('click', () => {
        this.#blocks[block].scrollIntoView({ block: 'center' });
        this.#blocks[block].querySelector('.comment').focus();
      });
      item.append(go);
    }
    return item;
  }
}

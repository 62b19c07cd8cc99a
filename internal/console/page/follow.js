// Slides and table rows, and following whoever presents them.
import { asNumber, asText } from './dom.js';

export class Follow {
  #ui;
  #people;
  #slide = 0;
  #row = -1;
  #presenter = null; // {id, slide, row}
  #following = false;
  /** Called to tell the others: {on, slide, row}. */
  onPresent = () => {};

  /** ui: slides, tabs, previous, next, rows, present, follow, status. */
  constructor(ui, people) {
    this.#ui = ui;
    this.#people = people;
    ui.tabs.forEach((tab, i) => tab.addEventListener('click', () => this.#choose({ slide: i })));
    ui.previous.addEventListener('click', () => this.#choose({ slide: this.#slide - 1 }));
    ui.next.addEventListener('click', () => this.#choose({ slide: this.#slide + 1 }));
    ui.rows.forEach((row, i) => row.addEventListener('click', () => this.#choose({ row: this.#row === i ? -1 : i })));
    ui.present.addEventListener('click', () => this.#present(!this.#presenting));
    ui.follow.addEventListener('click', () => this.#follow(!this.#following));
    this.#draw();
  }

  get #presenting() {
    return this.#presenter?.id === this.#people.me;
  }

  /** What a newcomer has to know; null when nobody presents. */
  get presenter() {
    return this.#presenter && { ...this.#presenter };
  }

  #present(on) {
    this.#following = false;
    this.#presenter = on ? { id: this.#people.me, slide: this.#slide, row: this.#row } : null;
    this.onPresent({ on, slide: this.#slide, row: this.#row });
    this.#draw();
  }

  // One's own choice ends following, and moves those who follow.
  #choose({ slide = this.#slide, row = this.#row }) {
    this.#following = false;
    this.#go(slide, row);
    if (this.#presenting) this.#present(true);
    this.#draw();
  }

  #go(slide, row) {
    this.#slide = asNumber(slide, 0, this.#ui.slides.length - 1);
    this.#row = asNumber(row, -1, this.#ui.rows.length - 1);
  }

  #follow(on) {
    this.#following = on;
    if (on) this.#mirror();
    this.#draw();
  }

  #mirror() {
    const { slide, row } = this.#presenter;
    const moved = row !== this.#row && row >= 0 ? this.#ui.rows[row] : slide !== this.#slide ? this.#ui.slides[slide] : null;
    this.#go(slide, row);
    this.#draw();
    moved?.scrollIntoView({ block: 'nearest' });
  }

  /** Takes what a peer presents. */
  show(data) {
    const id = asText(data?.id, 64);
    if (!id || id === this.#people.me) return;
    if (data.on === false) return this.leave(id);
    this.#presenter = {
      id,
      slide: Math.trunc(asNumber(data.slide, 0, this.#ui.slides.length - 1)),
      row: Math.trunc(asNumber(data.row, -1, this.#ui.rows.length - 1)),
    };
    if (this.#following) this.#mirror();
    this.#draw();
  }

  /** The presenter has stopped, or has left. */
  leave(id) {
    if (this.#presenter?.id !== id) return;
    this.#presenter = null;
    this.#following = false;
    this.#draw();
  }

  draw() {
    this.#draw();
  }

  #draw() {
    const { slides, tabs, previous, next, rows, present, follow, status } = this.#ui;
    slides.forEach((slide, i) => (slide.hidden = i !== this.#slide));
    tabs.forEach((tab, i) => (i === this.#slide ? tab.setAttribute('aria-current', 'true') : tab.removeAttribute('aria-current')));
    previous.disabled = this.#slide === 0;
    next.disabled = this.#slide === slides.length - 1;
    rows.forEach((row, i) => {
      row.classList.toggle('chosen', i === this.#row);
      row.querySelector('button').ariaPressed = String(i === this.#row);
    });
    const other = this.#presenter && !this.#presenting;
    present.ariaPressed = String(this.#presenting);
    present.textContent = this.#presenting ? 'Stop presenting' : 'Present';
    follow.hidden = !other;
    follow.ariaPressed = String(this.#following);
    follow.textContent = this.#following ? 'Stop following' : `Follow ${other ? this.#people.name(this.#presenter.id) : ''}`;
    const text = this.#presenting
      ? 'You present: who follows you sees your slide and row.'
      : other
        ? `${this.#people.name(this.#presenter.id)} presents slide ${this.#presenter.slide + 1}.`
        : 'Nobody presents.';
    if (status.textContent !== text) status.textContent = text;
    if (this.#people.presenter !== (this.#presenter?.id ?? '')) {
      this.#people.presenter = this.#presenter?.id ?? '';
      this.#people.draw();
    }
  }
}

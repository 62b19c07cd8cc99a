// What can be checked of a page's accessibility without a person: names, labels,
// headings, references, landmarks and contrast.

/** Runs in the page; returns what is wrong with what it shows now, as sentences. */
export function faultsOf() {
  const faults = [];
  const say = (element, what) => faults.push(`${element.outerHTML.slice(0, 90)}: ${what}`);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const visible = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });

  if (!document.documentElement.lang) faults.push('the page has no language');
  if (!document.title) faults.push('the page has no title');
  if (all('main').length !== 1) faults.push('there is not one main');

  const levels = all('h1,h2,h3,h4').filter(visible).map((h) => Number(h.tagName[1]));
  if (levels.filter((l) => l === 1).length !== 1 || levels[0] !== 1) faults.push(`headings: ${levels}`);
  levels.forEach((l, i) => i > 0 && l > levels[i - 1] + 1 && faults.push(`headings skip a level: ${levels}`));

  const ids = all('[id]').map((e) => e.id);
  ids.filter((id, i) => ids.indexOf(id) !== i).forEach((id) => faults.push(`the ID ${id} is there twice`));
  for (const attribute of ['aria-labelledby', 'aria-describedby', 'aria-controls', 'for']) {
    for (const e of all(`[${attribute}]`)) {
      for (const id of e.getAttribute(attribute).split(/\s+/)) if (!document.getElementById(id)) say(e, `${attribute} names nothing`);
    }
  }

  const nameOf = (e) => {
    if (e.ariaLabel) return e.ariaLabel.trim();
    const by = e.getAttribute('aria-labelledby');
    if (by) return document.getElementById(by)?.textContent.trim();
    if (e.labels?.length) return [...e.labels].map((l) => l.textContent.trim()).join(' ');
    return (e.textContent || [...e.querySelectorAll('img')].map((i) => i.alt).join(' ')).trim();
  };
  for (const e of all('a,button,input,select,textarea,section,aside,nav,article,table,[role=region]')) {
    if (visible(e) && !nameOf(e)) say(e, 'has no name');
  }
  for (const e of all('img')) if (!e.hasAttribute('alt')) say(e, 'has no alt');
  for (const e of all('button')) if (!e.getAttribute('type') && !e.form) say(e, 'has no type');
  for (const e of all('th')) if (!e.scope) say(e, 'has no scope');
  for (const e of all('[tabindex]')) if (e.tabIndex > 0) say(e, 'breaks the order of the keyboard');

  // Whatever scrolls must be reachable by keyboard.
  for (const e of all('body *')) {
    const style = getComputedStyle(e);
    const scrolls = /auto|scroll/.test(style.overflowX + style.overflowY) && (e.scrollHeight > e.clientHeight + 1 || e.scrollWidth > e.clientWidth + 1);
    if (visible(e) && scrolls && e.tabIndex < 0 && !e.querySelector('a,button,input,[tabindex="0"]')) say(e, 'scrolls, and has no place for the keyboard');
  }

  const numbers = (colour) => {
    const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number);
    return { r, g, b, a };
  };
  const light = ({ r, g, b }) => {
    const [x, y, z] = [r, g, b].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (e) => {
    for (let at = e; at; at = at.parentElement) {
      const colour = numbers(getComputedStyle(at).backgroundColor);
      if (colour.a === 1) return colour;
    }
    return { r: 255, g: 255, b: 255 };
  };
  for (const e of all('body *')) {
    const text = [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim());
    if (!text || !visible(e) || e.closest(':disabled,.cursor')) continue;
    const [x, y] = [light(numbers(getComputedStyle(e).color)), light(behind(e))].sort((a, b) => b - a);
    const contrast = (x + 0.05) / (y + 0.05);
    if (contrast < 4.5) say(e, `has a contrast of ${contrast.toFixed(2)}`);
  }
  // A table that is wider than its place scrolls; its words are not cut into letters.
  for (const e of all('th,td')) {
    if (visible(e) && e.textContent.length > 2 && e.getBoundingClientRect().height > 4 * parseFloat(getComputedStyle(e).lineHeight)) say(e, 'is squeezed');
  }
  for (const e of all('button,select,input:not([type=checkbox])')) {
    const box = e.getBoundingClientRect();
    if (visible(e) && !e.classList.contains('link') && (box.height < 24 || box.width < 24)) say(e, `is small: ${box.width} by ${box.height}`);
  }
  return faults;
}

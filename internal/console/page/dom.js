export const $ = (id) => document.getElementById(id);

/** An element with properties and children; texts stay texts. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes('-') || name === 'role') element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** What a peer says is a text of a sane length, or the other value. */
export const asText = (value, most, otherwise = '') => (typeof value === 'string' ? value.slice(0, most) : otherwise);

/** A number between two bounds, whatever a peer says. */
export const asNumber = (value, least, most) => Math.min(Math.max(Number(value) || 0, least), most);

export const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });

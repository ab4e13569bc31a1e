// Small builders. Text reaches the page as text nodes only, so nothing in a file can become markup.
export function el(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children.filter(child => child !== null && child !== undefined));
  return node;
}

function svg(tag, attributes) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
  return node;
}

// A value and its interval on an axis. The numbers stand beside it as text, so a screen reader passes it over.
export function bar({ value, interval, range: [from, to] }) {
  const at = v => 2 + (96 * (Math.min(to, Math.max(from, v)) - from)) / (to - from);
  const picture = svg('svg', { class: 'ifa-bar', viewBox: '0 0 100 14', 'aria-hidden': 'true' });
  picture.append(svg('line', { class: 'ifa-axis', x1: 2, x2: 98, y1: 7, y2: 7 }));
  if (from < 0) {
    picture.append(svg('line', { class: 'ifa-axis', x1: at(0), x2: at(0), y1: 1, y2: 13 }));
  }
  if (interval?.every(Number.isFinite)) {
    picture.append(svg('line', { class: 'ifa-interval', x1: at(interval[0]), x2: at(interval[1]), y1: 7, y2: 7 }));
  }
  if (Number.isFinite(value)) {
    picture.append(svg('circle', { class: 'ifa-value', cx: at(value), cy: 7, r: 3.2 }));
  }
  return picture;
}

const compare = (a, b) => (typeof a === 'string' ? a.localeCompare(b) : a - b);
const absent = key => key === null || key === undefined || Number.isNaN(key);

// columns: {title, lines, key?, bar?}, each but the title a function of a row. A column with a key sorts; what is absent stays last.
export function table(caption, columns, rows) {
  const body = el('tbody');
  const fill = sorted => body.replaceChildren(...sorted.map(row => el('tr', {}, ...columns.map((column, i) => cell(column, row, i)))));
  const heads = columns.map(column => {
    const th = el('th', { scope: 'col' });
    if (!column.key) {
      th.textContent = column.title;
      return th;
    }
    const button = el('button', { type: 'button', textContent: column.title, title: `Sort by ${column.title}` });
    button.addEventListener('click', () => {
      const sign = th.ariaSort === 'ascending' ? -1 : 1;
      heads.forEach(other => other.removeAttribute('aria-sort'));
      th.ariaSort = sign > 0 ? 'ascending' : 'descending';
      const keyed = rows.map(row => [column.key(row), row]);
      keyed.sort(([a], [b]) => (absent(a) || absent(b) ? absent(a) - absent(b) : sign * compare(a, b)));
      fill(keyed.map(([, row]) => row));
    });
    th.append(button);
    return th;
  });
  fill(rows);
  return el('div', { className: 'ifa-table' }, el('table', {}, el('caption', { textContent: caption }), el('thead', {}, el('tr', {}, ...heads)), body));
}

function cell({ lines, bar: drawn }, row, i) {
  const words = lines(row).filter(Boolean).map(text => el('div', { textContent: text }));
  return i === 0 ? el('th', { scope: 'row' }, ...words) : el('td', {}, ...words, drawn ? bar(drawn(row)) : null);
}

// Terms and their values.
export const pairs = entries => el('dl', {}, ...entries.map(([term, value]) => el('div', {}, el('dt', {}, term), el('dd', {}, value))));

export const details = (title, ...children) => el('details', {}, el('summary', { textContent: title }), ...children);

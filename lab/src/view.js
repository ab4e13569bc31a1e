import { details, el, pairs, table } from './dom';

const SCHEMA_VERSION = 1;
const NONE = 'not estimable';

const known = value => typeof value === 'number' && Number.isFinite(value);
const number = (value, digits = 3) => (known(value) ? (Math.abs(value) < 0.5 * 10 ** -digits ? 0 : value).toFixed(digits) : NONE);
const interval = pair => (pair?.every(known) ? `${number(pair[0])} to ${number(pair[1])}` : NONE);
const p = value => (known(value) && value < 0.001 ? '< 0.001' : number(value));
const count = value => (known(value) ? value.toLocaleString('en') : NONE);
const words = name => name.replaceAll('_', ' ');
function plain(value) {
  if (value === null || typeof value !== 'object') {
    return value === null ? NONE : String(value);
  }
  const parts = Array.isArray(value) ? value.map(plain) : Object.entries(value).map(([key, v]) => `${words(key)}: ${plain(v)}`);
  return parts.join(', ') || 'none';
}
const filled = value => value && Object.keys(value).length > 0;

const section = (title, ...children) => el('section', {}, el('h2', { textContent: title }), ...children);
const facts = object => pairs(Object.entries(object).map(([key, value]) => [words(key), plain(value)]));
const line = text => el('p', { className: 'ifa-line', role: 'status', textContent: text });

// Columns of tables; `get` takes a row, which is [name, entry], to what the column shows.
const name = title => ({ title, lines: ([key]) => [words(key)], key: ([key]) => key });
const value = (title, get) => ({ title, lines: row => [number(get(row))], key: get });
const pValue = (title, get) => ({ title, lines: row => [p(get(row))], key: get });
const counted = (title, get) => ({ title, lines: row => [count(get(row))], key: get });
const between = (title, get, range) => ({
  title,
  lines: row => [number(get(row).value), interval(get(row).interval)],
  key: row => get(row).value,
  bar: row => ({ ...get(row), range })
});
const share = (title, get) => ({
  title,
  lines: row => [`${number(get(row).probability)} (${count(get(row).numerator)} of ${count(get(row).denominator)})`, interval(get(row).interval)],
  key: row => get(row).probability,
  bar: row => ({ value: get(row).probability, interval: get(row).interval, range: [0, 1] })
});

function headline(s) {
  const counts = Object.entries(s).filter(([key, n]) => key.startsWith('n_') && known(n));
  const told = [...(s.verdict?.sentences ?? []), ...(s.warnings ?? [])];
  return section(
    'What it amounts to',
    told.length ? el('ul', {}, ...told.map(sentence => el('li', { textContent: plain(sentence) }))) : null,
    pairs(counts.map(([key, n]) => [words(key.slice(2)), count(n)]))
  );
}

function groups(s) {
  const columns = [
    name('Group'),
    counted('Faces', ([, group]) => group.n),
    counted('Misclassified', ([, group]) => group.misclassified),
    between('Recall', ([, group]) => group.recall, [0, 1])
  ];
  return section('Who is recognised', table('Recall by group, with its 95 % interval', columns, Object.entries(s.groups)));
}

function regions(s) {
  const rows = Object.entries(s.regions);
  const names = Object.keys(s.groups).filter(group => rows.every(([, region]) => region[group]));
  const columns = [
    name('Region'),
    ...names.map(group => share(group, ([, region]) => region[group])),
    between(`Difference ${rows[0][1].difference.of ?? ''}`, ([, region]) => region.difference, [-1, 1]),
    pValue('p', ([, region]) => region.p_value),
    pValue('p after Holm', ([, region]) => region.p_holm)
  ];
  const caption = 'Share of the misclassified faces of each group whose map lies on the region, and the difference, with 95 % intervals';
  return section('Where the model looks when it errs', table(caption, columns, rows));
}

function regionalGap(s) {
  const rows = Object.entries(s.regional_gap);
  const names = Object.keys(s.groups);
  const part = (title, key) => names.map(group => share(`${title} ${group}`, ([, region]) => region[key][group]));
  const columns = [
    name('Region'),
    ...part('Misled', 'misled'),
    between('Misled, difference', ([, region]) => region.misled.difference, [-1, 1]),
    pValue('p after Holm', ([, region]) => region.misled.p_holm),
    value('Gap without', ([, region]) => region.gap_without),
    between('Share of the gap', ([, region]) => region.gap_share, [-1, 1]),
    pValue('Share, p after Holm', ([, region]) => region.gap_share.p_holm),
    ...part('Rescued', 'rescued'),
    ...part('Broken', 'broken')
  ];
  const caption = `Each region hidden in every face, with 95 % intervals. The recall gap with nothing hidden is ${number(rows[0][1].gap)}.`;
  return section('What each region does to the recall gap', table(caption, columns, rows));
}

function overall(s) {
  const { value: score, noise_floor: floor, excess, p_value: chance } = s.overall_bias;
  const entries = [['value', number(score)], ['noise floor (chance alone)', number(floor)], ['excess', number(excess)], ['p', p(chance)]];
  return section('Overall bias', pairs(entries));
}

function agreement(s) {
  const entry = (title, a) => [title, `${number(a.value)} of ${count(a.n)} (95 % interval ${interval(a.interval)}; chance ${number(a.chance)})`];
  const found = s.agreement;
  const entries = [entry('all faces', found), ...(found.misclassified ? [entry('misclassified faces', found.misclassified)] : [])];
  return section('Map and hidden regions name the same region', pairs(entries));
}

function notebookScores(s) {
  const { equalized_odds_score: gap, equalized_odds_score_is: is, overall_bias_score: score, feature_bias_scores: scores } = s.notebook;
  const entries = [[`equalized odds score (${is ?? 'recall gap'})`, number(gap)], ['overall bias score', number(score)]];
  const columns = [name('Region'), value('Feature bias score', ([, v]) => v)];
  return details("The reference notebook's scores", pairs(entries), table('Feature bias scores', columns, Object.entries(scores ?? {})));
}

function fairness([key, { positive_class: positive, groups: by, metrics }]) {
  const rate = metric => value(words(metric), ([, group]) => group[metric]?.value);
  const rates = ['accuracy', 'selection_rate', 'true_positive_rate', 'false_positive_rate', 'f1', 'balanced_accuracy'];
  const size = { title: 'Faces', lines: ([, { n, small }]) => [`${count(n)}${small ? ' (small)' : ''}`], key: ([, group]) => group.n };
  const faces = [name('Group'), size, counted('Misclassified', ([, group]) => group.misclassified)];
  const columns = [
    name('Metric'),
    { title: 'Value', lines: ([, metric]) => [number(metric.value), metric.interval ? interval(metric.interval) : ''], key: ([, metric]) => metric.value },
    { title: 'Of', lines: ([, m]) => [m.refused ?? m.conditioning ?? '', m.highest ? `highest ${m.highest}, lowest ${m.lowest}` : ''] }
  ];
  return details(
    `Fairness ${words(key)}`,
    table(`Metrics; the positive class is ${positive}`, columns, Object.entries(metrics)),
    table('Groups', [...faces, ...rates.map(rate)], Object.entries(by))
  );
}

function coverage(s) {
  const rows = Object.entries(s.coverage);
  const steps = Object.keys(rows[0][1]).map(step => counted(words(step), ([, counts]) => counts[step]));
  return section('How far faces got', table('Faces that reached each step', [name('Group'), ...steps], rows));
}

function basis({ verdict: { sentences, claims, ...rest } }) {
  const columns = [name('Claim'), { title: 'Evidence', lines: ([, claim]) => [plain(claim.evidence)] }, pValue('p', ([, claim]) => claim.p_value)];
  return details('What the sentences rest on', table('Claims', columns, Object.entries(claims ?? {})), facts(rest));
}

// Key of audit.json and what shows it, in reading order.
const PARTS = [
  ['groups', groups],
  ['regions', regions],
  ['regional_gap', regionalGap],
  ['overall_bias', overall],
  ['agreement', agreement],
  ['coverage', coverage],
  ['verdict', basis],
  ['fairness', s => Object.entries(s.fairness).map(fairness)],
  ['notebook', notebookScores],
  ...['settings', 'model', 'versions', 'seconds'].map(key => [key, s => details(words(key), facts(s[key]))])
];

function page(s) {
  const shown = PARTS.filter(([key]) => filled(s[key]));
  const used = new Set(['schema_version', 'warnings', 'faces_folder', ...PARTS.map(([key]) => key)]);
  const rest = Object.entries(s).filter(([key, v]) => !used.has(key) && !key.startsWith('n_') && filled(v));
  const about = [s.model?.file, s.faces_folder && `faces in ${s.faces_folder}`].filter(Boolean).join(', ');
  return [
    el('h1', { textContent: 'Face audit' }),
    el('p', { textContent: about }),
    headline(s),
    ...shown.flatMap(([, show]) => show(s)),
    ...rest.map(([key, v]) => details(words(key), el('pre', { textContent: JSON.stringify(v, null, 1) })))
  ];
}

/** The contents of an audit.json (text or parsed) as a DOM tree; what cannot be shown is said in one line. */
export function auditView(data) {
  let s = data;
  try {
    s = typeof data === 'string' ? JSON.parse(data) : data;
  } catch (error) {
    return line(`This file is damaged: it is not JSON (${error.message}). Run the audit again, or open the file with the editor.`);
  }
  if (!known(s?.schema_version)) {
    return line('This file is not a face audit: it has no schema_version. Open it with the editor.');
  }
  if (s.schema_version !== SCHEMA_VERSION) {
    return line(
      `This audit has schema version ${s.schema_version}, and this viewer reads version ${SCHEMA_VERSION}: use the identiface-audit that wrote it, or run the audit again.`
    );
  }
  try {
    return el('article', {}, ...page(s));
  } catch (error) {
    return line(`This audit is incomplete: part of it has another form than schema version ${SCHEMA_VERSION} (${error.message}). Run the audit again.`);
  }
}

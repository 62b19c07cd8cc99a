// What was promised, against what has come about. Each function returns sentences about
// what is wrong.

/** A list of numbers in few words: 3-7 9. */
function ranges(numbers) {
  const sorted = [...new Set(numbers)].sort((a, b) => a - b);
  const out = [];
  for (const n of sorted) {
    const last = out.at(-1);
    if (last && last[1] === n - 1) last[1] = n;
    else out.push([n, n]);
  }
  return out.map(([a, b]) => (a === b ? `${a}` : `${a}-${b}`)).join(' ');
}

function twice(numbers) {
  const seen = new Set();
  return numbers.filter((n) => seen.has(n) || !seen.add(n));
}

function unordered(numbers) {
  return numbers.filter((n, i) => i > 0 && n < numbers[i - 1]);
}

/** What each stay of each person has got of one stream, and ought to have got. */
export function pushed({ people, pushers, flushes }) {
  const wrong = [];
  for (const stream of Object.values(pushers.streams)) {
    const lost = (n) => flushes.some((at) => stream.times.get(n) < at + 500 && stream.acked.get(n) > at - 5000);
    for (const person of people) {
      const isFor = stream.to.some((t) => t.user === person.name || person.rooms.includes(t.room));
      let before = 0;
      person.stays.forEach((stay, i) => {
        const got = stay.got.get(stream.name) ?? [];
        const say = (what) => wrong.push(`${person.name} (v${person.version} ${person.transport}), stay ${i + 1} of ${person.stays.length} as ${stay.id}: ${stream.name} ${what}`);
        if (!isFor && got.length > 0) say(`was not for it: ${ranges(got)}`);
        // With the data went what was known of pushes that are repeated.
        const repeated = (n) => flushes.some((at) => stream.times.get(n) < at + 500 && (stream.acked.get(n) ?? Infinity) > at - 500);
        const again = twice(got).filter((n) => !repeated(n));
        if (again.length > 0) say(`came twice: ${ranges(again)}`);
        if (stream.ordered) {
          const sure = got.filter((n) => !stream.unsure.has(n) && !repeated(n));
          const late = unordered(sure);
          if (late.length > 0) say(`came out of order: ${ranges(late)}`);
          const old = sure.filter((n) => n <= before);
          if (old.length > 0) say(`came although it had come in the stay before: ${ranges(old)}`);
          before = Math.max(before, ...sure);
        }
        if (!isFor || stream.unlogged || !stay.from) return;
        const end = i === person.stays.length - 1 ? stream.begun : stream.ordered ? Math.max(0, ...got) : 0;
        const missing = [];
        for (let n = stay.from.get(stream.name); n <= end; n += 1) if (stream.acked.has(n) && !got.includes(n) && !lost(n)) missing.push(n);
        if (missing.length > 0) {
          const [first] = missing;
          say(`is missing ${ranges(missing)} (${first} begun ${stream.times.get(first)}, answered ${stream.acked.get(first)}; has ${ranges(got).slice(-200)})`);
        }
      });
    }
  }
  return wrong;
}

/** Relayed events, as pushed() has it of pushes. */
export function relayed({ people, flushes }) {
  const wrong = [];
  for (const sender of people) {
    const said = sender.sent.filter((s) => s.kind === 'said');
    for (const connection of new Set(said.map((s) => s.connection))) {
      const sent = said.filter((s) => s.connection === connection);
      const name = `said ${sender.name} ${connection}`;
      for (const person of people) {
        person.stays.forEach((stay, i) => {
          const got = stay.got.get(name) ?? [];
          const say = (what) => wrong.push(`${person.name} (v${person.version} ${person.transport}), stay ${i + 1} of ${person.stays.length} as ${stay.id}: ${name} ${what}`);
          // Who has begun anew is another client, and gets what the one before has sent.
          if (person === sender && stay.connections.has(connection)) return void (got.length > 0 && say(`came back: ${ranges(got)}`));
          if (twice(got).length > 0) say(`came twice: ${ranges(twice(got))}`);
          if (sender.rooms.length === 1 && unordered(got).length > 0) say(`came out of order: ${ranges(unordered(got))}`);
          const last = i === person.stays.length - 1 ? Infinity : Math.max(0, ...got);
          const owed = sent.filter((s) => s.acked && s.at > stay.at && s.n <= last && !flushes.some((at) => s.at < at + 500 && s.acked > at - 5000));
          const missing = owed.filter((s) => !got.includes(s.n));
          if (missing.length > 0) say(`is missing ${ranges(missing.map((s) => s.n))} (${missing[0].n} sent ${missing[0].at}, acknowledged ${missing[0].acked})`);
          return undefined;
        });
      }
    }
  }
  return wrong;
}

/** Events, as the backend and the subscribers have got them. `excused(sent)` are those that the backend may not have got. */
export function recorded({ people, recorder, flushes, excused }) {
  const wrong = [];
  for (const [where, list] of [['the backend', recorder.called], ['the group', recorder.read]]) {
    const ids = new Map(); // what was sent → the event's ID
    const orders = new Map(); // person and connection → places in what was sent, at their first coming
    const place = new Map();
    for (const person of people) person.sent.forEach((s, i) => place.set(`${person.name} ${s.kind} ${s.n}`, i));
    for (const e of list) {
      const key = `${e.who} ${e.kind} ${e.n}`;
      if (ids.has(key)) {
        if (ids.get(key) !== e.id) wrong.push(`${where} has got ${key} under two IDs`);
        continue;
      }
      ids.set(key, e.id);
      const of = `${e.who} ${e.connection}`;
      if (!orders.has(of)) orders.set(of, []);
      orders.get(of).push(place.get(key));
    }
    // With the data goes who reads which events, and what was read before may come late.
    for (const [of, order] of flushes.length > 0 ? [] : orders) {
      if (unordered(order).length > 0) wrong.push(`${where} has got the events of ${of} out of order: ${order.flatMap((n, i) => (i > 0 && n < order[i - 1] ? [`${n} after ${order[i - 1]}`] : []))}`);
    }
    for (const person of people) {
      const missing = person.sent.filter((s) => s.kind !== 'said' && s.acked && !ids.has(`${person.name} ${s.kind} ${s.n}`));
      for (const s of missing) {
        if (where === 'the backend' && excused(s)) continue;
        if (flushes.some((at) => s.at < at + 500 && s.acked > at - 5000)) continue;
        wrong.push(`${where} has not got ${person.name}'s ${s.kind} ${s.n}, sent ${s.at} in connection ${s.connection}, acknowledged ${s.acked}`);
      }
    }
  }
  return wrong;
}

/** Who is said to have acknowledged a push must have got it. */
export function waited({ people, pushers }) {
  const wrong = [];
  for (const { n, acks } of pushers.waits) {
    for (const ack of acks ?? []) {
      const person = people.find((p) => p.stays.some((s) => s.id.startsWith(ack.client)));
      const stay = person?.stays.find((s) => s.id.startsWith(ack.client));
      if (!stay?.got.get('wait')?.includes(n)) wrong.push(`${person?.name ?? ack.client} is said to have acknowledged ${n}, and has not got it`);
    }
  }
  return wrong;
}

/** What ws-api says of who is there, or null if that is so. */
export async function present(api, people, rooms) {
  const idOf = (p) => p.client.id;
  const away = people.filter((p) => !p.client.connected);
  if (away.length > 0) return `${away.map((p) => p.name)} are not connected`;
  for (const room of rooms) {
    const members = people.filter((p) => p.rooms.includes(room));
    const { clients, users } = await api.countClients({ room });
    if (clients !== members.length || users !== members.length) return `${room} has ${clients} clients and ${users} users instead of ${members.length}`;
    const listed = (await api.listClients({ room }, { pageSize: 1000 })).clients;
    const strangers = listed.filter((c) => !members.some((p) => idOf(p).startsWith(c.id)));
    if (strangers.length > 0 || listed.length !== members.length) return `${room} has ${listed.length} members, of whom nobody is ${JSON.stringify(strangers)}`;
  }
  const all = await api.countClients({ all: true });
  if (all.clients !== people.length) return `${all.clients} clients in all instead of ${people.length}`;
  for (const person of people) {
    const client = await api.getClient(idOf(person)).catch((error) => error);
    if (client instanceof Error) return `${person.name} is not known: ${client.message}`;
    if ([...(client.rooms ?? [])].sort().join() !== [...person.rooms].sort().join()) return `${person.name} is said to be in ${client.rooms}`;
    const { clients } = await api.listClients(undefined, { node: client.node, pageSize: 1000 });
    if (!clients.some((c) => c.id === client.id)) return `${person.name} is not among those of ${client.node}`;
    const { clients: tabs } = await api.listClients({ user: person.name });
    if (tabs.length !== 1 || tabs[0].id !== client.id) return `the user ${person.name} has the clients ${tabs.map((c) => c.id)}`;
  }
  const wrong = people.filter((p) => p.userCount !== people.length);
  return wrong.length > 0 ? `presence says ${wrong.map((p) => `${p.name}: ${p.userCount}`)} instead of ${people.length}` : null;
}

/** Queues beyond their bounds, in a text of metrics. */
export function overfull(text) {
  const has = new Map();
  const may = new Map();
  for (const [, max, what, labels, value] of text.matchAll(/^holdfast_queue_(max_)?(items|bytes)\{([^}]*)\} (\S+)$/gm)) {
    (max ? may : has).set(`${what} ${labels}`, Number(value));
  }
  return [...has].filter(([of, n]) => may.get(of) > 0 && n > may.get(of)).map(([of, n]) => `${n} ${of}, of ${may.get(of)}`);
}

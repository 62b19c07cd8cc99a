// Makes the vectors in this folder with the parsers that stock clients and servers carry, for the tests of package
// socketio. Run it in an empty folder outside of the repository, and name the place for the results:
//
//   npm i p5@npm:socket.io-parser@4.2 p4@npm:socket.io-parser@3.3 mp@npm:socket.io-msgpack-parser@3
//   cp …/socketio/testdata/vectors.cjs . && node vectors.cjs …/socketio/testdata
const fs = require('fs'), path = require('path');
const p5 = require('p5'), p4 = require('p4'), mp = require('mp');
const browser = require('notepack.io/browser/encode.js');
const out = (name, v) => fs.writeFileSync(path.join(process.argv[2], name),
  '[\n' + v.map((x) => JSON.stringify(x)).join(',\n') + '\n]\n');
const hex = (b) => Buffer.from(b).toString('hex');

// Packets as an application's calls make them; binary marks what protocol 4 must be told.
const buf = (...a) => Buffer.from(a);
const packets = [
  { type: 0, nsp: '/' }, { type: 0, nsp: '/chat' }, { type: 0, nsp: '/', data: { token: 'x<>&' } },
  { type: 0, nsp: '/a/b', data: { sid: 'abc', pid: 'def' } }, { type: 1, nsp: '/' }, { type: 1, nsp: '/chat' },
  { type: 2, nsp: '/', data: ['a'] }, { type: 2, nsp: '/', data: ['say', 'hi', 1, -1.5, null, true, { a: [] }] },
  { type: 2, nsp: '/chat', id: 0, data: ['say'] }, { type: 2, nsp: '/', id: 4294967296, data: ['x'] },
  { type: 2, nsp: '/', data: [7, 'number as name'] }, { type: 2, nsp: '/', data: ['😀 "q" \\ \n\t\u0000\u001e\u2028 <b>&'] },
  { type: 2, nsp: '/', data: ['x', '\ud800 lone'] }, { type: 2, nsp: '/', data: ['x', { _placeholder: true, num: 0 }] },
  { type: 2, nsp: '/', data: ['n', 1e21, 1e-7, 0.1, 123456789012, -0, 1.7976931348623157e308] },
  { type: 3, nsp: '/', id: 1, data: [] }, { type: 3, nsp: '/chat', id: 12, data: ['ok', { a: 1 }] },
  { type: 4, nsp: '/', data: 'not allowed' }, { type: 4, nsp: '/chat', data: { message: 'no', data: { code: 1 } } },
  { type: 2, binary: true, nsp: '/', data: ['file', buf(1, 2, 3)] },
  { type: 2, binary: true, nsp: '/chat', id: 3, data: ['two', { a: buf(), b: [buf(255), 'x'] }] },
  { type: 2, binary: true, nsp: '/', data: ['ten', ...Array.from({ length: 10 }, (_, i) => buf(i))] },
  { type: 3, binary: true, nsp: '/', id: 9, data: [buf(0, 0x1e, 0xff)] },
];
const text = [];
for (const { binary, ...p } of packets) {
  const say = (parser, enc) => text.push({ parser, nsp: p.nsp, id: p.id ?? null, type: p.type,
    data: binary ? undefined : p.data, frame: enc[0], attachments: enc.slice(1).map(hex) });
  say('socket.io-parser 4.2', new p5.Encoder().encode(structuredClone2(p)));
  const q = structuredClone2(p);
  if (binary) q.type += 3;
  new p4.Encoder().encode(q, (enc) => say('socket.io-parser 3.3', enc));
}
function structuredClone2(v) { // keeps Buffers, which structuredClone does not
  if (Buffer.isBuffer(v) || typeof v !== 'object' || v === null) return v;
  if (Array.isArray(v)) return v.map(structuredClone2);
  return Object.fromEntries(Object.entries(v).map(([k, x]) => [k, structuredClone2(x)]));
}
out('text.json', text);

// What the decoders take and what they refuse, attachments (each one byte, its number) included.
const inputs = ['', '0', '40', '7', 'x', '0{}', '0{"a":1}', '0[]', '0null', '0"x"', '0/a', '0/a,', '0/a,{}', '0/a{}', '0/a?b=1,', '1', '1/a', '1/a,',
  '1{}', '1/a,[]', '2', '2/a,', '2[]', '2["a"]', '2[1]', '2[null]', '2[{}]', '2[true]', '2[["a"]]', '2{}', '2"a"', '2["a"', '2["a"]x', '2["a"] ', '2["a",]',
  '2abc["a"]', '2["a"]["b"]', '21["a"]', '212["a",1]', '2007["a"]', '2-1["a"]', '2/a,1["a"]', '2/a,b["a"]', '2["connect"]', '2["connect_error"]',
  '2["disconnect"]', '2["disconnecting"]', '2["newListener"]', '2["removeListener"]', '2["\\u0063onnect"]', '2["connecting"]', '2["reconnect"]', '2["error"]',
  '2[""]', '3[]', '31[]', '31["a"]', '31{}', '31', '3/a,1[]', '4"x"', '4{}', '4', '4[]', '4null', '4true', '5["a"]', '5-["a"]', '5x-["a"]', '5-1-["a"]', '50-["a"]', '51["a"]', '51-["a"]',
  '51-["a",{"_placeholder":true,"num":0}]', '51-["a",{"_placeholder":true,"num":1}]', '51-["a",{"_placeholder":true,"num":-1}]', '51-["a",{"_placeholder":true}]',
  '51-["a",{"_placeholder":true,"num":"0"}]', '51-["a",{"_placeholder":true,"num":0.5}]', '51-["a",{"_placeholder":"true","num":9}]', '51-["a",{"_placeholder":1,"num":9}]',
  '51-["a",{"_placeholder":false,"_placeholder":true,"num":9}]', '51-["a",{"_placeholder":true,"_placeholder":false,"num":9}]', '51-["a",{"\\u005fplaceholder":true,"n\\u0075m":9}]',
  '51-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]', '52-["a",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]', '52-["a",{"_placeholder":true,"num":1}]',
  '51-/a,7["a",{"x":[{"_placeholder":true,"num":0}]}]', '51-[{"_placeholder":true,"num":0}]', '61-1[{"_placeholder":true,"num":0}]', '61-[{"_placeholder":true,"num":0}]', '60-1[]', '6[]',
  '51.0-["a"]', '5 1-["a"]', '511-["a"]', '599999999999999999999-["a"]', '51-["connect"]', '2["a",01]', '2["a",1.]', '2["a",.5]', '2["a",+1]', '2["a",NaN]', "2['a']", '2["a\n"]',
  '2["a\\x"]', '2["a\\u12"]', '2["a",tru]', '2["a",{"b"}]', '2["a",{b:1}]', '2["a",{"b":1,}]', '2["a",1e5,1E+5,-0,0.5e-3]', '2["a",-]', '2[ "a" , 1 ]', '2 ["a"]', '2[\u00a0"a"]', '2["a"]\u0000'];
const accepts = (parser, s, n) => {
  let got;
  try {
    const d = new parser.Decoder();
    d.on('decoded', (p) => { got = p; });
    d.add(s);
    for (let i = 0; !got && i < n; i++) d.add(buf(i));
    // Parser 3.3 reports some of its refusals as a packet of its own making.
    return got !== undefined && !/^parser error: /.test(got.data);
  } catch (e) { return false; }
};
out('accept.json', inputs.map((s) => {
  const n = Number((/^[56](\d+)-/.exec(s) || [])[1] || 0);
  return { input: s, p5: accepts(p5, s, Math.min(n, 99)), p4: accepts(p4, s, Math.min(n, 99)) };
}));

// MessagePack: the packet's bytes as written by Node and, where they differ, by a browser; its data as JSON with
// placeholders for binary values; and what the parser writes for that JSON with Buffers in their places.
const ab = (...a) => new Uint8Array(a).buffer;
const msg = [
  ...packets.map(({ binary, ...p }) => p),
  { type: 0, data: undefined, options: { compress: true }, nsp: '/' },
  { type: 2, data: ['opts', 1], options: { compress: true }, id: 5, nsp: '/chat' },
  { type: 2, data: ['undef', undefined, { a: undefined, b: 1, c: undefined }], nsp: '/' },
  { type: 2, data: ['date', new Date(0), new Date(1700000000123), new Date(-1), new Date(8.64e15), new Date(-62198755200000)], nsp: '/' },
  { type: 2, data: ['ab', ab(1, 2, 3), ab(), ab(1, 2, 3, 4, 5, 6, 7, 8), new Uint8Array([9, 8])], nsp: '/' },
  { type: 2, data: ['ints', 0, 127, 128, 255, 256, 65535, 65536, 4294967295, 4294967296, 9007199254740991, -1, -32, -33, -128, -129, -32768, -32769, -2147483648, -2147483649, -9007199254740991], nsp: '/' },
  { type: 2, data: ['floats', 1.5, -1.5, 1e-6, 1e-7, 1.5e-7, 0.1, NaN, Infinity, 5e-324, 1e-100], nsp: '/' },
  { type: 2, data: ['str', 'x'.repeat(31), 'x'.repeat(32), 'é'.repeat(128)], nsp: '/' },
  { type: 2, data: ['many', Array(15).fill(0), Array(16).fill(0), Object.fromEntries(Array.from({ length: 20 }, (_, i) => ['k' + i, i]))], nsp: '/' },
  { type: 2, data: ['bin', Buffer.alloc(255, 1), Buffer.alloc(256, 2)], nsp: '/' },
];
const isBin = (v) => v instanceof ArrayBuffer || ArrayBuffer.isView(v);
function map(v, f) { // replaces what f gives something for
  const r = f(v);
  if (r !== undefined) return r;
  if (Array.isArray(v)) return v.map((x) => map(x, f));
  if (v && typeof v === 'object' && !isBin(v) && !(v instanceof Date)) return Object.fromEntries(Object.entries(v).map(([k, x]) => [k, map(x, f)]));
  return v;
}
const packed = [];
for (const p of msg) {
  // The order of keys of stock clients and servers.
  const order = (data) => Object.fromEntries(['type', 'data', 'options', 'id', 'nsp'].filter((k) => k in p).map((k) => [k, k === 'data' ? data : p[k]]));
  const bins = [];
  const tree = map(p.data, (v) => isBin(v) ? { _placeholder: true, num: bins.push(v.buffer && !Buffer.isBuffer(v) ? v.buffer : v) - 1 } : undefined);
  const row = { type: p.type, nsp: p.nsp, id: p.id ?? null, json: tree === undefined ? null : JSON.stringify(tree), attachments: bins.map(hex) };
  const { options, ...again } = order(row.json === null ? undefined : map(JSON.parse(row.json), (v) => v && v._placeholder && bins.length ? Buffer.from(bins[v.num]) : undefined));
  if (row.json === null) delete again.data;
  row.again = hex(new mp.Encoder().encode(again)[0]);
  const node = new mp.Encoder().encode(order(p.data))[0];
  packed.push({ writer: 'node', ...row, packet: hex(node) });
  // A browser has only ArrayBuffers as binary values: to its notepack a Uint8Array is a map from indices to numbers.
  const web = Buffer.from(browser(order(map(p.data, (v) => ArrayBuffer.isView(v) ? Uint8Array.from(v).buffer : undefined))));
  if (!web.equals(node)) packed.push({ writer: 'browser', ...row, packet: hex(web) });
}
out('msgpack.json', packed);
